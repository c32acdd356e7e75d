//! The options of every command.

use std::path::PathBuf;

/// Options that every command takes.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The database: postgres://… or key=value. `mainspring config show --origin` tells where else it is looked for.
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub(crate) database_url: Option<String>,
    /// The schema of the tables [default: public].
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub(crate) schema: Option<String>,
    /// In front of every table's name [default: ms_].
    #[arg(long, global = true, value_name = "TEXT", hide_short_help = true)]
    pub(crate) prefix: Option<String>,
    /// Whose things are meant [default: everybody's].
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub(crate) tenant: Option<String>,
    /// The profile of the configuration files.
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub(crate) profile: Option<String>,
    /// The configuration file [default: ./mainspring.toml].
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) config: Option<PathBuf>,
    /// How data is written: table, json, jsonl or yaml [default: table].
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<String>,
    /// No colours; `NO_COLOR` says the same.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_color: bool,
    /// No remarks on standard error.
    #[arg(short, long, global = true, hide_short_help = true)]
    pub(crate) quiet: bool,
    /// Tell more of what is done; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub(crate) verbose: u8,
    /// How logs are written: text or json [default: text on a terminal, else json].
    #[arg(long, global = true, value_name = "FORMAT", hide_short_help = true)]
    pub(crate) log_format: Option<String>,
    /// Do it without asking.
    #[arg(short, long, global = true, hide_short_help = true)]
    pub(crate) yes: bool,
    /// Only say what would be done.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) dry_run: bool,
    /// Never ask; what needs an answer is refused.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_input: bool,
    /// How long the command may take, such as 30s; it ends with 6 then.
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub(crate) timeout: Option<String>,
    /// How long the server may work on one statement, such as 5m [default: 30s].
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub(crate) statement_timeout: Option<String>,
}

impl Global {
    /// What of it stands for a key of the configuration.
    pub(crate) fn settings(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("database_url", self.database_url.clone()),
            ("schema", self.schema.clone()),
            ("prefix", self.prefix.clone()),
            ("tenant", self.tenant.clone()),
            ("output", self.output.clone()),
            ("timeout", self.timeout.clone()),
            ("statement_timeout", self.statement_timeout.clone()),
            ("log_format", self.log_format.clone()),
        ]
    }
}

//! `mainspring config`: what is configured, and where.

use std::process::ExitCode;

use crate::{
    Context, Outcome,
    config::{KEYS, Key, shown},
    output::{Column, Page, col, maybe, text},
};

#[derive(clap::Subcommand)]
pub(crate) enum Config {
    /// Every key with its value, and with --origin where that was found. Secrets are not shown.
    #[command(after_help = "Example:\n  mainspring config show --origin -o json")]
    Show {
        /// Say where each value was found.
        #[arg(long)]
        origin: bool,
    },
}

/// libpq's variables, which fill in what the address leaves open.
const LIBPQ: [&str; 10] = [
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGAPPNAME",
    "PGCONNECT_TIMEOUT",
    "PGOPTIONS",
];

struct Line {
    key: &'static str,
    value: Option<String>,
    origin: Option<String>,
    what: &'static str,
}

const VALUE: [Column<Line>; 2] =
    [col("key", |line| text(line.key)), col("value", |line| maybe(line.value.as_ref()))];
const ORIGIN: [Column<Line>; 2] =
    [col("origin", |line| maybe(line.origin.as_ref())), col("what", |line| text(line.what))];

impl Config {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let Self::Show { origin } = self;
        let of_key = |key: &Key| {
            let setting = context.config.setting(key.name);
            Line {
                key: key.name,
                value: setting.map(|setting| shown(key, &setting.value)),
                origin: setting.map(|setting| setting.origin.clone()),
                what: key.what,
            }
        };
        let of_libpq = |name: &'static str| {
            let value = context.environment.get(name)?;
            let secret = matches!(name, "PGPASSWORD" | "PGOPTIONS");
            let value = Some(if secret { "***".to_owned() } else { value });
            Some(Line {
                key: name,
                value,
                origin: Some(name.to_owned()),
                what: "where database_url leaves it open",
            })
        };
        let lines = KEYS.iter().map(of_key).chain(LIBPQ.into_iter().filter_map(of_libpq)).collect();
        let columns: Vec<Column<Line>> =
            VALUE.into_iter().chain(ORIGIN.into_iter().filter(|_| origin)).collect();
        context.output.list(&columns, &Page::all(lines), false)?;
        Ok(ExitCode::SUCCESS)
    }
}

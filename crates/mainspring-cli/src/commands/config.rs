//! `mainspring config`: what is configured, and where.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use crate::{
    Context, Outcome, Result,
    config::{KEYS, Key, files, shown},
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
    /// Read every value as a command would, and say what is wrong; needs no database.
    #[command(after_help = "Example:\n  mainspring config check --profile prod")]
    Check,
    /// The files that are read, nearest first.
    #[command(after_help = "Example:\n  mainspring config path -o json")]
    Path,
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
        match self {
            Self::Show { origin } => show(context, origin)?,
            Self::Check => check(context)?,
            Self::Path => {
                let files = files(&context.environment, context.global.config.as_deref());
                context.output.list(&FILES, &Page::all(files), false)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

const FILES: [Column<PathBuf>; 2] =
    [col("file", |file| text(file.display())), col("there", |file| file.is_file().into())];

/// Names of files, keys and profiles are wrong before any command begins.
fn check(context: &Context) -> Result<()> {
    context.settings()?;
    context.migrator_settings()?;
    context.store_options()?;
    context.timeout()?;
    context.config.parsed::<usize>("concurrency")?;
    context.config.parsed::<u16>("app_port")?;
    Ok(context.output.done("everything can be read", json!({"valid": true}))?)
}

fn show(context: &Context, origin: bool) -> Result<()> {
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
    let columns: Vec<Column<Line>> = VALUE.into_iter().chain(ORIGIN.into_iter().filter(|_| origin)).collect();
    Ok(context.output.list(&columns, &Page::all(lines), false)?)
}

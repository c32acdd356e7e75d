//! `cargo xtask migrate`: `mainspring migrate`, on a throwaway server when no database is named.

use mainspring_embedded::Options;

use crate::{Outcome, server};

#[derive(clap::Args)]
pub struct Args {
    /// The database: postgres://… or key=value. Defaults to DATABASE_URL, else a throwaway server.
    #[arg(long)]
    url: Option<String>,
    /// In front of every table's name.
    #[arg(long, default_value = "ms_")]
    prefix: String,
    /// The schema of the tables.
    #[arg(long, default_value = "public")]
    schema: String,
    /// Print the SQL and do nothing; needs no database.
    #[arg(long, conflicts_with_all = ["dry_run", "status"])]
    print: bool,
    /// Say what would be done, and do nothing.
    #[arg(long, conflicts_with = "status")]
    dry_run: bool,
    /// Say what was done, and check the tables.
    #[arg(long)]
    status: bool,
}

pub fn run(args: &Args) -> Outcome {
    let run = |verb, url: &str| {
        let Args { prefix, schema, .. } = args;
        let named = ["--database-url", url, "--prefix", prefix, "--schema", schema];
        mainspring_cli::run_with(["mainspring", "migrate", verb].into_iter().chain(named))
    };
    if args.print {
        return Ok(run("print", "postgres://localhost"));
    }
    let server = server::find(args.url.as_deref(), Options::throwaway())?;
    let url = server.url();
    if args.status {
        run("status", &url);
        return Ok(run("verify", &url));
    }
    Ok(run(if args.dry_run { "plan" } else { "up" }, &url))
}

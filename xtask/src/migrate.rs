//! `cargo xtask migrate`: the tables, for any schema and prefix.

use std::process::ExitCode;

use mainspring_cli::migrations;
use mainspring_embedded::Options;
use mainspring_pg::{Migrator, Names, Prefix, Schema, Settings};

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

pub fn run(args: Args) -> Outcome {
    let names = Names::new(Schema::new(&args.schema)?, Prefix::new(&args.prefix)?);
    if args.print {
        println!("{}", Migrator::new(Settings::parse("postgres://localhost")?, names).print()?);
        return Ok(ExitCode::SUCCESS);
    }
    let server = server::find(args.url.as_deref(), Options::throwaway())?;
    let migrator = Migrator::new(Settings::parse(&server.url())?, names);
    crate::block_on(async {
        if args.dry_run {
            for planned in migrator.plan().await? {
                println!("would apply {}", planned.name);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let status = if args.status { migrator.status().await? } else { migrator.up().await? };
        println!("{}", migrations::describe(&status));
        migrator.verify().await?;
        println!("tables are as this version expects");
        Ok(ExitCode::SUCCESS)
    })?
}

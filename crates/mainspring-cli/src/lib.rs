//! The command line of Mainspring, `mainspring <command>`: one file a command, and what they share.
//!
//! Data goes to standard output, everything else to standard error. A command ends with 0 when it did what it was asked, 2 when
//! it was asked in a wrong way, and otherwise as [`report::code`] says. A file `.env` in the current folder is read for what the
//! environment does not say; no library does that.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to people and pipes")]

mod commands;
mod database;
mod environment;
pub mod migrations;
mod pages;
pub mod report;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use crate::{commands::Command, database::DatabaseArgs, environment::Environment};

#[derive(Parser)]
#[command(name = "mainspring", version, about = "Durable workflows, queues and event streams on Postgres")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What a command ends with, or an error for people.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// What every command is given.
struct Context {
    database: DatabaseArgs,
    environment: Environment,
}

/// Runs the command that the arguments of the process name; its exit code.
pub fn run() -> ExitCode {
    let Cli { command, database } = Cli::parse();
    let done = Environment::here().and_then(|environment| {
        let context = Context { database, environment };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(command.run(&context))
    });
    done.unwrap_or_else(|error| report::fail(&*error))
}

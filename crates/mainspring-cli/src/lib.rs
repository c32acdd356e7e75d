//! The command line of Mainspring, `mainspring <command>`: one file a command, and what they share.
//!
//! Data goes to standard output, everything else to standard error. A command ends as [`report`] says. A file `.env` in the
//! current folder is read for what the environment does not say; no library does that.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to people and pipes")]

mod commands;
mod config;
mod confirm;
mod context;
mod environment;
mod global;
mod graph;
mod libpq;
mod migrations;
mod output;
mod pages;
#[cfg(test)]
mod printed;
mod progress;
mod reference;
pub mod report;
mod shutdown;
#[cfg(test)]
mod snapshot;
mod spans;
mod telemetry;
pub mod timeline;
mod words;

use std::{error::Error, ffi::OsString, io::IsTerminal, process::ExitCode, time::Duration};

use clap::Parser;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

pub use reference::reference;

use crate::{commands::Command, context::Context, global::Global, report::Ended};

#[derive(Parser)]
#[command(
    name = "mainspring",
    version,
    about = "Durable workflows, queues and event streams on Postgres",
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 asked in a wrong way, 3 tables do not fit, 4 not found, 5 conflict, \
        6 unavailable, 7 refused, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// The result of everything here: an error is for people.
type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What a command ends with.
type Outcome = Result<ExitCode>;

/// Runs the command that the arguments of the process name; its exit code.
pub fn run() -> ExitCode {
    start(Cli::parse())
}

/// Runs the command that these arguments name, the first of which is the name of the program; its exit code.
pub fn run_with(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    start(Cli::parse_from(arguments))
}

fn start(Cli { command, global }: Cli) -> ExitCode {
    let done = Context::new(global).and_then(|context| {
        let exported = telemetry::Exported::of(&context, command.stops_by_itself())?;
        log(&context, &exported);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(until_stopped(command, &context));
        runtime.shutdown_timeout(Duration::from_secs(1)); // a thread that reads standard input ends with the process
        done
    });
    done.unwrap_or_else(|error| report::fail(&*error))
}

/// What the libraries tell goes to standard error: warnings, more with `-v`, or what `RUST_LOG` says. Spans go where they are
/// exported to.
fn log(context: &Context, exported: &telemetry::Exported) {
    let level = match (context.global.quiet, context.global.verbose) {
        (true, 0) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        _ => "debug",
    };
    let directives = context.environment.get("RUST_LOG").unwrap_or_else(|| level.to_owned());
    let colours = context.output.colour && std::io::stderr().is_terminal();
    // A line that cannot be written is no reason to panic wherever it was.
    let told = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let told = match context.logs_json {
        true => told.json().flatten_event(true).boxed(),
        false => told.with_ansi(colours).boxed(),
    };
    let told = told.with_filter(EnvFilter::new(directives));
    let _ = tracing_subscriber::registry().with(told).with(exported.layer()).try_init(); // somebody else may listen already
}

/// The command, until it ends, somebody interrupts it or its time is over.
async fn until_stopped(command: Command, context: &Context) -> Outcome {
    let timeout = context.timeout()?;
    let graceful = command.stops_by_itself();
    let over = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = command.run(context) => done,
        Ok(()) = tokio::signal::ctrl_c(), if !graceful => Err(Ended::Interrupted.into()),
        () = over => Err(Ended::TimedOut.into()),
    }
}

//! `cargo xtask test`: all tests of the workspace against one private Postgres.

use std::process::{Command, ExitCode};

use mainspring_embedded::{Options, Server};

use crate::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Passed on to the test runner, such as a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub fn run(args: &Args) -> Outcome {
    let server = Server::from_env("TEST_DATABASE_URL", Options::throwaway().max_connections(400))?;
    eprintln!("{server}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let nextest =
        Command::new(&cargo).args(["nextest", "--version"]).output().is_ok_and(|out| out.status.success());

    let mut runs: Vec<Vec<&str>> = Vec::new();
    if nextest {
        runs.push(vec!["nextest", "run", "--workspace", "--locked"]);
        if args.rest.is_empty() {
            runs.push(vec!["test", "--workspace", "--locked", "--doc"]);
        }
    } else {
        runs.push(vec!["test", "--workspace", "--locked", "--no-fail-fast"]);
    }
    for run in runs {
        let status = Command::new(&cargo)
            .args(&run)
            .args(&args.rest)
            .current_dir(crate::root())
            .env("TEST_DATABASE_URL", server.url())
            .status()?;
        if !status.success() {
            eprintln!("error: `cargo {}` failed", run.join(" "));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

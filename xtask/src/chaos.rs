//! `cargo xtask chaos`: the chaos run of the tests, longer.

use std::process::{Command, ExitCode};

use crate::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// How long workers, Postgres and connections are killed.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// How many messages are pushed in that time.
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// The seed of an earlier run, to repeat its decisions.
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(args: &Args) -> Outcome {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--package", "mainspring-tests", "--test", "it", "--locked", "--"])
        .args(["--exact", "chaos::a_queue_survives_everything_at_once", "--nocapture"])
        .current_dir(crate::root())
        .env("CHAOS_SECONDS", args.seconds.to_string())
        .env("CHAOS_MESSAGES", args.messages.to_string());
    if let Some(seed) = args.seed {
        command.env("CHAOS_SEED", seed.to_string());
    }
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `cargo xtask chaos`: the chaos runs of the tests, longer.

use std::process::{Command, ExitCode};

use crate::Outcome;

/// What is disturbed.
#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Messages of a queue.
    Queue,
    /// Executions of durable functions.
    Durable,
}

#[derive(clap::Args)]
pub struct Args {
    /// What is worked on meanwhile.
    #[arg(value_enum, default_value = "queue")]
    what: What,
    /// How long workers, Postgres and connections are killed.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// How many messages are pushed in that time.
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// How many executions are started in that time.
    #[arg(long, default_value_t = 5_000)]
    executions: u64,
    /// The seed of an earlier run, to repeat its decisions.
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(args: &Args) -> Outcome {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let test = match args.what {
        What::Queue => "chaos::a_queue_survives_everything_at_once",
        What::Durable => "durable_chaos::durable_functions_end_as_their_twins_whatever_happens",
    };
    let mut command = Command::new(cargo);
    command
        .args(["test", "--package", "mainspring-tests", "--test", "it", "--locked", "--"])
        .args(["--exact", test, "--nocapture"])
        .current_dir(crate::root())
        .env("CHAOS_SECONDS", args.seconds.to_string())
        .env("CHAOS_MESSAGES", args.messages.to_string())
        .env("CHAOS_EXECUTIONS", args.executions.to_string());
    if let Some(seed) = args.seed {
        command.env("CHAOS_SEED", seed.to_string());
    }
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

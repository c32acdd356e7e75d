//! What the developers and first users of Mainspring run: `cargo xtask <command>`.

mod api;
mod bench;
mod book;
mod catalogue;
mod chaos;
mod citations;
mod demo;
mod features;
mod five_minutes;
mod manifests;
mod metrics;
mod migrate;
mod mutate;
mod package;
mod reference;
mod replay_verify;
mod schema;
mod server;
mod spans;
mod template;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Commands of the Mainspring workspace",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run orders through a durable flow on two worker processes, kill one of them, and see every order end.
    Demo(demo::Args),
    /// A worker process of the demo.
    #[command(hide = true)]
    DemoWorker(demo::WorkerArgs),
    /// Run all tests against one private Postgres.
    Test(test::Args),
    /// Create or update the tables, or say what would be done.
    Migrate(migrate::Args),
    /// Measure against the minimal SQL for the same durable work, in one run.
    Bench(bench::Args),
    /// Take guards out of the code, one at a time, and demand that tests notice.
    Mutate(mutate::Args),
    /// A process of the bench `queue.4p`.
    #[command(hide = true)]
    BenchDrainer(bench::queues::DrainerArgs),
    /// Kill workers, Postgres and connections at random while a queue or durable functions are worked on, and check everything.
    Chaos(chaos::Args),
    /// Replay exported histories against the code of the examples as it is now.
    ReplayVerify(replay_verify::Args),
    /// Check layers, file sizes, module docs, migration checksums and the book in docs/.
    Tidy,
    /// Compile every crate with none of its features, and with each one alone.
    Features,
    /// Pack every crate as it would be released, and compile what was packed.
    Package,
    /// Make a project of each template and test it.
    Template(template::Args),
    /// Play the commands that the README and the first page of the book print, in a clean clone and a clean home.
    FiveMinutes(five_minutes::Args),
    /// Write docs/reference/commands.md from the program `mainspring`.
    Reference,
    /// Write docs/SCHEMA.md from the migrated tables.
    Schema(schema::Args),
    /// Write docs/operations/metrics.md from the catalogue.
    Metrics,
    /// Write docs/operations/spans.md from the catalogue.
    Spans,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::DemoWorker(args) => demo::run_worker(args),
        Command::Test(args) => test::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Mutate(args) => mutate::run(&args),
        Command::BenchDrainer(args) => bench::queues::run_drainer(args),
        Command::Chaos(args) => chaos::run(&args),
        Command::ReplayVerify(args) => replay_verify::run(&args),
        Command::Tidy => tidy::run(),
        Command::Features => features::run(),
        Command::Package => package::run(),
        Command::Reference => reference::run(),
        Command::Template(args) => template::run(&args),
        Command::FiveMinutes(args) => five_minutes::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Metrics => metrics::run(),
        Command::Spans => spans::run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => mainspring_cli::report::fail(&*error),
    }
}

/// What a command ends with: its exit code, or an error for people.
type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// The folder of the workspace.
fn root() -> std::path::PathBuf {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Runs a future to its end on a runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn std::error::Error>> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work))
}

//! The commands.

mod bench;
mod completions;
mod config;
mod consumers;
mod dev;
mod dlq;
mod doctor;
mod events;
mod executions;
pub(crate) mod explain;
pub(crate) mod flows;
mod jobs;
mod keygen;
mod locks;
mod man;
mod messages;
mod migrate;
mod queues;
mod retention;
mod schedules;
mod setup;
mod start;
mod streams;
mod tokens;
mod version;
mod worker;
mod world;

use clap::Subcommand;

use crate::{Context, Outcome};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Try flows: a Postgres of its own unless one is named, the tables, and a worker.
    #[command(after_help = "Example:\n  mainspring dev order.json")]
    Dev(dev::Dev),
    /// Start a flow or a workflow.
    #[command(
        after_help = "Example:\n  mainspring start order --input '{\"total\":42}' --key order-42 --wait"
    )]
    Start(start::Start),
    /// Drive flows of the built-in handlers, or with --world what an application does over HTTP, until it is asked to stop.
    #[command(after_help = "Example:\n  mainspring worker --flow order.json --concurrency 20")]
    Worker(worker::Worker),
    /// What runs, and what ran.
    #[command(subcommand, visible_alias = "runs")]
    Executions(executions::Executions),
    /// Definitions of flows, here and in files.
    #[command(subcommand)]
    Flows(flows::Flows),
    /// What wakes a waiting execution.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Queues that were created, and how full they are.
    #[command(subcommand)]
    Queues(queues::Queues),
    /// What is in a queue.
    #[command(subcommand)]
    Messages(messages::Messages),
    /// What was given up.
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Steps that are done out of line.
    #[command(subcommand)]
    Jobs(jobs::Jobs),
    /// Messages that are pushed again and again.
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    /// The log.
    #[command(subcommand)]
    Events(events::Events),
    /// Who follows the log, and how far they are.
    #[command(subcommand)]
    Consumers(consumers::Consumers),
    /// Output streams: what steps publish for readers.
    #[command(subcommand)]
    Streams(streams::Streams),
    /// How long what is over stays, and where it goes then.
    #[command(subcommand)]
    Retention(retention::Retention),
    /// Leases on names.
    #[command(subcommand)]
    Locks(locks::Locks),
    /// Measure what this database does with messages, in a queue of its own.
    #[command(after_help = "Example:\n  mainspring bench --messages 10000 --yes")]
    Bench(bench::Bench),
    /// Make a secret for both sides of a world's calls.
    #[command(after_help = "Example:\n  mainspring keygen > /run/secrets/mainspring")]
    Keygen,
    /// Create, update and check the tables.
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Create or update the tables; safe to repeat. Ends with 0, or with 1 whatever went wrong.
    #[command(after_help = "Example:\n  mainspring setup --database-url postgres://me@localhost/app")]
    Setup,
    /// Say what is wrong with the database and how to mend it; changes nothing. Ends with 1 when something is, with 3 when the
    /// tables do not fit.
    #[command(after_help = "Example:\n  mainspring doctor --deep -o json")]
    Doctor(doctor::Args),
    /// What is configured, and where.
    #[command(subcommand)]
    Config(config::Config),
    /// Write the completions of a shell to standard output.
    #[command(after_help = "Example:\n  mainspring completions bash > /etc/bash_completion.d/mainspring")]
    Completions(completions::Completions),
    /// Write the manual.
    #[command(after_help = "Example:\n  mainspring man --folder /usr/local/share/man/man1")]
    Man(man::Man),
    /// Say which version this is, and what it was built with.
    #[command(after_help = "Example:\n  mainspring version -o json")]
    Version,
    /// Say what an error code means and what to do about it; ends with 4 for a code that does not exist.
    #[command(after_help = "Example:\n  mainspring explain commit_unknown")]
    Explain(explain::Args),
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Dev(command) => command.run(context).await,
            Self::Start(command) => command.run(context).await,
            Self::Worker(command) => command.run(context).await,
            Self::Executions(command) => Box::pin(command.run(context)).await,
            Self::Flows(command) => command.run(context).await,
            Self::Tokens(command) => command.run(context).await,
            Self::Queues(command) => command.run(context).await,
            Self::Messages(command) => command.run(context).await,
            Self::Dlq(command) => command.run(context).await,
            Self::Jobs(command) => command.run(context).await,
            Self::Schedules(command) => command.run(context).await,
            Self::Events(command) => command.run(context).await,
            Self::Consumers(command) => command.run(context).await,
            Self::Streams(command) => command.run(context).await,
            Self::Retention(command) => command.run(context).await,
            Self::Locks(command) => command.run(context).await,
            Self::Bench(command) => command.run(context).await,
            Self::Keygen => keygen::run(context),
            Self::Migrate(command) => command.run(context).await,
            Self::Setup => setup::run(context).await,
            Self::Doctor(args) => doctor::run(args, context).await,
            Self::Version => version::run(context),
            Self::Explain(args) => explain::run(&args),
            Self::Config(command) => command.run(context),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(context),
        }
    }

    /// Whether it ends its work in order when it is interrupted.
    pub(crate) fn stops_by_itself(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Worker(_))
    }
}

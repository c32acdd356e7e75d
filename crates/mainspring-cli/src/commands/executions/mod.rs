//! `mainspring executions`: what runs, and what ran.

mod again;
mod bundle;
mod cancel;
mod columns;
mod filter;
pub(crate) mod look;
mod many;

use std::process::ExitCode;

use mainspring::{Backend, Execution, ExecutionId};

use crate::{Context, Outcome, Result, output::Page, words::PageArgs};

use columns::COLUMNS;
use filter::FilterArgs;

#[derive(clap::Subcommand)]
pub(crate) enum Executions {
    /// Those that match, newest first.
    #[command(
        after_help = "Example:\n  mainspring executions list --status failed --flow order -o jsonl | jq .id"
    )]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        page: PageArgs,
        /// Say only how many there are, on whatever page.
        #[arg(long)]
        count: bool,
        /// Show contexts and other payloads too.
        #[arg(long)]
        data: bool,
    },
    /// One of them with its steps and its life.
    #[command(after_help = "Example:\n  mainspring executions get exec_01J… --data --svg order.svg")]
    Get(look::Get),
    /// Tell of one as it goes on, until it is over; ends with 1 unless it completes.
    #[command(after_help = "Example:\n  mainspring executions watch exec_01J… --timeout 5m")]
    Watch {
        /// Its id.
        id: String,
    },
    /// Cancel some with their families: by id, or all that match.
    #[command(
        after_help = "Example:\n  mainspring executions cancel --flow order --status waiting --reason recalled"
    )]
    Cancel(cancel::Cancel),
    /// Take up what failed where it failed, each as a new execution; one of a flow with its context as it is.
    #[command(after_help = "Example:\n  mainspring executions retry --flow checkout --status failed --yes")]
    Retry(again::Retry),
    /// Another execution with the first steps of a workflow's; or one of a flow from a step, with the context as it is.
    #[command(after_help = "Example:\n  mainspring executions fork exec_01J… --before charge")]
    Fork(again::Fork),
    /// Write one with its history as lines of JSON. Whoever reads them reads inputs and results.
    #[command(after_help = "Example:\n  mainspring executions export exec_01J… --file order.jsonl")]
    Export(bundle::Export),
    /// Bring in what was exported, to be looked at; only what is over. Its events are recorded as of now.
    #[command(after_help = "Example:\n  mainspring executions import @order.jsonl")]
    Import(bundle::Import),
}

impl Executions {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let output = &context.output;
        match self {
            Self::List { filter, page, count, data } => {
                let filter = page.apply(filter.filter(context).await?)?;
                let store = context.stores()?.executions();
                if count {
                    let count = store.count(filter).await?;
                    output.done(&count.to_string(), serde_json::json!({"count": count}))?;
                    return Ok(ExitCode::SUCCESS);
                }
                let limit = filter.limit;
                let found = store.list(filter).await?;
                let page = Page::keyed(found, limit, |last| format!("{}/{}", last.created_at, last.id));
                output.list(COLUMNS, &page, data)?;
            }
            Self::Watch { id } => {
                let execution = look::follow(context, &ExecutionId::new(id)?, true).await?;
                return Ok(look::verdict(&execution));
            }
            Self::Get(command) => return command.run(context).await,
            Self::Cancel(command) => return command.run(context).await,
            Self::Retry(command) => return command.run(context).await,
            Self::Fork(command) => return command.run(context).await,
            Self::Export(command) => return command.run(context).await,
            Self::Import(command) => return command.run(context).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The execution of this id.
///
/// # Errors
/// Not found.
async fn load(context: &Context, id: &str) -> Result<Execution> {
    let id = ExecutionId::new(id)?;
    let found = context.stores()?.executions().get(&id).await?;
    Ok(found.ok_or_else(|| mainspring::Error::not_found("execution", &id))?)
}

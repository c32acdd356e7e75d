//! `mainspring executions`: what runs, and what ran.

mod cancel;
mod columns;
mod filter;

use std::process::ExitCode;

use mainspring::{Backend, Execution, ExecutionId};

use crate::{Context, Outcome, Result, output::Page};

use columns::COLUMNS;
use filter::{FilterArgs, PageArgs};

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
    /// One of them.
    #[command(after_help = "Example:\n  mainspring executions get exec_01J… --data -o json")]
    Get {
        /// Its id.
        id: String,
        /// Show its context and other payloads too.
        #[arg(long)]
        data: bool,
    },
    /// Cancel some with their families: by id, or all that match.
    #[command(
        after_help = "Example:\n  mainspring executions cancel --flow order --status waiting --reason recalled"
    )]
    Cancel(cancel::Cancel),
}

impl Executions {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let output = &context.output;
        match self {
            Self::List { filter, page, count, data } => {
                let filter = page.apply(filter.filter(context)?)?;
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
            Self::Get { id, data } => output.one(COLUMNS, &load(context, &id).await?, data)?,
            Self::Cancel(command) => return command.run(context).await,
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

//! `mainspring dlq`: what was given up.

use std::process::ExitCode;

use mainspring::{DeadLetter, DeadLetterQuery, MessageId, QueueDriver, QueueStore, Redrive, Which};
use serde_json::{Value, json};

use crate::{
    Context, Outcome, Result,
    output::{Column, Page, col, data, detail, maybe, text},
    words::PageArgs,
};

/// Dead letters that are done something to in one go.
const BATCH: u32 = 1_000;

#[derive(clap::Subcommand)]
pub(crate) enum Dlq {
    /// The dead letters of a queue, newest first.
    #[command(after_help = "Example:\n  mainspring dlq list mail --reason TIMEOUT")]
    List {
        /// The queue they failed in.
        queue: String,
        /// Only with this code as their reason.
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        /// Show their payloads and the messages of their reasons too.
        #[arg(long)]
        data: bool,
    },
    /// Give dead letters another run; with --copies, bring those that wait in a dead letter queue back to where they failed.
    #[command(after_help = "Example:\n  mainspring dlq redrive mail --yes")]
    Redrive {
        /// The queue they failed in; with --copies the queue that got copies.
        queue: String,
        /// The queue is one that others name for their dead letters.
        #[arg(long)]
        copies: bool,
        /// Only those with this code as their reason.
        #[arg(long, value_name = "CODE", conflicts_with = "copies")]
        reason: Option<String>,
        /// Another queue than that in which each failed.
        #[arg(long, value_name = "QUEUE", requires = "copies")]
        to: Option<String>,
    },
    /// Delete dead letters for good.
    #[command(after_help = "Example:\n  mainspring dlq drop mail --reason BAD_REQUEST --yes")]
    Drop {
        /// The queue they failed in.
        queue: String,
        /// Only those with this code as their reason.
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
    },
}

const COLUMNS: &[Column<DeadLetter>] = &[
    col("id", |it| text(&it.message.id)),
    col("type", |it| text(&it.message.message_type)),
    col("reason_code", |it| text(&it.reason.code)),
    col("failures", |it| it.failures.into()),
    col("lost", |it| it.lost.into()),
    col("dead_at", |it| text(it.dead_at)),
    detail("key", |it| maybe(it.message.key.as_ref())),
    detail("subject", |it| maybe(it.message.subject.as_ref())),
    data("reason", |it| json!(it.reason)),
    data("data", |it| it.message.data.clone()),
    data("headers", |it| Value::Object(it.message.headers.clone())),
];

impl Dlq {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, queue) = (&context.output, &context.stores()?.queue);
        match self {
            Self::List { queue: name, reason, page, data } => {
                let query = DeadLetterQuery { reason, before: page.cursor()?, limit: page.limit };
                let found = queue.find_dead_letters(&name, query).await?;
                let page = Page::keyed(found, page.limit, |last| format!("{}/{}", last.dead_at, last.seq));
                output.list(COLUMNS, &page, data)?;
            }
            Self::Redrive { queue: name, copies: true, to, .. } => {
                let count = queue.stats(&name).await?;
                if !context.confirmed("redrive", count.ready + count.deferred + count.held, "dead letters")? {
                    return Ok(ExitCode::SUCCESS);
                }
                let (mut moved, mut skipped) = (0, 0);
                loop {
                    let redriven =
                        queue.redrive(&name, Redrive { to: to.clone(), ..Redrive::default() }).await?;
                    (moved, skipped) = (moved + redriven.moved, skipped + redriven.skipped);
                    if redriven.moved == 0 {
                        break;
                    }
                }
                let facts = json!({"redriven": moved, "skipped": skipped});
                output.done(&format!("{moved} redriven, {skipped} left"), facts)?;
            }
            Self::Redrive { queue: name, reason, .. } => {
                each(context, &name, reason.as_deref(), "redrive", "redriven").await?;
            }
            Self::Drop { queue: name, reason } => {
                each(context, &name, reason.as_deref(), "drop", "dropped").await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn matching(
    context: &Context,
    queue: &str,
    reason: Option<&str>,
    limit: u32,
) -> Result<Vec<DeadLetter>> {
    let query = DeadLetterQuery { reason: reason.map(str::to_owned), limit, ..DeadLetterQuery::default() };
    Ok(context.stores()?.queue.find_dead_letters(queue, query).await?)
}

async fn each(context: &Context, name: &str, reason: Option<&str>, verb: &str, done: &str) -> Result<()> {
    let queue = &context.stores()?.queue;
    let count = match reason {
        Some(_) => matching(context, name, reason, 10_000).await?.len() as u64,
        None => queue.stats(name).await?.dead,
    };
    if !context.confirmed(verb, count, "dead letters")? {
        return Ok(());
    }
    let (bar, mut all) = (context.bar(count), 0);
    loop {
        let ids: Vec<MessageId> = matching(context, name, reason, BATCH)
            .await?
            .into_iter()
            .map(|letter| letter.message.id)
            .collect();
        let now = match verb {
            _ if ids.is_empty() => 0,
            "redrive" => queue.retry_messages(name, ids).await?.len() as u64,
            _ => queue.delete_messages(name, Which::Ids(ids)).await?,
        };
        if now == 0 {
            break;
        }
        all += now;
        bar.set_position(all);
    }
    bar.finish_and_clear();
    Ok(context.output.done(&format!("{all} {done}"), json!({done: all}))?)
}

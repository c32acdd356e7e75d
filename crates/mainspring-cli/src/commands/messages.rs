//! `mainspring messages`: what is in a queue.

use std::process::ExitCode;

use mainspring::{
    Available, Error, MessageId, MessageQuery, MessageStatus, NewMessage, QueueDriver, QueueStore,
    StoredMessage, Which,
};
use serde_json::{Value, json};

use crate::{
    Context, Outcome, Result,
    output::{Column, Page, col, data, detail, maybe, text},
    words::{self, PageArgs, Span},
};

/// Most messages that are done something to in one go.
const MOST: u32 = 1_000;

#[derive(clap::Subcommand)]
pub(crate) enum Messages {
    /// Those of a queue that was created, newest first.
    #[command(after_help = "Example:\n  mainspring messages list mail --status dead --key customer-7")]
    List {
        /// The queue.
        queue: String,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        page: PageArgs,
        /// Show their payloads too.
        #[arg(long)]
        data: bool,
    },
    /// One of them.
    #[command(after_help = "Example:\n  mainspring messages get mail msg_01J… --data")]
    Get {
        /// The queue.
        queue: String,
        /// Its id.
        id: String,
        /// Show its payload too.
        #[arg(long)]
        data: bool,
    },
    /// Push one.
    #[command(
        after_help = "Example:\n  mainspring messages push mail welcome --data '{\"to\":\"ada\"}' --delay 5m"
    )]
    Push(Push),
    /// Give messages that were given up one more run.
    #[command(after_help = "Example:\n  mainspring messages retry mail msg_01J…")]
    Retry(Chosen),
    /// Cancel messages that have not ended; their workers find their leases gone.
    #[command(after_help = "Example:\n  mainspring messages cancel mail --key customer-7 --yes")]
    Cancel(Chosen),
    /// Delete messages without a trace.
    #[command(after_help = "Example:\n  mainspring messages delete mail --status done --yes")]
    Delete(Chosen),
}

/// Which of them; all of it holds.
#[derive(clap::Args)]
pub(crate) struct FilterArgs {
    /// Only with this status: deferred, held, blocked, ready, claimed, done, cancelled or dead; may be said several times.
    #[arg(long = "status", value_name = "STATUS")]
    statuses: Vec<String>,
    /// Only with this key.
    #[arg(long)]
    key: Option<String>,
}

impl FilterArgs {
    fn query(&self, limit: u32) -> Result<MessageQuery> {
        let statuses = self.statuses.iter().map(|text| text.parse()).collect::<Result<_, Error>>()?;
        Ok(MessageQuery { key: self.key.clone(), statuses, limit, ..MessageQuery::default() })
    }
}

#[derive(clap::Args)]
pub(crate) struct Push {
    /// The queue.
    queue: String,
    /// What the message is, such as welcome.
    message_type: String,
    /// Its payload as JSON, @file, or - for standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// What the policy of its queue goes by.
    #[arg(long)]
    key: Option<String>,
    /// Higher goes first.
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<i16>,
    /// How long it waits.
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
}

/// Some messages of one queue.
#[derive(clap::Args)]
pub(crate) struct Chosen {
    /// The queue.
    queue: String,
    /// Those with these ids.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

const COLUMNS: &[Column<StoredMessage>] = &[
    col("id", |it| text(&it.message.id)),
    col("type", |it| text(&it.message.message_type)),
    col("status", |it| text(it.status.as_str())),
    col("key", |it| maybe(it.message.key.as_ref())),
    col("priority", |it| json!(it.message.priority)),
    col("failures", |it| it.failures.into()),
    col("created_at", |it| text(it.created_at)),
    col("available_at", |it| maybe(it.available_at)),
    detail("queue", |it| text(&it.message.queue)),
    detail("tenant", |it| maybe(Some(&it.message.tenant).filter(|tenant| !tenant.is_empty()))),
    detail("subject", |it| maybe(it.message.subject.as_ref())),
    detail("group", |it| maybe(it.message.group.as_ref().map(|group| &group.id))),
    detail("max_attempts", |it| json!(it.message.max_attempts)),
    detail("lost", |it| it.lost.into()),
    detail("delays", |it| it.delays.into()),
    detail("finished_at", |it| maybe(it.finished_at)),
    detail("reason_code", |it| maybe(it.reason.as_ref().map(|reason| &reason.code))),
    detail("failed_in", |it| maybe(it.origin.as_ref().map(|origin| &origin.queue))),
    data("reason", |it| json!(it.reason)),
    data("data", |it| it.message.data.clone()),
    data("headers", |it| Value::Object(it.message.headers.clone())),
    data("output", |it| json!(it.output)),
];

impl Messages {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let queue = &context.stores()?.queue;
        let output = &context.output;
        match self {
            Self::List { queue: name, filter, page, data } => {
                let bad = |_| Error::invalid("after", "is not what a list said");
                let before = page.after.as_ref().map(|after| after.parse()).transpose().map_err(bad)?;
                let query = MessageQuery { before, ..filter.query(page.limit)? };
                let found = queue.find_messages(&name, query).await?;
                if found.is_empty() && queue.get_queue(&name).await?.is_none() {
                    return Err(Error::not_found("queue", name).into());
                }
                output.list(COLUMNS, &Page::keyed(found, page.limit, |last| last.seq.to_string()), data)?;
            }
            Self::Get { queue: name, id, data } => {
                let query = MessageQuery { ids: vec![MessageId::new(&*id)?], ..MessageQuery::default() };
                let found = queue.find_messages(&name, query).await?.pop();
                output.one(COLUMNS, &found.ok_or_else(|| Error::not_found("message", id))?, data)?;
            }
            Self::Push(push) => push.run(context).await?,
            Self::Retry(chosen) => {
                chosen.each(context, "retry", "retried", |status| status == MessageStatus::Dead).await?;
            }
            Self::Cancel(chosen) => {
                chosen.each(context, "cancel", "cancelled", |status| !status.is_stored()).await?;
            }
            Self::Delete(chosen) => chosen.each(context, "delete", "deleted", |_| true).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Push {
    async fn run(self, context: &Context) -> Result<()> {
        let delay = self.delay.map(|text| text.parse()).transpose()?.map(|Span(span)| span);
        let message = NewMessage {
            key: self.key,
            priority: self.priority,
            tenant: context.tenant().unwrap_or_default(),
            available: delay.map_or(Available::Default, Available::After),
            ..NewMessage::new(&*self.queue, self.message_type, words::json("data", &self.data)?)
        };
        if !context.confirmed_one("push a message to", &self.queue)? {
            return Ok(());
        }
        let queue = &context.stores()?.queue;
        let (mut id, mut duplicate) = (message.id.clone(), false);
        if queue.get_queue(&self.queue).await?.is_some() {
            for pushed in queue.push_each(vec![message]).await? {
                (id, duplicate) = (pushed.id, pushed.duplicate);
            }
        } else {
            queue.push(vec![message]).await?;
        }
        Ok(context.output.done(id.as_str(), json!({"message": id, "duplicate": duplicate}))?)
    }
}

impl Chosen {
    /// Does it to those that were named, or after a question to all that match, at most a thousand.
    async fn each(
        self,
        context: &Context,
        verb: &str,
        done: &str,
        possible: impl Fn(MessageStatus) -> bool,
    ) -> Result<()> {
        let queue = &context.stores()?.queue;
        let named = !self.ids.is_empty();
        if !named && self.filter.statuses.is_empty() && self.filter.key.is_none() {
            return Err(Error::invalid(verb, "which? say ids, --status or --key").into());
        }
        let ids: Vec<MessageId> = if named {
            self.ids.iter().map(|id| MessageId::new(&**id)).collect::<Result<_, Error>>()?
        } else {
            let found = queue.find_messages(&self.queue, self.filter.query(MOST)?).await?;
            found.into_iter().filter(|it| possible(it.status)).map(|it| it.message.id).collect()
        };
        let go = if named {
            context.confirmed_one(verb, &self.queue)?
        } else {
            context.confirmed(verb, ids.len() as u64, "messages")?
        };
        if !go {
            return Ok(());
        }
        let asked = ids.len() as u64;
        let count = match verb {
            "retry" => queue.retry_messages(&self.queue, ids).await?.len() as u64,
            "cancel" => queue.cancel_messages(&self.queue, ids).await?.len() as u64,
            _ => queue.delete_messages(&self.queue, Which::Ids(ids)).await?,
        };
        if named && count == 0 {
            return Err(Error::not_found("message to be", format!("{done} in {}", self.queue)).into());
        }
        Ok(context.output.done(&format!("{count} {done}"), json!({done: count, "asked": asked}))?)
    }
}

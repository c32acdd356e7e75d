//! `mainspring queues`: queues that were created, and how full they are.

use std::{process::ExitCode, time::Duration};

use mainspring::{
    Error, Policy, Queue, QueueDriver, QueueFilter, QueueOptions, QueueStats, QueueStore,
    stats::{PgStats, QueueCount, Thresholds},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Context, Outcome, Result,
    output::{Column, Page, col, detail, text},
    words::{PageArgs, seconds},
};

/// Between two looks while a queue is drained.
const LOOK: Duration = Duration::from_millis(200);

#[derive(clap::Subcommand)]
pub(crate) enum Queues {
    /// Those that were created, by name.
    #[command(after_help = "Example:\n  mainspring queues list --policy singleton --paused true -o json")]
    List {
        /// Only with names that begin so.
        #[arg(long, value_name = "TEXT")]
        name_prefix: Option<String>,
        /// Only with this policy: standard, short, singleton, stately, exclusive or key_strict_fifo.
        #[arg(long)]
        policy: Option<String>,
        /// Only those that are paused, or not.
        #[arg(long, value_name = "BOOL")]
        paused: Option<bool>,
        /// Only those that send what they give up to this queue.
        #[arg(long, value_name = "NAME")]
        dead_letter: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Create a queue. One that is there with other options is a conflict.
    #[command(
        after_help = "Example:\n  mainspring queues create mail --policy singleton --dead-letter mail_dead"
    )]
    Create {
        /// Its name.
        name: String,
        /// standard, short, singleton, stately, exclusive or key_strict_fifo.
        #[arg(long, default_value = "standard")]
        policy: String,
        /// Runs of a message in all [default: 3].
        #[arg(long, value_name = "N")]
        max_attempts: Option<u32>,
        /// The queue that gets a copy of what is given up.
        #[arg(long, value_name = "NAME")]
        dead_letter: Option<String>,
    },
    /// How full queues are: as upkeep counted them last, or those that are named as they are now.
    #[command(after_help = "Example:\n  mainspring queues stats mail -o json")]
    Stats {
        /// Their names.
        names: Vec<String>,
        /// Count all of them now, at the cost of a look at every message.
        #[arg(long)]
        count: bool,
    },
    /// Let claims bring nothing; pushes go on.
    #[command(after_help = "Example:\n  mainspring queues pause mail")]
    Pause {
        /// Its name.
        name: String,
    },
    /// Let claims bring something again.
    #[command(after_help = "Example:\n  mainspring queues resume mail")]
    Resume {
        /// Its name.
        name: String,
    },
    /// Wait until nothing of a queue waits or is worked on; its workers do the work.
    #[command(after_help = "Example:\n  mainspring queues drain mail --timeout 10m")]
    Drain {
        /// Its name.
        name: String,
    },
    /// Delete a queue in which nothing waits or is worked on.
    #[command(after_help = "Example:\n  mainspring queues delete mail --yes")]
    Delete {
        /// Its name.
        name: String,
    },
}

const COLUMNS: &[Column<Queue>] = &[
    col("name", |it| text(&it.name)),
    col("policy", |it| text(it.options.policy.as_str())),
    col("paused", |it| it.paused.into()),
    col("max_attempts", |it| it.options.max_attempts.into()),
    col("dead_letter", |it| json!(it.options.dead_letter)),
    col("created_at", |it| text(it.created_at)),
    detail("options", |it| json!(it.options)),
    detail("updated_at", |it| text(it.updated_at)),
];

const COUNTS: &[Column<QueueCount>] = &[
    col("queue", |it| text(&it.queue)),
    col("ready", |it| it.ready.into()),
    col("claimed", |it| it.claimed.into()),
    col("deferred", |it| it.deferred.into()),
    col("held", |it| it.held.into()),
    col("blocked", |it| it.blocked.into()),
    col("dead", |it| it.dead.into()),
    col("oldest_seconds", |it| seconds(it.oldest)),
    col("counted_at", |it| text(it.at)),
];

const STATS: &[Column<(String, QueueStats)>] = &[
    col("queue", |(queue, _)| text(queue)),
    col("ready", |(_, it)| it.ready.into()),
    col("claimed", |(_, it)| it.claimed.into()),
    col("deferred", |(_, it)| it.deferred.into()),
    col("held", |(_, it)| it.held.into()),
    col("blocked", |(_, it)| it.blocked.into()),
    col("dead", |(_, it)| it.dead.into()),
];

impl Queues {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, stores) = (&context.output, context.stores()?);
        match self {
            Self::List { name_prefix, policy, paused, dead_letter, page: PageArgs { limit, after } } => {
                let policy = policy.as_deref().map(str::parse).transpose()?;
                let filter = QueueFilter { prefix: name_prefix, policy, paused, dead_letter, after, limit };
                let found = stores.queue.list_queues(filter).await?;
                let page = Page::keyed(found, limit, |last: &Queue| last.name.clone());
                output.list(COLUMNS, &page, false)?;
            }
            Self::Create { name, policy, max_attempts, dead_letter } => {
                let mut options = QueueOptions {
                    policy: policy.parse::<Policy>()?,
                    dead_letter,
                    ..QueueOptions::default()
                };
                options.max_attempts = max_attempts.unwrap_or(options.max_attempts);
                if !context.confirmed_one("create", &name)? {
                    return Ok(ExitCode::SUCCESS);
                }
                let made = stores.queue.create_queue(&name, options).await?;
                if let Some((option, asked, there)) = made.differences.first() {
                    let problem =
                        format!("queue `{name}` is there with another {option}: {there} instead of {asked}");
                    return Err(Error::conflict(problem).into());
                }
                let what = if made.created { "created" } else { "there already" };
                output.done(&format!("{name} {what}"), json!({"queue": name, "created": made.created}))?;
            }
            Self::Stats { names, count } if names.is_empty() => {
                let stats = PgStats::new(stores.db());
                if count {
                    stats.count(&Thresholds::default()).await?;
                }
                output.list(COUNTS, &Page::all(stats.latest().await?), false)?;
            }
            Self::Stats { names, .. } => {
                let mut found = Vec::new();
                for name in names {
                    let stats = stores.queue.stats(&name).await?;
                    found.push((name, stats));
                }
                output.list(STATS, &Page::all(found), false)?;
            }
            Self::Pause { name } => pause(context, &name, true).await?,
            Self::Resume { name } => pause(context, &name, false).await?,
            Self::Drain { name } => drain(context, &name).await?,
            Self::Delete { name } => {
                if stores.queue.get_queue(&name).await?.is_none() {
                    return Err(Error::not_found("queue", name).into());
                }
                if !context.confirmed("delete", 1, "queues")? {
                    return Ok(ExitCode::SUCCESS);
                }
                stores.queue.delete_queue(&name).await?;
                output.done(&format!("{name} deleted"), json!({"queue": name, "deleted": true}))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn pause(context: &Context, name: &str, paused: bool) -> Result<()> {
    if !context.confirmed_one(if paused { "pause" } else { "resume" }, name)? {
        return Ok(());
    }
    let queue = context.stores()?.queue.pause_queue(name, paused).await?;
    let what = if queue.paused { "paused" } else { "goes on" };
    Ok(context.output.done(&format!("{name} {what}"), json!({"queue": name, "paused": queue.paused}))?)
}

async fn drain(context: &Context, name: &str) -> Result<()> {
    let queue = &context.stores()?.queue;
    if queue.get_queue(name).await?.is_some_and(|queue| queue.paused) {
        return Err(Error::conflict(format!("queue `{name}` is paused: nothing would drain it")).into());
    }
    let left = |stats: QueueStats| stats.ready + stats.claimed + stats.deferred + stats.held + stats.blocked;
    let first = left(queue.stats(name).await?);
    let bar = context.bar(first);
    let mut now = first;
    while now > 0 {
        bar.set_position(first.saturating_sub(now));
        sleep(LOOK).await;
        now = left(queue.stats(name).await?);
    }
    bar.finish_and_clear();
    let facts: Value = json!({"queue": name, "drained": first});
    Ok(context.output.done(&format!("{name} is empty"), facts)?)
}

//! `mainspring schedules`: messages that are pushed again and again.

use std::process::ExitCode;

use mainspring::{
    Error, NewMessage, Timestamp,
    schedule::{Fire, FireFilter, Schedule, ScheduleFilter, ScheduleState, Timing, is_pattern},
};
use serde_json::json;

use crate::{
    Context, Outcome, Result,
    output::{Column, Page, col, data, detail, maybe, text},
    spans::At,
    words::{self, Moment, PageArgs, Span},
};

/// A schedule by its queue and key.
#[derive(clap::Args)]
pub(crate) struct Named {
    /// The queue it pushes to.
    queue: String,
    /// Its key.
    key: String,
}

#[derive(clap::Subcommand)]
pub(crate) enum Schedules {
    /// By queue and key.
    #[command(after_help = "Example:\n  mainspring schedules list --queue reports")]
    List {
        /// Only those of this queue.
        #[arg(long)]
        queue: Option<String>,
        /// Only those with this key, in whatever queue.
        #[arg(long)]
        key: Option<String>,
        /// Only those that are paused, or not.
        #[arg(long, value_name = "BOOL")]
        paused: Option<bool>,
        #[command(flatten)]
        page: PageArgs,
        /// Show their payloads too.
        #[arg(long)]
        data: bool,
    },
    /// Create a schedule, or replace its definition.
    #[command(
        after_help = "Example:\n  mainspring schedules add reports nightly '30 2 * * *' --zone Europe/Berlin --type report"
    )]
    Add(Add),
    /// Remove a schedule; what it pushed stays.
    #[command(visible_alias = "remove", after_help = "Example:\n  mainspring schedules rm reports nightly")]
    Rm {
        #[command(flatten)]
        named: Named,
    },
    /// Push its message now, beside its ticks.
    #[command(after_help = "Example:\n  mainspring schedules run reports nightly")]
    Run {
        #[command(flatten)]
        named: Named,
    },
    /// The next ticks.
    #[command(after_help = "Example:\n  mainspring schedules next reports nightly --count 10")]
    Next {
        #[command(flatten)]
        named: Named,
        /// How many.
        #[arg(long, default_value_t = 10, value_name = "N")]
        count: u32,
    },
    /// Stop it until it is resumed.
    #[command(after_help = "Example:\n  mainspring schedules pause reports nightly")]
    Pause {
        #[command(flatten)]
        named: Named,
    },
    /// Let it go on with its next tick.
    #[command(after_help = "Example:\n  mainspring schedules resume reports nightly")]
    Resume {
        #[command(flatten)]
        named: Named,
    },
    /// What became of its ticks, latest first.
    #[command(
        after_help = "Example:\n  mainspring schedules history reports nightly --outcome skipped --since 7d"
    )]
    History {
        #[command(flatten)]
        named: Named,
        /// Only those about which this was done: fired, skipped or run_now.
        #[arg(long)]
        outcome: Option<String>,
        /// Only those since this time, or since so long ago.
        #[arg(long, value_name = "TIME")]
        since: Option<Moment>,
        #[command(flatten)]
        page: PageArgs,
    },
}

#[derive(clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    named: Named,
    /// A cron pattern of 5 or 6 fields, `@every 15m`, or `@at` with a time.
    timing: String,
    /// The time zone of a cron pattern.
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// What the message is [default: the key].
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
    /// Its payload as JSON, @file, or - for standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// Push it so much later at most, by a part that is the same for the same tick.
    #[arg(long, value_name = "TIME")]
    jitter: Option<String>,
}

const COLUMNS: &[Column<ScheduleState>] = &[
    col("queue", |it| text(&it.schedule.message.queue)),
    col("key", |it| text(&it.schedule.key)),
    col("timing", |it| text(shown(&it.schedule.timing))),
    col("paused", |it| it.paused_at.is_some().into()),
    col("next", |it| maybe(it.next)),
    col("last", |it| maybe(it.last)),
    detail("type", |it| text(&it.schedule.message.message_type)),
    detail("missed", |it| json!(it.schedule.missed)),
    detail("revision", |it| it.revision.into()),
    detail("created_at", |it| text(it.created_at)),
    detail("updated_at", |it| text(it.updated_at)),
    data("last_error", |it| json!(it.last_error)),
    data("data", |it| it.schedule.message.data.clone()),
];

const FIRES: &[Column<Fire>] = &[
    col("tick", |it| text(it.tick)),
    col("outcome", |it| text(it.outcome.as_str())),
    col("missed", |it| it.missed.into()),
    col("fired_at", |it| text(it.fired_at)),
    col("message", |it| maybe(it.message_id.as_ref())),
];

const TICKS: &[Column<Timestamp>] = &[col("tick", |it| text(it))];

fn shown(timing: &Timing) -> String {
    match timing {
        Timing::Cron(cron) => format!("{} {}", cron.pattern, cron.zone),
        Timing::Every(every) => format!("@every {}s", every.as_secs()),
        Timing::Once(at) => format!("@at {at}"),
    }
}

impl Schedules {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, schedules) = (&context.output, context.stores()?.queue.schedules());
        match self {
            Self::List { queue, key, paused, page, data } => {
                let filter = ScheduleFilter { queue, key, paused, after: page.cursor()? };
                let found = schedules.list(&filter, page.limit).await?;
                let place =
                    |last: &ScheduleState| format!("{}/{}", last.schedule.message.queue, last.schedule.key);
                output.list(COLUMNS, &Page::keyed(found, page.limit, place), data)?;
            }
            Self::Add(add) => add.run(context).await?,
            Self::Rm { named: Named { queue, key } } => {
                if !context.confirmed_one("remove", &key)? {
                    return Ok(ExitCode::SUCCESS);
                }
                if !schedules.remove(&queue, &key).await? {
                    return Err(Error::not_found("schedule", key).into());
                }
                output.done(&format!("{key} removed"), json!({"removed": key}))?;
            }
            Self::Run { named: Named { queue, key } } => {
                if !context.confirmed_one("run", &key)? {
                    return Ok(ExitCode::SUCCESS);
                }
                let message = schedules.run_now(&queue, &key).await?;
                output.done(message.as_str(), json!({"message": message}))?;
            }
            Self::Next { named: Named { queue, key }, count } => {
                output.list(TICKS, &Page::all(schedules.preview(&queue, &key, count).await?), false)?;
            }
            Self::Pause { named: Named { queue, key } } => {
                if context.confirmed_one("pause", &key)? {
                    output.one(COLUMNS, &schedules.pause(&queue, &key).await?, false)?;
                }
            }
            Self::Resume { named: Named { queue, key } } => {
                if context.confirmed_one("resume", &key)? {
                    output.one(COLUMNS, &schedules.resume(&queue, &key).await?, false)?;
                }
            }
            Self::History { named: Named { queue, key }, outcome, since, page } => {
                let outcome = outcome.as_deref().map(str::parse).transpose()?;
                let filter =
                    FireFilter { outcome, since: context.time_of(since).await?, after: page.cursor()? };
                let found = schedules.fires(&queue, &key, &filter, page.limit).await?;
                if found.is_empty() && schedules.get(&queue, &key).await?.is_none() {
                    return Err(Error::not_found("schedule", key).into());
                }
                let place = |last: &Fire| format!("{}/{}", last.tick, last.outcome.as_str());
                output.list(FIRES, &Page::keyed(found, page.limit, place), false)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<()> {
        let Named { queue, key } = self.named;
        let timing: Timing = self.timing.parse()?;
        let message_type = self.message_type.unwrap_or_else(|| key.clone());
        let message = NewMessage {
            tenant: context.tenant().unwrap_or_default(),
            ..NewMessage::new(queue, message_type, words::json("data", &self.data)?)
        };
        let mut schedule = Schedule::new(&*key, timing.clone().in_zone(self.zone), message);
        if let Some(jitter) = &self.jitter {
            schedule.jitter = jitter.parse::<Span>()?.0;
        }
        if !context.confirmed_one("add", &key)? {
            return Ok(());
        }
        let state = context.stores()?.queue.schedules().put(&schedule).await;
        let state = state.map_err(|error| match (&timing, error.is_invalid()) {
            (Timing::Cron(cron), true) if error.to_string().starts_with("schedule.cron") => {
                At::in_pattern(error, &cron.pattern, is_pattern)
            }
            _ => error.into(),
        })?;
        Ok(context.output.one(COLUMNS, &state, false)?)
    }
}

//! `mainspring retention`: how long what is over stays, and where it goes then.

mod policy;

use std::process::ExitCode;

use mainspring::{
    RetentionPolicy,
    retention::{Planned, Removed, Target},
};
use serde_json::{Value, json};

use crate::{
    Context, Outcome, Result,
    output::{Column, Format, Page, col, detail, maybe, text},
    words::seconds,
};

#[derive(clap::Subcommand)]
pub(crate) enum Retention {
    /// Say what would go now, and how much; changes nothing.
    #[command(
        after_help = "Example:\n  mainspring retention plan --policy 'executions=archive:90d outputs=7d'"
    )]
    Plan(Chosen),
    /// Take out what is over: counts and asks first, then goes on in small batches until nothing is left. May be interrupted, and
    /// run again, and by several at once.
    #[command(after_help = "Example:\n  mainspring retention run --policy 'flow.heartbeat=1d' --yes")]
    Run(Chosen),
}

#[derive(clap::Args)]
pub(crate) struct Chosen {
    /// What stays for how long, in the place of what is configured: `executions=archive:90d dead_letters=30d flow.ping=1d`.
    #[arg(long, value_name = "RULES")]
    policy: Option<String>,
}

/// What is said of everything that can go, for `T` that has it.
macro_rules! columns {
    ($($more:expr),*) => {
        &[
            col("kind", |it| text(it.target.kind)),
            col("name", |it| maybe(named(&it.target.name))),
            col("partition", |it| maybe(named(&it.target.partition))),
            col("action", |it| text(it.target.rule.as_str())),
            col("after_seconds", |it| after(&it.target)),
            col("count", |it| it.count.into()),
            $($more),*
        ]
    };
}

const PLANNED: &[Column<Planned>] = columns![col("oldest", |it| maybe(it.oldest))];
const REMOVED: &[Column<Removed>] = columns![detail("event", |_| text("removed"))];

fn named(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

/// Nothing for what says itself how long it stays.
fn after(target: &Target) -> Value {
    target.rule.after().filter(|after| !after.is_zero()).map_or(Value::Null, seconds)
}

impl Retention {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Plan(chosen) => {
                let retention = chosen.retention(context)?;
                let planned = context.busy("counting", retention.plan()).await?;
                context.output.list(PLANNED, &Page::all(planned), false)?;
            }
            Self::Run(chosen) => chosen.run(context).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Chosen {
    fn retention(&self, context: &Context) -> Result<mainspring::retention::Retention> {
        let policy = match &self.policy {
            Some(text) => policy::read(text)?,
            None => context.retention()?,
        };
        Ok(context.stores()?.retention(policy)?)
    }

    async fn run(self, context: &Context) -> Result<()> {
        let (output, retention) = (&context.output, self.retention(context)?);
        let planned = context.busy("counting", retention.plan()).await?;
        let planned: Vec<Planned> = planned.into_iter().filter(|planned| planned.count > 0).collect();
        let total: u64 = planned.iter().map(|planned| planned.count).sum();
        for Planned { target, count, .. } in &planned {
            let name = named(&target.name).map(|name| format!(" {name}")).unwrap_or_default();
            output.note(format_args!("{} {count} {}{name}", target.rule.as_str(), target.kind));
        }
        if !context.confirmed("take out", total, "things that are over")? {
            return Ok(());
        }
        let (bar, mut written) = (context.bar(total), Ok(()));
        let removed = retention.run(|progress| {
            bar.set_position(progress.all);
            bar.set_message(progress.target.kind.as_str());
            if output.format == Format::Jsonl && written.is_ok() {
                let target = progress.target;
                written = output.done(
                    "",
                    json!({"event": "progress", "kind": target.kind.as_str(), "name": target.name, "count": progress.gone,
                        "all": progress.all}),
                );
            }
        });
        let removed = removed.await?;
        bar.finish_and_clear();
        written?;
        Ok(output.list(REMOVED, &Page::all(removed), false)?)
    }
}

impl Context {
    /// What stays for how long, as it is configured.
    ///
    /// # Errors
    /// Invalid, naming the entry.
    pub(crate) fn retention(&self) -> Result<RetentionPolicy> {
        self.config.get("retention").map_or_else(|| Ok(RetentionPolicy::default()), policy::read)
    }
}

//! `mainspring consumers`: who follows the log, and how far they are.

use std::process::ExitCode;

use mainspring::{
    Error,
    consumer::{Parked, ProcessorState, Processors},
};
use serde_json::{Value, json};

use crate::{
    Context, Outcome, Result,
    output::{Column, Page, col, data, detail, maybe, text},
    words::{PageArgs, seconds},
};

#[derive(clap::Subcommand)]
pub(crate) enum Consumers {
    /// All processors, by name.
    #[command(after_help = "Example:\n  mainspring consumers list")]
    List {
        /// Only those of this name.
        name: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// How late they are; ends with 1 when one is later than allowed.
    #[command(after_help = "Example:\n  mainspring consumers lag --most 1000")]
    Lag {
        /// Only those of this name.
        name: Option<String>,
        /// Positions that one may be behind.
        #[arg(long, value_name = "N")]
        most: Option<u64>,
    },
    /// Set processors back or forward. What a projector wrote is not changed.
    #[command(after_help = "Example:\n  mainspring consumers reset totals --position 0 --yes")]
    Reset {
        /// Their name.
        name: String,
        /// The global position after which they go on.
        #[arg(long)]
        position: i64,
    },
    /// Events that processors of a name gave up on.
    #[command(after_help = "Example:\n  mainspring consumers parked totals")]
    Parked {
        /// Only those of processors of this name.
        name: String,
        #[command(flatten)]
        page: PageArgs,
        /// Show why, too.
        #[arg(long)]
        data: bool,
    },
    /// Have all parked events of a name handled again.
    #[command(after_help = "Example:\n  mainspring consumers redrive totals --yes")]
    Redrive {
        /// Their name.
        name: String,
    },
}

const COLUMNS: &[Column<ProcessorState>] = &[
    col("name", |it| text(&it.name)),
    col("version", |it| it.version.into()),
    col("shard", |it| text(format!("{}/{}", it.shard, it.shards))),
    col("position", |it| it.position.into()),
    col("behind", |it| it.behind.into()),
    col("late_seconds", |it| it.late.map_or(Value::Null, seconds)),
    col("parked", |it| it.parked.into()),
    col("holder", |it| maybe(it.holder.as_ref())),
    detail("id", |it| it.id.into()),
    detail("partition", |it| maybe(it.partition.as_ref())),
    detail("tenant", |it| maybe(it.tenant.as_ref())),
    detail("expires_at", |it| maybe(it.expires_at)),
    detail("updated_at", |it| text(it.updated_at)),
];

const PARKED: &[Column<Parked>] = &[
    col("global_position", |it| it.global_position.into()),
    col("stream", |it| text(&it.stream)),
    col("position", |it| it.position.into()),
    col("type", |it| text(&it.event_type)),
    col("attempts", |it| it.attempts.into()),
    col("redrive", |it| it.redrive.into()),
    col("parked_at", |it| text(it.parked_at)),
    data("error", |it| text(&it.error)),
];

impl Consumers {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, processors) = (&context.output, Processors::new(context.stores()?.db()));
        match self {
            Self::List { name, page } => {
                let found = of(&processors, name.as_deref()).await?;
                output.list(COLUMNS, &page.of(found, |state| state.id.to_string())?, false)?;
            }
            Self::Lag { name, most } => {
                let found = of(&processors, name.as_deref()).await?;
                let behind = found.iter().map(|state| state.behind).max().unwrap_or_default();
                let is_late = most.is_some_and(|most| u64::try_from(behind).unwrap_or_default() > most);
                let lines = Page::all(found);
                output.list(COLUMNS, &lines, false)?;
                return Ok(ExitCode::from(u8::from(is_late)));
            }
            Self::Reset { name, position } => {
                let found = of(&processors, Some(&name)).await?;
                if !context.confirmed("reset", found.len() as u64, "processors")? {
                    return Ok(ExitCode::SUCCESS);
                }
                for state in &found {
                    processors.reset(state.id, position).await?;
                }
                let facts = json!({"reset": found.len(), "position": position});
                output.done(&format!("{} go on after {position}", found.len()), facts)?;
            }
            Self::Parked { name, page, data } => {
                of(&processors, Some(&name)).await?;
                let found = processors.parked(&name, 10_000).await?;
                output.list(
                    PARKED,
                    &page.of(found, |it| format!("{}/{}", it.version, it.global_position))?,
                    data,
                )?;
            }
            Self::Redrive { name } => {
                let count = of(&processors, Some(&name)).await?.iter().map(|state| state.parked).sum();
                if !context.confirmed("redrive", count, "parked events")? {
                    return Ok(ExitCode::SUCCESS);
                }
                let redriven = processors.redrive(&name, &[]).await?;
                output.done(&format!("{redriven} are to be handled again"), json!({"redriven": redriven}))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All, or those of a name.
///
/// # Errors
/// Not found, when nobody has that name.
async fn of(processors: &Processors<'_>, name: Option<&str>) -> Result<Vec<ProcessorState>> {
    let Some(name) = name else { return Ok(processors.list().await?) };
    let found = processors.named(name).await?;
    if found.is_empty() { Err(Error::not_found("processor", name).into()) } else { Ok(found) }
}

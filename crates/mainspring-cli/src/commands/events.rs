//! `mainspring events`: the log.

use std::{process::ExitCode, time::Duration};

use mainspring::{
    Append, Direction, Error, EventId, EventStore, ExpectedPosition, GlobalFilter, GlobalReader, NewEvent,
    RecordedEvent, StreamId, StreamQuery,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Context, Outcome, Result,
    output::{Column, Format, Output, Page, col, data, detail, maybe, text},
    words,
};

/// Between two looks for what is new.
const LOOK: Duration = Duration::from_millis(200);
/// Events of one look.
const PAGE: u32 = 500;

#[derive(clap::Subcommand)]
pub(crate) enum Events {
    /// Append one event to a stream.
    #[command(
        after_help = "Example:\n  mainspring events append cart-1 Added --data '{\"item\":\"pencil\"}' --expect 3"
    )]
    Append {
        /// The stream.
        stream: String,
        /// What happened.
        event_type: String,
        /// The fact as JSON, @file, or - for standard input.
        #[arg(long, default_value = "{}", value_name = "JSON")]
        data: String,
        /// Where the stream must stand: a position, `none` when it must not exist, `some` when it must.
        #[arg(long, value_name = "POSITION")]
        expect: Option<String>,
        /// Makes the append repeatable.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// The partition of the log.
        #[arg(long, default_value = "streams")]
        partition: String,
    },
    /// The events of a stream, in order.
    #[command(after_help = "Example:\n  mainspring events read cart-1 --from 2 --data -o jsonl")]
    Read {
        /// The stream.
        stream: String,
        /// From this position on.
        #[arg(long, value_name = "POSITION")]
        from: Option<i64>,
        /// The last ones, newest first.
        #[arg(long)]
        backward: bool,
        /// At most so many, up to 10,000.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// The partition of the log.
        #[arg(long, default_value = "streams")]
        partition: String,
        /// Show the facts too.
        #[arg(long)]
        data: bool,
    },
    /// Everything that is appended from now on, until it is interrupted. Skips nothing.
    #[command(after_help = "Example:\n  mainspring events tail --type OrderPaid --data -o jsonl")]
    Tail {
        /// From beyond this global position [default: the end of the log].
        #[arg(long, value_name = "POSITION")]
        from: Option<i64>,
        /// Only of this partition; may be said several times.
        #[arg(long = "partition", value_name = "NAME")]
        partitions: Vec<String>,
        /// Only of this type; may be said several times.
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// End after so many.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// End at the end of the log.
        #[arg(long)]
        no_follow: bool,
        /// Show the facts too.
        #[arg(long)]
        data: bool,
    },
}

const COLUMNS: &[Column<RecordedEvent>] = &[
    col("global_position", |it| it.global_position.into()),
    col("stream", |it| text(&it.stream)),
    col("position", |it| it.position.into()),
    col("type", |it| text(&it.event.event_type)),
    col("subject", |it| maybe(it.event.subject.as_ref())),
    col("created_at", |it| text(it.created_at)),
    detail("partition", |it| text(&it.partition)),
    detail("tenant", |it| maybe(Some(&it.tenant).filter(|tenant| !tenant.is_empty()))),
    detail("id", |it| maybe(it.event.id.as_ref())),
    detail("correlation_id", |it| maybe(it.event.correlation_id.as_ref())),
    detail("causation_id", |it| maybe(it.event.causation_id.as_ref())),
    data("data", |it| it.event.data.clone()),
    data("metadata", |it| Value::Object(it.event.metadata.clone())),
];

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, stores) = (&context.output, context.stores()?);
        let tenant = context.tenant();
        let of = |stream: String, partition: String| {
            StreamId::new(stream).in_partition(partition).of_tenant(tenant.clone().unwrap_or_default())
        };
        match self {
            Self::Append { stream, event_type, data, expect, id, partition } => {
                let id = id.map(EventId::new).transpose()?;
                let event = NewEvent { id, ..NewEvent::new(event_type, words::json("data", &data)?) };
                let append = Append::to(of(stream.clone(), partition), vec![event]);
                let append = append.expecting(expected(expect.as_deref())?);
                if !context.confirmed_one("append to", &stream)? {
                    return Ok(ExitCode::SUCCESS);
                }
                let done = stores.events.append(append).await?;
                let facts = json!({"stream": stream, "position": done.last, "repeated": done.repeated,
                    "global_position": done.global_positions.first()});
                output.done(&format!("{stream} is at {}", done.last), facts)?;
            }
            Self::Read { stream, from, backward, limit, partition, data } => {
                let direction = if backward { Direction::Backward } else { Direction::Forward };
                let query =
                    StreamQuery { direction, from, limit, ..StreamQuery::of(of(stream.clone(), partition)) };
                let page = stores.events.read_page(query).await?;
                if !page.head.exists() {
                    return Err(Error::not_found("stream", stream).into());
                }
                let more =
                    move |last: &RecordedEvent| (last.position + if backward { -1 } else { 1 }).to_string();
                output.list(COLUMNS, &Page::keyed(page.events, limit, more), data)?;
            }
            Self::Tail { from, partitions, types, count, no_follow, data } => {
                let filter = GlobalFilter { partitions, tenant: tenant.clone(), event_types: types };
                let reader = GlobalReader::new(stores.db())?.only(filter)?;
                tail(context, &reader, from, count.unwrap_or(u64::MAX), no_follow, data).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn expected(text: Option<&str>) -> Result<ExpectedPosition> {
    Ok(match text {
        None => ExpectedPosition::Any,
        Some("none") => ExpectedPosition::NoStream,
        Some("some") => ExpectedPosition::StreamExists,
        Some(text) => {
            let bad = |_| Error::invalid("expect", "is neither a position nor none nor some");
            ExpectedPosition::Exact(text.parse().map_err(bad)?)
        }
    })
}

async fn tail(
    context: &Context,
    reader: &GlobalReader,
    from: Option<i64>,
    mut left: u64,
    no_follow: bool,
    with_data: bool,
) -> Result<()> {
    let mut after = match from {
        Some(from) => from,
        None if no_follow => 0,
        None => reader.settled().await?.position(),
    };
    while left > 0 {
        let settled = reader.settled().await?;
        let page = reader.read(after, settled, PAGE).await?;
        after = page.next;
        for event in page.events.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            left -= 1;
            tell(context, &event, with_data)?;
        }
        if after < settled.position() {
            continue;
        }
        if no_follow {
            break;
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// A line for each event: nobody knows how many there will be.
fn tell(context: &Context, event: &RecordedEvent, with_data: bool) -> Result<()> {
    let output = &context.output;
    if output.format != Format::Table {
        return Ok(output.done("", Value::Object(Output::fields(COLUMNS, event, with_data)))?);
    }
    let RecordedEvent { global_position, stream, position, created_at, event, .. } = event;
    let data = if with_data { format!("  {}", event.data) } else { String::new() };
    Ok(output.line(&format!(
        "{global_position:>8}  {created_at}  {stream} {position}  {}{data}",
        event.event_type
    ))?)
}

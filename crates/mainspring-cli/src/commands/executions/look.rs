//! `mainspring executions get` and `watch`: one execution, its steps and its life.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use mainspring::{
    Backend, EventStore, Execution, ExecutionId, ExecutionStatus, Flow, RecordedEvent, StreamId, StreamQuery,
    event::EXECUTIONS,
};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{columns::COLUMNS, load};
use crate::{
    Context, Outcome, Result,
    graph::Graph,
    output::{Format, Output},
    timeline::{self, moments},
};

/// Between two looks when nothing happens: the first and the longest.
const LOOK: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

#[derive(clap::Args)]
pub(crate) struct Get {
    /// Its id.
    id: String,
    /// Show its context and other payloads too.
    #[arg(long)]
    data: bool,
    /// Write a picture of its steps into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Get {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let execution = load(context, &self.id).await?;
        let stores = context.stores()?;
        let events = stores.events.get_by_execution(&execution.id).await?;
        let flow = stores.flows().get(&execution.flow_id, &execution.flow_version).await?;
        let graph = graph_of(flow.as_ref(), &events)?;
        if let Some(file) = &self.svg {
            std::fs::write(file, graph.svg()).map_err(|error| format!("{}: {error}", file.display()))?;
            context.output.note(format_args!("the picture is in {}", file.display()));
        }
        let moments = moments(events, self.data);
        let output = &context.output;
        if output.format == Format::Table {
            output.one(COLUMNS, &execution, self.data)?;
            output.line(&format!("\n{}", graph.text()))?;
            let shown: Vec<_> = timeline::COLUMNS
                .iter()
                .filter(|column| column.name != "at" && (self.data || column.name != "data"))
                .collect();
            output.line(&format!("\n{}", Output::table(&shown, &moments, output.colour)))?;
        } else {
            let mut fields = Output::fields(COLUMNS, &execution, self.data);
            let moment = |moment| Value::Object(Output::fields(timeline::COLUMNS, moment, self.data));
            fields.insert("timeline".to_owned(), moments.iter().map(moment).collect());
            output.done("", Value::Object(fields))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn graph_of(flow: Option<&Flow>, events: &[RecordedEvent]) -> Result<Graph> {
    let graph = match flow {
        Some(flow) => Graph::of_flow(flow)?,
        None => Graph::of_history(events),
    };
    Ok(graph.with_states(events))
}

/// Tells of an execution until it is over; the execution as it is then. Events go to standard error, or as lines of JSON to
/// standard output.
pub(crate) async fn follow(context: &Context, id: &ExecutionId, as_data: bool) -> Result<Execution> {
    let stores = context.stores()?;
    let (mut position, mut pause) = (0, LOOK[0]);
    let mut begin = None;
    loop {
        let found = stores.executions().get(id).await?;
        let execution = found.ok_or_else(|| mainspring::Error::not_found("execution", id))?;
        // After the execution: what is over has all its events.
        let events = history(context, &execution, position).await?;
        pause = if events.is_empty() { (pause * 2).min(LOOK[1]) } else { LOOK[0] };
        for event in events {
            position = event.position;
            let begin = *begin.get_or_insert(event.created_at);
            tell(context, &event, event.created_at.since(begin), as_data)?;
        }
        if execution.status.is_terminal() {
            return Ok(execution);
        }
        sleep(pause).await;
    }
}

async fn history(context: &Context, execution: &Execution, after: i64) -> Result<Vec<RecordedEvent>> {
    let stream = StreamId::new(execution.stream()).in_partition(EXECUTIONS).of_tenant(&*execution.tenant);
    let query = StreamQuery { from: Some(after + 1), ..StreamQuery::of(stream) };
    Ok(context.stores()?.events.read_page(query).await?.events)
}

fn tell(context: &Context, event: &RecordedEvent, since: Duration, as_data: bool) -> Result<()> {
    let step = event.event.subject.as_deref().unwrap_or_default();
    if !as_data {
        let ms = since.as_millis();
        context.output.note(format_args!("{ms:>8} ms  {:<22} {step}", event.event.event_type));
    } else if context.output.format == Format::Table {
        context.output.line(&format!("{}  {:<22} {step}", event.created_at, event.event.event_type))?;
    } else {
        let facts = json!({"at": event.created_at, "position": event.position, "event": event.event.event_type,
            "step": event.event.subject});
        context.output.done("", facts)?;
    }
    Ok(())
}

/// What an execution came to: 0 when it completed, else 1.
pub(crate) fn verdict(execution: &Execution) -> ExitCode {
    ExitCode::from(u8::from(execution.status != ExecutionStatus::Completed))
}

/// What it returned: the output of a workflow, the context of a flow.
pub(crate) fn result_of(execution: &Execution) -> Value {
    let is_workflow = execution.flow_version.starts_with("fn-");
    match execution.context.get("output") {
        Some(output) if is_workflow => output.clone(),
        _ if is_workflow => Value::Null,
        _ => Value::Object(Map::clone(&execution.context)),
    }
}

//! The life of one order, event by event.

use mainspring::{Backend, EventStore, ExecutionId, PgStores, RecordedEvent, Timestamp, event::kind};
use serde_json::Value;

use super::{Result, table::table, verdict::Verdict};

/// Longest detail that is shown.
const DETAIL: usize = 60;

/// The order with the most to tell: taken over after the kill, retried, approved. Else the first.
pub(super) async fn of_the_most_eventful(
    stores: &PgStores<'static>,
    verdict: &Verdict,
    ids: &[String],
) -> Result<Option<String>> {
    let rank = |kind: &&str| match *kind {
        kind::EXECUTION_RECOVERED | kind::JOB_SUPERSEDED => 3,
        _ => 2,
    };
    let score =
        |id: &&String| verdict.notable.get(*id).map_or(0, |kinds| kinds.iter().map(rank).sum::<u32>());
    let Some(id) = ids.iter().rev().max_by_key(score) else { return Ok(None) };
    let id = ExecutionId::new(id.as_str())?;
    let Some(execution) = stores.executions().get(&id).await? else { return Ok(None) };
    let events = stores.events.get_by_execution(&id).await?;
    let title = match execution.context.get("id") {
        Some(Value::String(order)) => format!("{order} ({id})"),
        _ => id.to_string(),
    };
    Ok(Some(format!("the life of {title}:\n{}", render(&events))))
}

fn render(events: &[RecordedEvent]) -> String {
    let mut table = table();
    table.set_header(["ms", "event", "step", "detail"]);
    let times = times(events);
    let begin = times.first().copied().unwrap_or(Timestamp::MIN);
    for (RecordedEvent { event, .. }, at) in events.iter().zip(times) {
        // What comes next says the same.
        if event.event_type == kind::EXECUTION_WAITING {
            continue;
        }
        let step = event.subject.as_deref().unwrap_or_default();
        let ms = at.since(begin).as_millis().to_string();
        table.add_row([ms.as_str(), &event.event_type, step, &detail(&event.event_type, &event.data)]);
    }
    if let Some(ms) = table.column_mut(0) {
        ms.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    table.trim_fmt()
}

/// When each event happened. All events of a step are written when it ends; the log says when its handler was called.
fn times(events: &[RecordedEvent]) -> Vec<Timestamp> {
    let happened = |event: &RecordedEvent| {
        let started =
            event.event.data.get("startedAt").and_then(Value::as_str).and_then(|text| text.parse().ok());
        started.unwrap_or(event.created_at).min(event.created_at)
    };
    let mut times: Vec<Timestamp> = events.iter().map(happened).collect();
    // What stands before something in the log did not happen after it.
    for i in (1..times.len()).rev() {
        times[i - 1] = times[i - 1].min(times[i]);
    }
    times
}

fn detail(event_type: &str, data: &Value) -> String {
    let text = |key: &str| match &data[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let detail = match event_type {
        kind::EXECUTION_CREATED => format!("{} {}", text("flowId"), text("flowVersion")),
        kind::STEP_STARTED if data["attempt"] != 1 => format!("attempt {}", text("attempt")),
        kind::STEP_RETRY => format!("{}, again in {} ms", text("code"), text("delayMs")),
        kind::STEP_FAILED | kind::EXECUTION_FAILED => format!("{}: {}", text("code"), text("message")),
        kind::EXECUTION_RECOVERED => format!("{}: its worker died", text("reason")),
        kind::JOB_SUPERSEDED => "its worker died".to_owned(),
        kind::JOB_CLAIMED => format!("run {}", text("attempt")),
        kind::JOB_CREATED => text("handler"),
        kind::CHILD_STARTED => format!("flow {}", text("flowId")),
        kind::CHILD_FINISHED => text("status"),
        kind::EXECUTION_COMPLETED => format!("{} steps", text("steps")),
        kind::STEP_WAITING | kind::EXECUTION_RESUMED => text("reason"),
        kind::STEP_COMPLETED if !data["to"].is_null() => format!("→ {}", text("to")),
        _ => String::new(),
    };
    if detail.chars().count() <= DETAIL {
        return detail;
    }
    let cut: String = detail.chars().take(DETAIL - 1).collect();
    format!("{cut}…")
}

//! The life of an execution, event by event.

use mainspring::{RecordedEvent, Timestamp, event::kind};
use serde_json::Value;

use crate::output::{Column, Output, col, data, maybe, text};

/// Longest detail that is shown.
const DETAIL: usize = 60;

/// One event, and when it happened.
pub(crate) struct Moment {
    begin: Timestamp,
    at: Timestamp,
    /// Whether messages of failures are shown, which may repeat a payload.
    full: bool,
    event: RecordedEvent,
}

pub(crate) const COLUMNS: &[Column<Moment>] = &[
    col("ms", |it| u64::try_from(it.at.since(it.begin).as_millis()).unwrap_or(u64::MAX).into()),
    col("at", |it| text(it.at)),
    col("event", |it| text(&it.event.event.event_type)),
    col("step", |it| maybe(it.event.event.subject.as_ref())),
    col("detail", |it| text(detail(it))),
    data("data", |it| it.event.event.data.clone()),
];

/// The events with their times, without those that only repeat what comes before them.
pub(crate) fn moments(events: Vec<RecordedEvent>, full: bool) -> Vec<Moment> {
    let times = times(&events);
    let begin = times.first().copied().unwrap_or(Timestamp::MIN);
    let told = events.into_iter().zip(times);
    let told = told.filter(|(event, _)| event.event.event_type != kind::EXECUTION_WAITING);
    told.map(|(event, at)| Moment { begin, at, full, event }).collect()
}

/// The events as a table for people, with the messages of failures.
pub fn render(events: &[RecordedEvent]) -> String {
    let shown: Vec<&Column<Moment>> =
        COLUMNS.iter().filter(|column| !matches!(column.name, "at" | "data")).collect();
    Output::table(&shown, &moments(events.to_vec(), true), false)
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
    let mut next = Timestamp::MAX;
    for time in times.iter_mut().rev() {
        *time = (*time).min(next);
        next = *time;
    }
    times
}

/// What can be said in a few words.
fn detail(moment: &Moment) -> String {
    let Moment { full, event: RecordedEvent { event, .. }, .. } = moment;
    let data = &event.data;
    let text = |key: &str| match &data[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let detail = match &*event.event_type {
        kind::EXECUTION_CREATED => format!("{} {}", text("flowId"), text("flowVersion")),
        kind::STEP_STARTED if data["attempt"] != 1 => format!("attempt {}", text("attempt")),
        kind::STEP_RETRY => format!("{}, again in {} ms", text("code"), text("delayMs")),
        kind::STEP_FAILED | kind::EXECUTION_FAILED if *full => {
            format!("{}: {}", text("code"), text("message"))
        }
        kind::STEP_FAILED | kind::EXECUTION_FAILED => text("code"),
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

//! The histories of executions and the position fence as statements: what a group commit sends.

use mainspring_core::{ExecutionWrite, Expect, NewEvent};
use mainspring_pg::Query;
use serde_json::Value;

const HISTORY: &str = include_str!("sql/history.sql");
const FENCE: &str = "SELECT {event_fence}()";

/// Takes the position fence. It has to run before the first statement of a transaction that appends.
pub fn fence_query() -> Query {
    Query::new(FENCE)
}

/// The events that go into the histories of `writes`, in one statement. `None` when there are none.
pub fn history_query(writes: &[&ExecutionWrite]) -> Option<Query> {
    let mut tenants = Vec::new();
    let mut streams = Vec::new();
    let mut positions = Vec::new();
    let mut events: Vec<&NewEvent> = Vec::new();
    for write in writes {
        let stream = write.execution.stream();
        let last = if write.expect == Expect::New { 0 } else { write.execution.position };
        for (n, event) in (1_i64..).zip(&write.events) {
            tenants.push(write.execution.tenant.clone());
            streams.push(stream.clone());
            positions.push(last + n);
            events.push(event);
        }
    }
    if events.is_empty() {
        return None;
    }
    Some(
        Query::new(HISTORY)
            .bind(tenants)
            .bind(streams)
            .bind(positions)
            .bind(column(&events, |e| e.event_type.clone()))
            .bind(column(&events, |e| e.subject.clone()))
            .bind(column(&events, |e| e.data.clone()))
            .bind(column(&events, |e| metadata(e)))
            .bind(column(&events, |e| e.correlation_id.clone()))
            .bind(column(&events, |e| e.causation_id.clone())),
    )
}

pub(crate) fn column<E, T>(events: &[E], value: impl Fn(&E) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}

/// Absent rather than `{}`: most events have none.
pub(crate) fn metadata(event: &NewEvent) -> Option<Value> {
    (!event.metadata.is_empty()).then(|| Value::Object(event.metadata.clone()))
}

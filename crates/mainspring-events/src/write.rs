//! Appends as statements: what a group commit sends, and what a single append sends too.

use mainspring_core::{Append, ExecutionWrite, Expect, ExpectedPosition, NewEvent, Result};
use mainspring_pg::{Query, Row, row::get};
use serde_json::Value;

const APPEND: &str = include_str!("sql/append.sql");
const HISTORY: &str = include_str!("sql/history.sql");
const FENCE: &str = "SELECT {event_fence}()";

/// Takes the position fence. It has to run before the first statement of a transaction that appends.
pub fn fence_query() -> Query {
    Query::new(FENCE)
}

/// One append to a stream that has no execution behind it; read its rows with [`appended`].
pub fn append_query(append: &Append) -> Query {
    let (may_create, may_extend, exact) = match append.expected {
        ExpectedPosition::Any => (true, true, None),
        ExpectedPosition::NoStream => (true, false, None),
        ExpectedPosition::StreamExists => (false, true, None),
        ExpectedPosition::Exact(0) => (true, false, None),
        ExpectedPosition::Exact(position) => (false, true, Some(position)),
    };
    let events = &append.events;
    Query::new(APPEND)
        .bind(append.tenant.clone())
        .bind(append.stream.clone())
        .bind(i64::try_from(events.len()).unwrap_or(i64::MAX))
        .bind(may_create)
        .bind(may_extend)
        .bind(exact)
        .bind(column(events, |e| e.event_type.clone()))
        .bind(column(events, |e| e.subject.clone()))
        .bind(column(events, |e| e.data.clone()))
        .bind(column(events, metadata))
        .bind(column(events, |e| e.correlation_id.clone()))
        .bind(column(events, |e| e.causation_id.clone()))
}

/// The position of the last event of an append, or `None` when its expectation did not hold.
///
/// # Errors
/// Internal, when the rows are not of [`append_query`].
pub fn appended(rows: &[Row]) -> Result<Option<i64>> {
    rows.first().map(|row| get(row, 0)).transpose()
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

fn column<E, T>(events: &[E], value: impl Fn(&E) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}

/// Absent rather than `{}`: most events have none.
fn metadata(event: &NewEvent) -> Option<Value> {
    (!event.metadata.is_empty()).then(|| Value::Object(event.metadata.clone()))
}

//! The histories of executions as statements: what a group commit sends.

use mainspring_core::{ExecutionWrite, Expect, NewEvent};
use mainspring_pg::{Column, Query};
use serde_json::Value;

const HISTORY: &str = include_str!("sql/history.sql");

/// The events that go into the histories of `writes`, in one statement, which takes the position fence itself. `None` when
/// there are none.
pub fn history_query(writes: &[&ExecutionWrite]) -> Option<Query> {
    let streams: Vec<String> = writes.iter().map(|write| write.execution.stream()).collect();
    let events = recorded(writes, &streams);
    if events.is_empty() {
        return None;
    }
    let query = bind_events(Query::new(HISTORY), &events);
    Some(
        query
            .bind(Column::text(events.iter().map(|row| Some(row.tenant))))
            .bind(rare(&events, |row| metadata(row.event)))
            .bind(rare(&events, |row| row.event.correlation_id.clone()))
            .bind(rare(&events, |row| row.event.causation_id.clone())),
    )
}

/// Binds the same events to the parameters of `{commit_call}`; `None` when it has no place for one of them.
pub fn bind_histories(query: Query, writes: &[&ExecutionWrite]) -> Option<Query> {
    let streams: Vec<String> = writes.iter().map(|write| write.execution.stream()).collect();
    let events = recorded(writes, &streams);
    let Some(first) = events.first() else {
        return Some((0..6).fold(query, |query, _| query.bind(None::<Column>)).bind(None::<String>));
    };
    let plain = events.iter().all(|row| row.tenant == first.tenant && is_unrelated(row.event));
    plain.then(|| {
        bind_events(query, &events)
            .bind(rare(&events, |row| metadata(row.event)))
            .bind(first.tenant.to_owned())
    })
}

fn recorded<'a>(writes: &'a [&ExecutionWrite], streams: &'a [String]) -> Vec<Recorded<'a>> {
    let mut events = Vec::with_capacity(writes.len() * 2);
    for (write, stream) in writes.iter().zip(streams) {
        let last = if write.expect == Expect::New { 0 } else { write.execution.position };
        let tenant = write.execution.tenant.as_str();
        let placed = (last + 1..).zip(&write.events);
        events.extend(placed.map(|(position, event)| Recorded { tenant, stream, position, event }));
    }
    events
}

fn bind_events(query: Query, events: &[Recorded<'_>]) -> Query {
    let rows = || events.iter();
    query
        .bind(Column::text(rows().map(|row| Some(row.stream))))
        .bind(Column::bigint(rows().map(|row| row.position)))
        .bind(Column::text(rows().map(|row| Some(row.event.event_type.as_str()))))
        .bind(Column::text(rows().map(|row| row.event.subject.as_deref())))
        .bind(Column::json(rows().map(|row| &row.event.data)))
}

/// An event and its place.
struct Recorded<'a> {
    tenant: &'a str,
    stream: &'a str,
    position: i64,
    event: &'a NewEvent,
}

/// Whether nothing is said of what it belongs to.
pub(crate) fn is_unrelated(event: &NewEvent) -> bool {
    (&event.correlation_id, &event.causation_id) == (&None, &None)
}

/// A column that is mostly empty: nothing, when it is.
pub(crate) fn rare<E, T>(events: &[E], value: impl Fn(&E) -> Option<T>) -> Option<Vec<Option<T>>> {
    let column: Vec<Option<T>> = events.iter().map(value).collect();
    column.iter().any(Option::is_some).then_some(column)
}

pub(crate) fn column<E, T>(events: &[E], value: impl Fn(&E) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}

/// Absent rather than `{}`: most events have none.
pub(crate) fn metadata(event: &NewEvent) -> Option<Value> {
    (!event.metadata.is_empty()).then(|| Value::Object(event.metadata.clone()))
}

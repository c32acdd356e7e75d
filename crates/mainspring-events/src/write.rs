//! The histories of executions and the position fence as statements: what a group commit sends.

use mainspring_core::{ExecutionWrite, Expect, NewEvent};
use mainspring_pg::{Column, Query};
use serde_json::Value;

const HISTORY: &str = include_str!("sql/history.sql");
/// What most batches need, with fewer parameters.
const STEPS: &str = include_str!("sql/steps.sql");
const FENCE: &str = "SELECT {event_fence}()";

/// Takes the position fence. It has to run before the statements of [`Appending`](crate::Appending) in a transaction.
pub fn fence_query() -> Query {
    Query::new(FENCE)
}

/// The events that go into the histories of `writes`, in one statement, which takes the position fence itself. `None` when
/// there are none.
pub fn history_query(writes: &[&ExecutionWrite]) -> Option<Query> {
    let mut events: Vec<Recorded<'_>> = Vec::with_capacity(writes.len() * 2);
    let streams: Vec<String> = writes.iter().map(|write| write.execution.stream()).collect();
    for (write, stream) in writes.iter().zip(&streams) {
        let last = if write.expect == Expect::New { 0 } else { write.execution.position };
        let tenant = write.execution.tenant.as_str();
        let placed = (last + 1..).zip(&write.events);
        events.extend(placed.map(|(position, event)| Recorded { tenant, stream, position, event }));
    }
    let tenant = events.first()?.tenant;
    let rows = || events.iter();
    let query = Query::new(if rows().all(|row| row.is_plain(tenant)) { STEPS } else { HISTORY })
        .bind(Column::text(rows().map(|row| Some(row.stream))))
        .bind(Column::bigint(rows().map(|row| row.position)))
        .bind(Column::text(rows().map(|row| Some(row.event.event_type.as_str()))))
        .bind(Column::text(rows().map(|row| row.event.subject.as_deref())))
        .bind(Column::json(rows().map(|row| &row.event.data)));
    if query.sql() == STEPS {
        return Some(query.bind(tenant.to_owned()));
    }
    Some(
        query
            .bind(Column::text(rows().map(|row| Some(row.tenant))))
            .bind(column(&events, |row| metadata(row.event)))
            .bind(Column::text(rows().map(|row| row.event.correlation_id.as_deref())))
            .bind(Column::text(rows().map(|row| row.event.causation_id.as_deref()))),
    )
}

/// An event and its place.
struct Recorded<'a> {
    tenant: &'a str,
    stream: &'a str,
    position: i64,
    event: &'a NewEvent,
}

impl Recorded<'_> {
    /// Whether the columns that only some events need are empty.
    fn is_plain(&self, tenant: &str) -> bool {
        self.tenant == tenant && is_untraced(self.event)
    }
}

/// Whether nothing is said of where it comes from.
pub(crate) fn is_untraced(event: &NewEvent) -> bool {
    event.metadata.is_empty() && (&event.correlation_id, &event.causation_id) == (&None, &None)
}

pub(crate) fn column<E, T>(events: &[E], value: impl Fn(&E) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}

/// Absent rather than `{}`: most events have none.
pub(crate) fn metadata(event: &NewEvent) -> Option<Value> {
    (!event.metadata.is_empty()).then(|| Value::Object(event.metadata.clone()))
}

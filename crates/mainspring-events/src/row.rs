//! Between a row of `events` and a [`RecordedEvent`].

use std::time::SystemTime;

use mainspring_core::{EventId, NewEvent, RecordedEvent, Result, StreamId};
use mainspring_pg::{
    Row,
    row::{get, object, unreadable},
};

/// The columns of an event beside the name of its stream, in the order [`event_at`] reads them. Macros, because `concat!`
/// takes literals only.
macro_rules! columns {
    () => {
        "e.stream_position, e.global_position, e.created_at, e.type, e.subject, e.data, e.metadata, e.correlation_id, \
         e.causation_id, e.event_id, e.schema_version"
    };
}
pub(crate) use columns;

/// `SELECT` of every column from `events e`, in the order [`event_from_row`] reads them, and what follows.
macro_rules! select {
    ($($rest:expr),+ $(,)?) => {
        concat!(
            "SELECT e.partition, e.tenant, e.stream, ",
            $crate::row::columns!(),
            " FROM {events} e ",
            $($rest),+
        )
    };
}
pub(crate) use select;

/// An event with the name of its stream in front.
pub(crate) fn event_from_row(row: &Row) -> Result<RecordedEvent> {
    event_at(row, 3, StreamId { partition: get(row, 0)?, tenant: get(row, 1)?, stream: get(row, 2)? })
}

/// An event of a known stream, its columns from `first` on.
pub(crate) fn event_at(row: &Row, first: usize, stream: StreamId) -> Result<RecordedEvent> {
    Ok(RecordedEvent {
        partition: stream.partition,
        tenant: stream.tenant,
        stream: stream.stream,
        position: get(row, first)?,
        global_position: get(row, first + 1)?,
        created_at: get::<SystemTime>(row, first + 2)?.into(),
        event: NewEvent {
            event_type: get(row, first + 3)?,
            subject: get(row, first + 4)?,
            data: get(row, first + 5)?,
            metadata: object(row, first + 6)?,
            correlation_id: get(row, first + 7)?,
            causation_id: get(row, first + 8)?,
            id: get::<Option<String>>(row, first + 9)?.map(EventId::from_stored),
            schema_version: schema_version(row, first + 10)?,
        },
    })
}

/// Absent is 1.
fn schema_version(row: &Row, index: usize) -> Result<u32> {
    let version = get::<Option<i32>>(row, index)?.unwrap_or(1);
    u32::try_from(version).map_err(|e| unreadable(row, index).with_source(e))
}

//! Between a row of `events` and a [`RecordedEvent`].

use std::time::SystemTime;

use mainspring_core::{NewEvent, RecordedEvent, Result};
use mainspring_pg::{
    Row,
    row::{get, object},
};

/// `SELECT` of every column from `events e`, in the order [`event_from_row`] reads them, and what follows.
/// A macro, because `concat!` takes literals only.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.partition, e.tenant, e.stream, e.stream_position, e.global_position, e.created_at, e.type, ",
            "e.subject, e.data, e.metadata, e.correlation_id, e.causation_id FROM {events} e ",
            $rest
        )
    };
}
pub(crate) use select;

pub(crate) fn event_from_row(row: &Row) -> Result<RecordedEvent> {
    Ok(RecordedEvent {
        partition: get(row, 0)?,
        tenant: get(row, 1)?,
        stream: get(row, 2)?,
        position: get(row, 3)?,
        global_position: get(row, 4)?,
        created_at: get::<SystemTime>(row, 5)?.into(),
        event: NewEvent {
            event_type: get(row, 6)?,
            subject: get(row, 7)?,
            data: get(row, 8)?,
            metadata: object(row, 9)?,
            correlation_id: get(row, 10)?,
            causation_id: get(row, 11)?,
        },
    })
}

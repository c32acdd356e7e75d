//! Between a row of the queue's tables and its words.

use std::time::{Duration, SystemTime};

use mainspring_core::{Available, Delivery, MessageId, MessageLease, NewMessage, Result};
use mainspring_pg::{
    Row,
    row::{count, get, object},
};

/// Reads `priority, seq, token, failures, lost, delays, max_attempts, created_at, id, tenant, type, source, subject,
/// recipient, data, headers`.
pub(crate) fn delivery_from_row(queue: &str, row: &Row) -> Result<Delivery> {
    let priority = get(row, 0)?;
    Ok(Delivery {
        lease: MessageLease { queue: queue.to_owned(), priority, seq: get(row, 1)?, token: get(row, 2)? },
        failures: count(row, 3)?,
        lost: count(row, 4)?,
        delays: count(row, 5)?,
        created_at: get::<SystemTime>(row, 7)?.into(),
        message: NewMessage {
            id: MessageId::from_stored(get(row, 8)?),
            queue: queue.to_owned(),
            tenant: get(row, 9)?,
            message_type: get(row, 10)?,
            source: get(row, 11)?,
            subject: get(row, 12)?,
            to: get(row, 13)?,
            data: get(row, 14)?,
            headers: object(row, 15)?,
            priority,
            available: Available::Now,
            max_attempts: count(row, 6)?,
        },
    })
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

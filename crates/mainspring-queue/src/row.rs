//! Between a row of the queue's tables and its words.

use std::time::{Duration, SystemTime};

use mainspring_core::{
    Available, Delivery, Error, Failure, Group, MessageId, MessageLease, MessageOptions, NewMessage, Origin,
    Result, Settle, Settlement, Timestamp,
};
pub(crate) use mainspring_pg::row::micros;
use mainspring_pg::{
    Row,
    row::{count, get, object, typed},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The column `options` of a message: its own options, and what few messages have.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Own {
    #[serde(flatten)]
    options: MessageOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(skip_serializing)]
    origin: Option<Origin>,
}

impl Own {
    pub(crate) fn into_parts(self) -> (Option<Origin>, Option<Group>, MessageOptions) {
        let tier = self.tier;
        (self.origin, self.group.map(|id| Group { id, tier }), self.options)
    }
}

/// What goes into the column `options`.
pub(crate) fn own_of(message: &NewMessage) -> Option<Value> {
    let own = Own {
        options: message.options.clone(),
        group: message.group.as_ref().map(|group| group.id.clone()),
        tier: message.group.as_ref().and_then(|group| group.tier.clone()),
        origin: None,
    };
    let value = serde_json::to_value(own).ok()?;
    value.as_object().is_some_and(|map| !map.is_empty()).then_some(value)
}

/// Reads `priority, seq, token, failures, lost, delays, max_attempts, created_at, id, tenant, type, source, subject,
/// recipient, data, headers, any, managed`, and `key, options, timeout, heartbeat` when they are there.
pub(crate) fn delivery_from_row(queue: &str, row: &Row) -> Result<Delivery> {
    let priority = get(row, 0)?;
    let (key, own, timeout, heartbeat) = match row.len() {
        ..=18 => (None, Own::default(), None, None),
        _ => (get(row, 18)?, typed::<Own>(row, 19)?.unwrap_or_default(), length(row, 20)?, length(row, 21)?),
    };
    let (origin, group, options) = own.into_parts();
    Ok(Delivery {
        lease: MessageLease {
            queue: queue.to_owned(),
            priority,
            seq: get(row, 1)?,
            token: get(row, 2)?,
            managed: get(row, 17)?,
        },
        failures: count(row, 3)?,
        lost: count(row, 4)?,
        delays: count(row, 5)?,
        created_at: get::<SystemTime>(row, 7)?.into(),
        timeout,
        heartbeat,
        origin,
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
            priority: Some(priority),
            available: Available::Default,
            max_attempts: Some(count(row, 6)?),
            key,
            group,
            depends_on: Vec::new(),
            options,
        },
    })
}

/// Gives up a claimed message that cannot be read, so that it keeps no other one waiting. Only its place has to be readable. The reason
/// names the column; what is below quotes what stands there.
pub(crate) fn unreadable_row(queue: &str, row: &Row, error: &Error) -> Result<Settle> {
    let lease = MessageLease {
        queue: queue.to_owned(),
        priority: get(row, 0)?,
        seq: get(row, 1)?,
        token: get(row, 2)?,
        managed: get(row, 17)?,
    };
    Ok(Settle::new(lease, Settlement::DeadLetter(Failure::new("UNREADABLE", error.to_string()))))
}

/// As [`delivery_from_row`], of a message that cannot be read: its id, its type, and nothing else that was pushed.
pub(crate) fn remains_of_row(queue: &str, row: &Row) -> Result<Delivery> {
    let message = NewMessage::new(queue, get::<String>(row, 10)?, Value::Null);
    let lease = MessageLease {
        queue: queue.to_owned(),
        priority: get(row, 0)?,
        seq: get(row, 1)?,
        token: 0,
        managed: get(row, 17)?,
    };
    Ok(Delivery {
        message: NewMessage { id: MessageId::from_stored(get(row, 8)?), tenant: get(row, 9)?, ..message },
        lease,
        failures: count(row, 3).unwrap_or_default(),
        lost: count(row, 4).unwrap_or_default(),
        delays: count(row, 5).unwrap_or_default(),
        created_at: Timestamp::MIN,
        timeout: None,
        heartbeat: None,
        origin: None,
    })
}

fn length(row: &Row, index: usize) -> Result<Option<Duration>> {
    let micros = get::<Option<i64>>(row, index)?;
    Ok(micros.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros))
}

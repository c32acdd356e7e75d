//! Between a row of the schedules' tables and their words.

use std::{str::FromStr, time::Duration};

use mainspring_core::{Error, Group, MessageId, MessageOptions, NewMessage, Result, Timestamp, Unique};
use mainspring_pg::{
    Row,
    row::{get, time, typed, unreadable},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    definition::Schedule,
    ticks::{Missed, Ticks},
    timing::Timing,
};

/// A schedule as it is stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScheduleState {
    /// What its author wrote.
    pub schedule: Schedule,
    /// Grows with every change of the definition, by pausing and by resuming; not by firing.
    pub revision: i64,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// The next tick to fire; `None` while it is paused or when it is over.
    pub next: Option<Timestamp>,
    /// The latest tick that fired.
    pub last: Option<Timestamp>,
    /// Why the latest attempt to fire failed, until one succeeds. It is tried again.
    pub last_error: Option<String>,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When its definition was last changed.
    pub updated_at: Timestamp,
    pub(super) anchor: Timestamp,
}

impl ScheduleState {
    pub(super) fn ticks(&self) -> Result<Ticks> {
        let Schedule { timing, starts_at, ends_at, .. } = &self.schedule;
        Ticks::new(timing, self.anchor, *starts_at, *ends_at)
    }
}

/// What became of one tick.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fire {
    /// The tick; of a run by hand, when it was asked for.
    pub tick: Timestamp,
    /// What was done about it.
    pub outcome: FireOutcome,
    /// How many ticks before it will never fire, up to [`MAX_COUNTED`](super::MAX_COUNTED); of a skipped one, itself included.
    pub missed: u32,
    /// When it was done.
    pub fired_at: Timestamp,
    /// The message it pushed.
    pub message_id: Option<MessageId>,
}

/// What was done about a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FireOutcome {
    /// Its message was pushed.
    Fired,
    /// It was too late, so nothing was pushed; see [`Missed::Skip`].
    Skipped,
    /// Somebody asked for it; see [`PgSchedules::run_now`](super::PgSchedules::run_now).
    RunNow,
}

impl FireOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fired, Self::Skipped, Self::RunNow];

    /// Its name in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Skipped => "skipped",
            Self::RunNow => "run_now",
        }
    }
}

impl FromStr for FireOutcome {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|outcome| outcome.as_str() == text);
        known.ok_or_else(|| Error::invalid("outcome", format!("`{}` is none", text.escape_debug())))
    }
}

/// A message without what each fire has of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Template {
    #[serde(rename = "type")]
    message_type: String,
    data: Value,
    priority: Option<i16>,
    max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<Unique>,
    #[serde(default)]
    options: MessageOptions,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    headers: Map<String, Value>,
}

impl From<&NewMessage> for Template {
    fn from(message: &NewMessage) -> Self {
        let NewMessage {
            message_type,
            data,
            priority,
            max_attempts,
            tenant,
            source,
            subject,
            to,
            headers,
            key,
            group,
            options,
            ..
        } = message.clone();
        let unique = options.unique;
        Self {
            message_type,
            data,
            priority,
            max_attempts,
            key,
            group,
            unique,
            options,
            tenant,
            source,
            subject,
            to,
            headers,
        }
    }
}

impl Template {
    fn into_message(self, queue: String) -> NewMessage {
        let mut message = NewMessage::new(queue, self.message_type, self.data);
        message.priority = self.priority;
        message.max_attempts = self.max_attempts;
        message.tenant = self.tenant;
        message.source = self.source;
        message.subject = self.subject;
        message.to = self.to;
        message.headers = self.headers;
        message.key = self.key;
        message.group = self.group;
        message.options = MessageOptions { unique: self.unique, ..self.options };
        message
    }
}

/// The columns [`state_from_row`] reads, before any other.
pub(super) const COLUMNS: usize = 16;

/// Reads `queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at, next_fire_at,
/// last_fire_at, last_error, created_at, updated_at`.
pub(super) fn state_from_row(row: &Row) -> Result<ScheduleState> {
    let required = |index| time(row, index)?.ok_or_else(|| unreadable(row, index));
    let template: Template = typed(row, 5)?.ok_or_else(|| unreadable(row, 5))?;
    let timing: Timing = typed(row, 3)?.ok_or_else(|| unreadable(row, 3))?;
    let missed: Missed = typed(row, 4)?.ok_or_else(|| unreadable(row, 4))?;
    let paused_at = time(row, 10)?;
    Ok(ScheduleState {
        schedule: Schedule {
            key: get(row, 1)?,
            timing,
            message: template.into_message(get(row, 0)?),
            missed,
            jitter: Duration::from_micros(u64::try_from(get::<i64>(row, 6)?).unwrap_or(0)),
            starts_at: time(row, 7)?,
            ends_at: time(row, 8)?,
        },
        revision: get(row, 2)?,
        anchor: required(9)?,
        paused_at,
        next: time(row, 11)?.filter(|_| paused_at.is_none()),
        last: time(row, 12)?,
        last_error: get(row, 13)?,
        created_at: required(14)?,
        updated_at: required(15)?,
    })
}

/// Reads `tick, outcome, missed, fired_at, message_id`.
pub(super) fn fire_from_row(row: &Row) -> Result<Fire> {
    let required = |index| time(row, index)?.ok_or_else(|| unreadable(row, index));
    Ok(Fire {
        tick: required(0)?,
        outcome: get::<&str>(row, 1)?.parse().map_err(|_| unreadable(row, 1))?,
        missed: mainspring_pg::row::count(row, 2)?,
        fired_at: required(3)?,
        message_id: get::<Option<String>>(row, 4)?.map(MessageId::from_stored),
    })
}

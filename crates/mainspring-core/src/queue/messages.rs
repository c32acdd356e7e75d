//! The messages of a queue seen from outside: found, changed, called off, brought back.

use serde_json::Value;

use crate::{
    Available, Error, Failure, MessageId, NewMessage, Result, Timestamp, limits,
    queue::{MessageOptions, Origin},
};

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageStatus {
    /// Not yet due.
    Deferred,
    /// Due, and held back by its key or group.
    Held,
    /// Waiting for others to be done.
    Blocked,
    /// To be claimed.
    Ready,
    /// Claimed and not settled.
    Claimed,
    /// Done, and kept.
    Done,
    /// Cancelled, and kept.
    Cancelled,
    /// Given up.
    Dead,
}

impl MessageStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Deferred,
        Self::Held,
        Self::Blocked,
        Self::Ready,
        Self::Claimed,
        Self::Done,
        Self::Cancelled,
        Self::Dead,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    /// Whether it waits to be claimed.
    pub const fn is_queued(self) -> bool {
        matches!(self, Self::Deferred | Self::Held | Self::Blocked | Self::Ready)
    }

    /// Whether it has ended.
    pub const fn is_stored(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Dead)
    }
}

impl std::str::FromStr for MessageStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Error::invalid("message.status", format!("`{}` is none", text.escape_debug())))
    }
}

/// A message as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// What was pushed, with priority and attempts as its queue filled them in, and what it still waits for.
    pub message: NewMessage,
    /// Where it is.
    pub status: MessageStatus,
    /// Its place in the order of all pushes.
    pub seq: i64,
    /// Times its handler failed.
    pub failures: u32,
    /// Times its worker died.
    pub lost: u32,
    /// Times it was put off.
    pub delays: u32,
    /// When it was pushed.
    pub created_at: Timestamp,
    /// When it may be claimed, while it is deferred.
    pub available_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What came of it, when it is done.
    pub output: Option<Value>,
    /// Why it was given up.
    pub reason: Option<Failure>,
    /// Where it came from, when it is a dead letter of another queue.
    pub origin: Option<Origin>,
}

/// Which messages of a queue to find; all conditions hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MessageQuery {
    /// With one of these ids. Defaults to any.
    pub ids: Vec<MessageId>,
    /// With this key. Defaults to any.
    pub key: Option<String>,
    /// With all of this in their payload, as `jsonb @>` says. Defaults to any.
    pub data: Option<Value>,
    /// In one of these states. Defaults to any.
    pub statuses: Vec<MessageStatus>,
    /// Pushed before the message with this [`seq`](StoredMessage::seq): the last of the page before. Defaults to any.
    pub before: Option<i64>,
    /// At most so many, 1 to 1,000; 0 is 100.
    pub limit: u32,
}

/// Which dead letters of a queue to find; all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetterQuery {
    /// With this code as their reason. Defaults to any.
    pub reason: Option<String>,
    /// Given up before the letter with this time and [`seq`](crate::DeadLetter::seq): the last of the page before. Defaults to any.
    pub before: Option<(Timestamp, i64)>,
    /// At most so many, up to 10,000; 0 is 100.
    pub limit: u32,
}

impl MessageQuery {
    /// Checks everything.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        if self.limit > 1_000 {
            return Err(Error::invalid("query.limit", format!("{} is more than 1000", self.limit)));
        }
        self.data.as_ref().map_or(Ok(()), |data| limits::check_json("query.data", data))
    }
}

/// Which messages of a queue to act on.
#[derive(Debug, Clone, PartialEq)]
pub enum Which {
    /// These.
    Ids(Vec<MessageId>),
    /// All that wait to be claimed.
    Queued,
    /// All that have ended.
    Stored,
    /// Every one, the claimed included: their workers find their leases gone.
    All,
}

/// Which waiting messages to update.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// This one.
    Id(MessageId),
    /// The one of this key that was pushed last.
    Newest(String),
    /// The one of this key that was pushed first.
    Oldest(String),
    /// All of this key.
    Key(String),
}

/// What to change of messages that wait to be claimed. `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MessageUpdate {
    /// The payload.
    pub data: Option<Value>,
    /// The headers.
    pub headers: Option<serde_json::Map<String, Value>>,
    /// The priority.
    pub priority: Option<i16>,
    /// When it may be claimed; how long it is kept counts from then.
    pub available: Option<Available>,
    /// Runs in all.
    pub max_attempts: Option<u32>,
    /// Those that are set.
    pub options: MessageOptions,
}

impl MessageUpdate {
    /// Checks everything.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        if let Some(data) = &self.data {
            limits::check_json("update.data", data)?;
        }
        if let Some(headers) = &self.headers {
            limits::check_map("update.headers", headers, limits::MAX_METADATA)?;
        }
        if let Some(attempts) = self.max_attempts {
            limits::check_attempts("update.max_attempts", attempts)?;
        }
        if let Some(Available::After(delay)) = self.available {
            limits::check_duration("update.available", delay)?;
        }
        if self.options.unique.is_some() {
            return Err(Error::invalid("update.unique", "is decided when a message is pushed"));
        }
        self.options.check()
    }
}

/// Bringing dead letters back from the queue they were copied to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redrive {
    /// Where to. Defaults to the queue each one failed in.
    pub to: Option<String>,
    /// Only those that failed in this queue. Defaults to all.
    pub from: Option<String>,
    /// At most so many, 1 to 1,000; 0 is 1,000.
    pub limit: u32,
}

impl Redrive {
    /// At most so many.
    ///
    /// # Errors
    /// Invalid when over 1,000.
    pub fn limit(&self) -> Result<u32> {
        match self.limit {
            0 => Ok(1_000),
            1..=1_000 => Ok(self.limit),
            limit => Err(Error::invalid("redrive.limit", format!("{limit} is more than 1000"))),
        }
    }
}

/// What a redrive did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redriven {
    /// Moved: each is a fresh message with a new id.
    pub moved: u64,
    /// Left, because the policy there allows no more, or the queue is gone.
    pub skipped: u64,
}

/// A key whose messages wait for one that was given up.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockedKey {
    /// The key.
    pub key: String,
    /// The message that blocks it: retry or delete it.
    pub by: MessageId,
    /// Since when.
    pub since: Timestamp,
    /// How many wait.
    pub waiting: u64,
}

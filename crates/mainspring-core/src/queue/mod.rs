//! Queues as things of their own: what they allow, and what can be done to the messages in them.
//!
//! ```text
//! create ─► queue ──pause──► paused ──resume──► queue ──delete──► gone
//! ```
//! A queue that was created says how its messages are treated, and every process sees the same. One that was not is plain:
//! any name works for [`QueueDriver`](crate::QueueDriver), with three runs, a doubling delay, and nothing kept.

mod dependencies;
mod messages;
mod options;
mod policy;
mod store;

use serde_json::Value;

use crate::{MessageId, Timestamp};

pub(crate) use dependencies::check_parents;
pub use dependencies::{MAX_PARENTS, MessageRef, ParentFailure, check_messages};
pub use messages::{
    BlockedKey, DeadLetterQuery, MessageQuery, MessageStatus, MessageUpdate, Redrive, Redriven,
    StoredMessage, Target, Which,
};
pub use options::{Backoff, Group, GroupLimit, MessageOptions, QueueOptions, RateLimit, Retry, Unique};
pub use policy::Policy;
pub use store::QueueStore;

/// A queue that was created.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How its messages are treated.
    pub options: QueueOptions,
    /// Whether claims bring nothing. Pushes go on.
    pub paused: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its options were last changed.
    pub updated_at: Timestamp,
}

/// Which queues are listed; all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueFilter {
    /// With names that begin so. Defaults to any.
    pub prefix: Option<String>,
    /// With this policy. Defaults to any.
    pub policy: Option<Policy>,
    /// Paused or not. Defaults to both.
    pub paused: Option<bool>,
    /// That send what they give up to this queue. Defaults to any.
    pub dead_letter: Option<String>,
    /// Only those behind this name: the last of the page before.
    pub after: Option<String>,
    /// At most so many, up to 10,000; 0 is 100.
    pub limit: u32,
}

/// What became of a wish to create a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueCreated {
    /// The queue as it is now.
    pub queue: Queue,
    /// Whether this call created it.
    pub created: bool,
    /// Options in which the queue that was there differs from what was asked for: name, asked for, there. Nothing was changed.
    pub differences: Vec<(String, Value, Value)>,
}

/// What became of a message that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The id of the message that stands for it: its own, or that of the message it is a duplicate of.
    pub id: MessageId,
    /// Whether it was not stored because a message like it is there already.
    pub duplicate: bool,
}

/// Origin of a message that is a dead letter of another queue.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// The queue it failed in.
    pub queue: String,
    /// Its id there.
    pub id: MessageId,
    /// How often its handler failed there.
    pub failures: u32,
    /// How often its worker died there.
    pub lost: u32,
    /// Why it was given up.
    pub reason: crate::Failure,
    /// When it was pushed there, in microseconds since 1970.
    pub created_us: i64,
    /// What it asked for instead of what its queue said.
    #[serde(default)]
    pub options: MessageOptions,
}

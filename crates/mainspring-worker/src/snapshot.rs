//! What a worker is doing at this moment.

use std::time::Duration;

use mainspring_core::{MessageId, WorkerId};

/// A worker at one moment; see [`WorkerHandle::snapshot`](crate::WorkerHandle::snapshot).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The name it claims under at present.
    pub worker: WorkerId,
    /// The queue it claims from.
    pub queue: String,
    /// Whether it has been told to stop.
    pub stopping: bool,
    /// Since when nothing shows that its leases hold.
    pub silent: Duration,
    /// What its handlers are at, the longest first. A batch has an entry for each of its messages.
    pub running: Vec<Running>,
    /// Claimed ahead and not begun.
    pub waiting: usize,
    /// Ended and not yet settled.
    pub unsettled: usize,
    /// Deliveries claimed since it began.
    pub delivered: u64,
    /// Of these: settled as done.
    pub completed: u64,
    /// Settled as failed, to run again.
    pub retried: u64,
    /// Settled as dead letters.
    pub dead_lettered: u64,
    /// Lost with their leases.
    pub lost: u64,
}

/// A delivery in its handler's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// The message.
    pub id: MessageId,
    /// What it is.
    pub message_type: String,
    /// Which run this is: 1 for the first.
    pub attempt: u32,
    /// For how long.
    pub running: Duration,
}

//! Counting: one pass over the messages, one row per queue.
//!
//! Counters kept by every push and settlement would make a queue's row the hottest of all; a count in between costs nothing
//! on that path. It is exact for the moment it was made, and says which that is.

use std::time::{Duration, SystemTime};

use mainspring_core::{Result, Timestamp};
use mainspring_pg::{Db, Query, Row, row::get};

use super::warning::{self, Finding, Thresholds, Warning};

/// How full one queue was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCount {
    /// The queue.
    pub queue: String,
    /// When it was counted.
    pub at: Timestamp,
    /// Messages ready to be claimed.
    pub ready: u64,
    /// Messages claimed and not settled.
    pub claimed: u64,
    /// Messages not yet due.
    pub deferred: u64,
    /// Messages that are due, and held back because their key or group has as many at work as may be.
    pub held: u64,
    /// Messages that wait for other messages to be done.
    pub blocked: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long ago the oldest ready message was pushed; zero when none is ready.
    pub oldest: Duration,
}

impl QueueCount {
    /// All that wait to be claimed, now or later.
    pub fn queued(&self) -> u64 {
        self.ready + self.deferred + self.held + self.blocked
    }

    /// Everything of the queue that has not ended, and its dead letters.
    pub fn total(&self) -> u64 {
        self.queued() + self.claimed + self.dead
    }
}

/// Counts all queues, and answers what there is to warn about.
pub(crate) async fn count(tx: &Db<'_>, thresholds: &Thresholds) -> Result<Vec<Warning>> {
    let rows = tx.run(Query::new(COUNT)).await?;
    let counts: Vec<QueueCount> = rows.iter().map(count_from_row).collect::<Result<_>>()?;
    let watches = warning::watches(tx).await?;
    let findings: Vec<Finding> =
        counts.iter().flat_map(|count| thresholds.judge(count, watches.get(&count.queue))).collect();
    warning::record(tx, &findings, thresholds.repeat).await
}

/// Reads `queue, at, ready, claimed, deferred, held, blocked, dead, oldest_us`.
pub(super) fn count_from_row(row: &Row) -> Result<QueueCount> {
    let count = |index| get::<i64>(row, index).map(|n| u64::try_from(n).unwrap_or(0));
    Ok(QueueCount {
        queue: get(row, 0)?,
        at: get::<SystemTime>(row, 1)?.into(),
        ready: count(2)?,
        claimed: count(3)?,
        deferred: count(4)?,
        held: count(5)?,
        blocked: count(6)?,
        dead: count(7)?,
        oldest: Duration::from_micros(count(8)?),
    })
}

const COUNT: &str = include_str!("../sql/count.sql");

//! What a worker tells its listeners, and what it counts.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Delivery, Error, Failure, Timestamp, WorkerId};

/// Something a worker has done or seen. What it says of a settlement is durable when it is said.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// It begins to work.
    Started {
        /// The name it claims under.
        worker: &'a WorkerId,
        /// Where from.
        queue: &'a str,
    },
    /// A delivery was claimed.
    Claimed(&'a Delivery),
    /// It is done.
    Completed(&'a Delivery),
    /// It was settled in its handler's own commit.
    Committed(&'a Delivery),
    /// It failed and will run again.
    Retried {
        /// Which.
        delivery: &'a Delivery,
        /// Why it failed.
        error: &'a Failure,
    },
    /// It was put off.
    Snoozed {
        /// Which.
        delivery: &'a Delivery,
        /// Until when.
        until: Timestamp,
    },
    /// It was given up, or failed for the last time.
    DeadLettered {
        /// Which.
        delivery: &'a Delivery,
        /// Why.
        error: &'a Failure,
    },
    /// It was given back without having been begun, or its handler abandoned it.
    PutBack(&'a Delivery),
    /// Its lease was lost: whatever was done for it here does not count.
    Lost(&'a Delivery),
    /// Its handler runs for longer than [`report_after`](crate::Worker::report_after), or was replaced.
    Stuck {
        /// Which.
        delivery: &'a Delivery,
        /// For how long.
        running: Duration,
        /// Whether it was given up and its place given to another one.
        replaced: bool,
    },
    /// Something did not work. The worker goes on and tries again.
    Failing {
        /// What.
        what: Activity,
        /// Why.
        error: &'a Error,
    },
    /// It has stopped.
    Stopped {
        /// How many deliveries it had.
        delivered: u64,
    },
}

impl<'a> Event<'a> {
    /// The delivery it is about, if it is about one.
    pub fn delivery(&self) -> Option<&'a Delivery> {
        match self {
            Self::Claimed(delivery)
            | Self::Completed(delivery)
            | Self::Committed(delivery)
            | Self::PutBack(delivery)
            | Self::Lost(delivery)
            | Self::Retried { delivery, .. }
            | Self::Snoozed { delivery, .. }
            | Self::DeadLettered { delivery, .. }
            | Self::Stuck { delivery, .. } => Some(delivery),
            Self::Started { .. } | Self::Failing { .. } | Self::Stopped { .. } => None,
        }
    }
}

/// What a worker does beside running handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// Claiming.
    Claim,
    /// Settling.
    Settle,
    /// Keeping its leases.
    Heartbeat,
    /// Making due messages ready and taking over from dead workers.
    Upkeep,
    /// Giving back what it holds.
    Release,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claim => "claim",
            Self::Settle => "settle",
            Self::Heartbeat => "heartbeat",
            Self::Upkeep => "upkeep",
            Self::Release => "release",
        })
    }
}

/// Who is told.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Vec<Arc<Listener>>);

type Listener = dyn Fn(&Event<'_>) + Send + Sync;

impl Listeners {
    pub(crate) fn add(&mut self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        self.0.push(Arc::new(listener));
    }

    /// Without listeners nothing is kept for them.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells all of them; one that panics harms nobody else.
    pub(crate) fn tell(&self, event: Event<'_>) {
        for listener in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| listener(&event))).is_err() {
                tracing::error!("a listener of the worker panicked");
            }
        }
    }
}

/// How often something happened since the worker began.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) delivered: Count,
    pub(crate) completed: Count,
    pub(crate) retried: Count,
    pub(crate) dead_lettered: Count,
    pub(crate) lost: Count,
}

#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! What a worker counts for whoever listens. The handles are made once, so that a delivery costs an addition or two; they belong to
//! the recorder that is installed when the worker starts.

use mainspring_core::metric;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The metrics of one worker.
pub(crate) struct Meter {
    pub(crate) attempts: Counter,
    pub(crate) latency: Histogram,
    pub(crate) notified: Histogram,
    pub(crate) duration: Histogram,
    pub(crate) busy: Gauge,
    pub(crate) lag: Histogram,
    pub(crate) stuck: Gauge,
    pub(crate) expired: Counter,
    pub(crate) lost: Counter,
    pub(crate) poison: Counter,
    pub(crate) completed: Counter,
    pub(crate) committed: Counter,
    pub(crate) retried: Counter,
    pub(crate) snoozed: Counter,
    pub(crate) dead_lettered: Counter,
    pub(crate) put_back: Counter,
}

impl Meter {
    pub(crate) fn of(queue: &str) -> Self {
        let queue = queue.to_owned();
        let finished = |outcome: &'static str| counter!(metric::JOBS_FINISHED, "queue" => queue.clone(), "outcome" => outcome);
        Self {
            attempts: counter!(metric::JOB_ATTEMPTS, "queue" => queue.clone()),
            latency: histogram!(metric::JOB_QUEUE_LATENCY, "queue" => queue.clone()),
            notified: histogram!(metric::NOTIFY_TO_START, "queue" => queue.clone()),
            duration: histogram!(metric::JOB_DURATION, "queue" => queue.clone()),
            busy: gauge!(metric::SLOTS_BUSY, "queue" => queue.clone()),
            lag: histogram!(metric::HEARTBEAT_LAG, "queue" => queue.clone()),
            stuck: gauge!(metric::STUCK_JOBS, "queue" => queue.clone()),
            expired: counter!(metric::LEASE_EXPIRED),
            lost: counter!(metric::LEASE_LOST, "queue" => queue.clone()),
            poison: counter!(metric::POISON, "queue" => queue.clone()),
            completed: finished("completed"),
            committed: finished("committed"),
            retried: finished("retried"),
            snoozed: finished("snoozed"),
            dead_lettered: finished("dead_lettered"),
            put_back: finished("put_back"),
        }
    }

    /// One more handler is at work until what this answers is dropped.
    pub(crate) fn work(&self) -> Busy {
        self.busy.increment(1.0);
        Busy(self.busy.clone())
    }
}

/// A handler at work.
pub(crate) struct Busy(Gauge);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

//! What can be said of a handler when it is registered.

use std::{fmt, time::Duration};

use mainspring_core::{Policy, QueueOptions, Result, Unique, limits};

use crate::{CloudEvent, HandlerError, KeyBy, OnError, deliver::Classify, sending::Addressing};

/// How a handler is served. What the seed's options are called here:
///
/// | seed | here |
/// |---|---|
/// | `recreateQueue` | [`recreate_queue`](Self::recreate_queue) |
/// | `queue.policy`, `queue.deadLetter` | `queue.policy`, `queue.dead_letter` |
/// | `queue.warningQueueSize` | [`warn_above`](Self::warn_above) |
/// | `worker.concurrency`, `worker.pollingIntervalSeconds` | [`concurrency`](Self::concurrency), [`poll_interval`](Self::poll_interval) |
/// | `worker.priority`, `worker.startAfter` | `queue.priority`, `queue.delay` |
/// | `worker.retryLimit` (without the first run) | `queue.max_attempts` (with it) |
/// | `worker.retryDelay`, `retryBackoff`, `retryDelayMax` | `queue.retry` |
/// | `worker.expireInSeconds` | `queue.timeout` |
/// | `worker.retentionSeconds`, `deleteAfterSeconds` | `queue.keep_queued`, `queue.keep_finished` |
/// | `worker.singletonKey` | [`key`](Self::key) |
/// | `worker.singletonSeconds`, `singletonNextSlot` | [`unique`](Self::unique): `Throttle`, `Debounce` |
///
/// For a single event all of this can be said by a [`Sending`](crate::Sending).
#[derive(Clone)]
pub struct HandlerOptions {
    /// Removes everything in the queue first. Defaults to false.
    pub recreate_queue: bool,
    /// How the queue treats events. A queue that is there gets these options; only the policy can never change.
    pub queue: QueueOptions,
    /// Most events handled at the same time by this process, 1 to 10,000. Defaults to 1.
    pub concurrency: usize,
    /// How many events may be claimed ahead, 0 to 100,000. Defaults to 0.
    pub prefetch: usize,
    /// Longest pause between two looks into an empty queue; hints cut it short. Defaults to 2 s.
    pub poll_interval: Duration,
    /// What is the key of an event. Defaults to none.
    pub key: KeyBy,
    /// When an event is a duplicate of another one with its key, whatever they are. Defaults to never. An event itself is
    /// handled once in any case.
    pub unique: Option<Unique>,
    /// How long it is remembered that an event was handled. Defaults to 7 days.
    pub keep_receipts: Duration,
    /// Warns when more events than this wait. Defaults to never.
    pub warn_above: Option<u64>,
    /// What says what becomes of an event whose handler failed; see [`on_error`](Self::on_error). Defaults to the error itself.
    pub classify: Option<Classify>,
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self {
            recreate_queue: false,
            queue: QueueOptions::default(),
            concurrency: 1,
            prefetch: 0,
            poll_interval: Duration::from_secs(2),
            key: KeyBy::Nothing,
            unique: None,
            keep_receipts: Duration::from_secs(7 * 24 * 3600),
            warn_above: None,
            classify: None,
        }
    }
}

impl HandlerOptions {
    /// The same, where `classify` says what becomes of an event whose handler failed, whatever the error asks for.
    #[must_use]
    pub fn on_error(
        mut self,
        classify: impl Fn(&CloudEvent, &HandlerError) -> OnError + Send + Sync + 'static,
    ) -> Self {
        self.classify = Some(std::sync::Arc::new(classify));
        self
    }

    pub(crate) fn check(&self, source: &str) -> Result<()> {
        limits::check_name("handler.source", source)?;
        self.queue.check(source)?;
        if let KeyBy::Text(key) = &self.key {
            limits::check_id("handler.key", key)?;
        }
        limits::check_duration("handler.keep_receipts", self.keep_receipts)
    }

    pub(crate) fn addressing(&self) -> Addressing {
        let selective = matches!(self.queue.policy, Policy::Short | Policy::Stately | Policy::Exclusive);
        Addressing { key: self.key.clone(), unique: self.unique, selective }
    }
}

impl fmt::Debug for HandlerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerOptions")
            .field("recreate_queue", &self.recreate_queue)
            .field("queue", &self.queue)
            .field("concurrency", &self.concurrency)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

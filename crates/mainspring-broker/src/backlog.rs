//! A warning when too many events wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Backend, Result};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Backlog {
    backend: Arc<dyn Backend>,
    queue: String,
    most: u64,
    /// When to look next, in microseconds since 1970.
    next: AtomicU64,
}

impl Backlog {
    pub(crate) fn new(backend: &Arc<dyn Backend>, queue: &str, most: u64) -> Self {
        Self { backend: Arc::clone(backend), queue: queue.to_owned(), most, next: AtomicU64::new(0) }
    }

    pub(crate) async fn look(&self) -> Result<()> {
        let now = u64::try_from(self.backend.now().as_micros()).unwrap_or(0);
        if now < self.next.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.next.store(now + u64::try_from(EVERY.as_micros()).unwrap_or(0), Ordering::Relaxed);
        let stats = self.backend.queue().stats(&self.queue).await?;
        let waiting = stats.ready + stats.deferred + stats.held + stats.blocked;
        if waiting > self.most {
            tracing::warn!(queue = self.queue, waiting, most = self.most, "too many events wait");
        }
        Ok(())
    }
}

//! When a queue was last looked at, so that a hint that came since is not lost before somebody waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mainspring_pg::{Hints, Subscription};

/// A standing subscription for each queue that was claimed from.
#[derive(Clone, Default)]
pub(crate) struct Looks(Arc<Mutex<HashMap<String, Subscription>>>);

impl Looks {
    /// A claim begins: whatever was hinted at before is seen by it.
    pub(crate) fn begin(&self, hints: &Hints, queue: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(queue) {
            Some(subscription) => subscription.mark(),
            None => drop(all.insert(queue.to_owned(), hints.subscribe(queue))),
        }
    }

    /// Waits for a hint that came since the last claim began.
    pub(crate) async fn wait(&self, hints: &Hints, queue: &str, limit: Duration) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(queue).cloned();
        since.unwrap_or_else(|| hints.subscribe(queue)).wait(limit).await;
    }
}

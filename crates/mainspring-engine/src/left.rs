//! What callers that went away left behind: executions that this process holds and nobody drives, and holders of jobs that
//! nobody runs any more.
//!
//! A caller is gone when its future was dropped, or when an error was all it got. What it asked the database for may still
//! happen after that, so an execution that looks right is looked at again until a lease is over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::{ExecutionId, WorkerId};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

#[derive(Default)]
pub(crate) struct Left {
    things: Mutex<HashMap<Thing, Instant>>,
    more: Notify,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    /// An execution that is perhaps held here.
    Execution(ExecutionId),
    /// A holder that perhaps is registered.
    Holder(WorkerId),
}

impl Left {
    fn things(&self) -> MutexGuard<'_, HashMap<Thing, Instant>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Will be left behind when the answer is dropped, unless it is at rest then.
    pub(crate) fn leaving(self: &Arc<Self>, thing: Thing) -> Leaving {
        Leaving { thing: Some(thing), left: Arc::clone(self) }
    }

    /// Everything, and since when.
    pub(crate) fn take(&self) -> HashMap<Thing, Instant> {
        std::mem::take(&mut *self.things())
    }

    /// Keeps it for the next round, unless it was left behind once more.
    pub(crate) fn put_back(&self, thing: Thing, since: Instant) {
        self.things().entry(thing).or_insert(since);
    }

    /// Until there is more, or until `pause` is over when there is something already.
    pub(crate) async fn wait(&self, pause: Duration) {
        let more = self.more.notified();
        if self.things().is_empty() {
            more.await;
        } else {
            drop(timeout(pause, more).await);
        }
    }
}

/// Something that someone here looks after.
pub(crate) struct Leaving {
    thing: Option<Thing>,
    left: Arc<Left>,
}

impl Leaving {
    /// Nobody needs to look after it any more.
    pub(crate) fn rest(mut self) {
        self.thing = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(thing) = self.thing.take() {
            self.left.things().insert(thing, Instant::now());
            self.left.more.notify_one();
        }
    }
}

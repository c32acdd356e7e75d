//! Those who run handlers: as many as there is work for, at most as many as the concurrency allows.
//!
//! ```text
//! claimed ──► waiting ──► a runner takes the next one, or the next batch ──► … until nothing waits, then it leaves
//! ```

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mainspring_core::{Delivery, WorkerId};
use tokio::{sync::Notify, task::AbortHandle};

use crate::shared::Slot;

/// A delivery and its place. It is large, and handed on from one to the next.
pub(crate) struct Item {
    pub(crate) delivery: Box<Delivery>,
    pub(crate) slot: Slot,
}

/// What waits for a handler, and how many are there to take it.
#[derive(Default)]
pub(crate) struct Crew {
    inner: Mutex<Inner>,
    /// Something was taken from what waits.
    pub(crate) taken: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Item>,
    runners: usize,
}

impl Crew {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.inner().waiting.len()
    }

    /// Lets these wait behind the others; how many runners are to be started for them.
    pub(crate) fn add(&self, items: impl IntoIterator<Item = Item>, batch: usize, most: usize) -> usize {
        let mut inner = self.inner();
        inner.waiting.extend(items);
        inner.call(batch, most)
    }

    /// How many runners are to be started for what waits.
    pub(crate) fn call(&self, batch: usize, most: usize) -> usize {
        self.inner().call(batch, most)
    }

    /// The next deliveries to be handled together: at most `batch` of one term, and a suspect by itself. With nothing to do
    /// the runner that asks has left.
    pub(crate) fn next(&self, batch: usize) -> Option<Vec<Item>> {
        let mut inner = self.inner();
        let Some(first) = inner.waiting.pop_front() else {
            inner.runners = inner.runners.saturating_sub(1);
            return None;
        };
        let mut items = vec![first];
        while items.len() < batch {
            let fits = |next: &Item| {
                let apart = next.delivery.is_suspect() || items.iter().any(|item| item.delivery.is_suspect());
                !apart && items.iter().all(|item| Arc::ptr_eq(&item.slot.held.0, &next.slot.held.0))
            };
            match inner.waiting.front() {
                Some(next) if fits(next) => items.extend(inner.waiting.pop_front()),
                _ => break,
            }
        }
        drop(inner);
        self.taken.notify_one();
        Some(items)
    }

    /// Takes away everything that waits, or only what `holder` holds.
    pub(crate) fn clear(&self, holder: Option<&WorkerId>) -> Vec<Item> {
        let mut inner = self.inner();
        let all = std::mem::take(&mut inner.waiting);
        let theirs = |item: &Item| holder.is_none_or(|holder| item.slot.held.0.holder == *holder);
        let (gone, rest): (VecDeque<Item>, VecDeque<Item>) = all.into_iter().partition(theirs);
        inner.waiting = rest;
        gone.into()
    }

    fn leave(&self) {
        let mut inner = self.inner();
        inner.runners = inner.runners.saturating_sub(1);
    }
}

impl Inner {
    fn call(&mut self, batch: usize, most: usize) -> usize {
        let more = self.waiting.len().div_ceil(batch).min(most.saturating_sub(self.runners));
        self.runners += more;
        more
    }
}

/// One runner's place in the crew, given up once: by itself, or by who replaces it.
#[derive(Default)]
pub(crate) struct Post {
    relieved: AtomicBool,
    task: OnceLock<AbortHandle>,
}

impl Post {
    pub(crate) fn runs_as(&self, task: AbortHandle) {
        drop(self.task.set(task));
    }

    /// It has left the crew by itself.
    pub(crate) fn left(&self) {
        self.relieved.store(true, Ordering::Release);
    }

    /// Its place is free, whether it ends or not.
    pub(crate) fn relieve(&self, crew: &Crew) {
        if !self.relieved.swap(true, Ordering::AcqRel) {
            crew.leave();
        }
    }

    pub(crate) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

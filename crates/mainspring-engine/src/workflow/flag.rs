//! Who is to be polled: the code of a workflow, or only its driver.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use futures_util::task::AtomicWaker;

/// Whether the code was woken since it was last polled.
pub(crate) struct Flag {
    woken: AtomicBool,
    pub(crate) outer: AtomicWaker,
}

impl Flag {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { woken: AtomicBool::new(true), outer: AtomicWaker::new() })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.outer.wake();
    }
}

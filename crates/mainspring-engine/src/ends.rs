//! Who waits in this process for the end of an execution, and is told when one of its commits brings it.
//!
//! A hint only: one who waits looks now and then all the same. Other processes are told of the ends that workers commit; of
//! those that a process brings about for itself, it is the one that waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainspring_core::{Changes, ExecutionId};
use tokio::sync::{Notify, futures::OwnedNotified};

/// What hints for the end of an execution go by.
pub(crate) fn hint_of(id: &ExecutionId) -> String {
    format!("end-{id}")
}

#[derive(Default)]
pub(crate) struct Ends(Mutex<HashMap<ExecutionId, Waiting>>);

#[derive(Default)]
struct Waiting {
    waiters: usize,
    bell: Arc<Notify>,
}

impl Ends {
    fn table(&self) -> MutexGuard<'_, HashMap<ExecutionId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of an execution from now on, for as long as the answer lives.
    pub(crate) fn wait_for(self: &Arc<Self>, id: &ExecutionId) -> Ending {
        let mut table = self.table();
        let waiting = table.entry(id.clone()).or_default();
        waiting.waiters += 1;
        Ending { ends: Arc::clone(self), id: id.clone(), bell: Arc::clone(&waiting.bell) }
    }

    /// Tells those who wait for executions that these changes have ended.
    pub(crate) fn tell(&self, changes: &Changes) {
        let mut ended = changes.executions.iter().map(|write| &write.execution);
        if !ended.any(|execution| execution.status.is_terminal()) {
            return;
        }
        let table = self.table();
        if table.is_empty() {
            return;
        }
        for write in changes.executions.iter().filter(|write| write.execution.status.is_terminal()) {
            if let Some(waiting) = table.get(&write.execution.id) {
                waiting.bell.notify_waiters();
            }
        }
    }
}

/// One who waits for the end of an execution.
pub(crate) struct Ending {
    ends: Arc<Ends>,
    id: ExecutionId,
    bell: Arc<Notify>,
}

impl Ending {
    /// The next time it is told, from now on.
    pub(crate) fn told(&self) -> OwnedNotified {
        Arc::clone(&self.bell).notified_owned()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut table = self.ends.table();
        if let Some(waiting) = table.get_mut(&self.id) {
            waiting.waiters -= 1;
            if waiting.waiters == 0 {
                table.remove(&self.id);
            }
        }
    }
}

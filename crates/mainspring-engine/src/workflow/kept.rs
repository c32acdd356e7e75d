//! Futures of parked executions that are kept for a short time: whoever wakes one of them here goes on where it stood, and only
//! what came in since is read. All others are replayed, and what is kept for too long is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::{Execution, ExecutionId, ExecutionStatus, Result, Timestamp};
use tokio::time::Instant;

use super::{drive::Running, flag::Flag, live::Live};
use crate::engine::Inner;

/// The code of a parked execution, standing where it waits.
pub(super) struct Standing {
    pub(super) code: Running,
    pub(super) live: Arc<Live>,
    pub(super) flag: Arc<Flag>,
}

struct Kept {
    standing: Standing,
    /// Of the row when it was parked: another one means that someone else has driven it since.
    revision: i64,
    /// When it was parked: a standby that was behind may have come to the same revision with another history.
    written: Timestamp,
    since: Instant,
}

/// The parked executions of this process that were not dropped yet.
pub(crate) struct KeptLive {
    idle: Duration,
    most: usize,
    table: Mutex<HashMap<ExecutionId, Kept>>,
}

impl Default for KeptLive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(5), most: 1_000, table: Mutex::default() }
    }
}

impl KeptLive {
    pub(crate) fn new(idle: Duration, most: usize) -> Self {
        Self { idle, most, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ExecutionId, Kept>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it, unless as many are kept as may be.
    pub(super) fn keep(&self, execution: &Execution, standing: Standing) {
        self.evict();
        let mut table = self.table();
        if table.len() >= self.most || self.idle.is_zero() {
            drop(table); // before what is not kept, whose drop may run code of the application
            return;
        }
        let kept = Kept {
            standing,
            revision: execution.revision,
            written: execution.updated_at,
            since: Instant::now(),
        };
        let old = table.insert(execution.id.clone(), kept);
        drop(table);
        drop(old);
    }

    /// The code that stands where the row says.
    pub(super) fn take(&self, execution: &Execution) -> Option<Standing> {
        let kept = self.table().remove(&execution.id)?;
        let same = (kept.revision, kept.written) == (execution.revision, execution.updated_at);
        (same && execution.status == ExecutionStatus::Waiting).then_some(kept.standing)
    }

    /// Whether what is kept is of a later row.
    fn is_ahead_of(&self, execution: &Execution) -> bool {
        self.table().get(&execution.id).is_some_and(|kept| kept.revision > execution.revision)
    }

    fn forget(&self, id: &ExecutionId) {
        let kept = self.table().remove(id);
        drop(kept);
    }

    /// Drops those that were idle for too long.
    pub(crate) fn evict(&self) {
        let old: Vec<Kept> = {
            let mut table = self.table();
            let ids: Vec<ExecutionId> = table
                .iter()
                .filter(|(_, kept)| kept.since.elapsed() >= self.idle)
                .map(|(id, _)| id.clone())
                .collect();
            ids.iter().filter_map(|id| table.remove(id)).collect()
        };
        drop(old);
    }
}

impl Inner {
    /// Whether the row was read before its code was driven and parked here, so that it has to be read again. Code that is still
    /// ahead of it then stands on what a server has lost with the commits of its last moments, and is forgotten.
    pub(super) async fn was_parked_since(&self, execution: &Execution) -> Result<bool> {
        let kept = &self.workflows.kept;
        if !kept.is_ahead_of(execution) {
            return Ok(false);
        }
        if self.load(&execution.id).await?.is_none_or(|now| kept.is_ahead_of(&now)) {
            kept.forget(&execution.id);
        }
        Ok(true)
    }
}

impl Live {
    /// From a park to the next drive: what is awaited may become ready again, once one has looked outside.
    pub(super) fn reopen(&self, position: i64) {
        let mut state = self.lock();
        state.is_at(position);
        state.closed = false;
        state.stale = true;
        state.mine = false;
        drop(state);
        self.attention.notify_one();
    }
}

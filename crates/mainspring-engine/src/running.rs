//! What runs in this process right now, so that a cancel can reach it.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use mainspring_core::{Execution, ExecutionId, JobLease};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub(crate) struct Running {
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: HashMap<u64, Call>,
    /// Executions that are being driven here without a message.
    driven: HashSet<ExecutionId>,
}

struct Call {
    execution: ExecutionId,
    work: Work,
    cancel: CancellationToken,
}

/// What a call stands on: it is cancelled when that is gone.
#[derive(Clone)]
pub(crate) enum Work {
    /// A step, for an execution at this revision.
    Step(i64),
    /// A job.
    Job(JobLease),
}

impl Running {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call until the entry is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        execution: &ExecutionId,
        work: Work,
        cancel: &CancellationToken,
    ) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Call { execution: execution.clone(), work, cancel: cancel.clone() };
        self.inner().calls.insert(number, call);
        Entry { number, running: Arc::clone(self) }
    }

    /// Notes that an execution is driven here; `None` when it already is.
    pub(crate) fn drive(self: &Arc<Self>, execution: &ExecutionId) -> Option<Driving> {
        let new = self.inner().driven.insert(execution.clone());
        new.then(|| Driving { execution: execution.clone(), running: Arc::clone(self) })
    }

    /// Cancels every call for an execution.
    pub(crate) fn cancel(&self, execution: &ExecutionId) {
        self.inner()
            .calls
            .values()
            .filter(|call| call.execution == *execution)
            .for_each(|c| c.cancel.cancel());
    }

    /// The executions that calls are running for.
    pub(crate) fn executions(&self) -> Vec<ExecutionId> {
        let ids: HashSet<ExecutionId> =
            self.inner().calls.values().map(|call| call.execution.clone()).collect();
        ids.into_iter().collect()
    }

    /// Cancels the calls whose execution, one of `asked`, is no longer what they stand on.
    pub(crate) fn compare(&self, asked: &[ExecutionId], stored: &[Execution]) {
        let stored: HashMap<&ExecutionId, &Execution> = stored.iter().map(|e| (&e.id, e)).collect();
        for call in self.inner().calls.values().filter(|call| asked.contains(&call.execution)) {
            let stands = stored.get(&call.execution).is_some_and(|execution| match &call.work {
                Work::Step(revision) => execution.revision <= *revision,
                Work::Job(_) => !execution.status.is_terminal(),
            });
            if !stands {
                call.cancel.cancel();
            }
        }
    }

    /// The jobs that are running, each with what cancels it.
    pub(crate) fn jobs(&self) -> Vec<(JobLease, CancellationToken)> {
        let inner = self.inner();
        let jobs = inner.calls.values().filter_map(|call| match &call.work {
            Work::Job(lease) => Some((lease.clone(), call.cancel.clone())),
            Work::Step(_) => None,
        });
        jobs.collect()
    }
}

/// A call that is running.
pub(crate) struct Entry {
    number: u64,
    running: Arc<Running>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.inner().calls.remove(&self.number);
    }
}

/// An execution that is driven here without a message.
pub(crate) struct Driving {
    execution: ExecutionId,
    running: Arc<Running>,
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.running.inner().driven.remove(&self.execution);
    }
}

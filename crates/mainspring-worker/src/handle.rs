//! A worker that runs in the background.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use mainspring_core::{Error, Result, WorkerId};
use tokio::{sync::watch, task::JoinHandle};

use crate::{Snapshot, run::Stop, shared::Shared};

/// A worker in the background. Dropping it aborts the worker; its leases then expire. To start it again, start another one
/// from a clone of the [`Worker`](crate::Worker).
#[must_use = "dropping the handle aborts the worker"]
pub struct WorkerHandle {
    shared: Arc<Shared>,
    stop: Stop,
    task: JoinHandle<()>,
    /// How many deliveries it had, when it has ended.
    ended: watch::Receiver<Option<Arc<Result<u64>>>>,
}

impl WorkerHandle {
    pub(crate) fn spawn(
        shared: Arc<Shared>,
        run: impl Future<Output = Result<u64>> + Send + 'static,
        stop: Stop,
    ) -> Self {
        let (tell, ended) = watch::channel(None);
        let task = tokio::spawn(async move {
            let result = run.await;
            tell.send_replace(Some(Arc::new(result)));
        });
        Self { shared, stop, task, ended }
    }

    /// The name under which it claims at present.
    pub fn id(&self) -> WorkerId {
        self.shared.terms.current().holder.clone()
    }

    /// Stops it gracefully and waits for its end; how many deliveries it had. What was claimed ahead is given back at once;
    /// what is in flight has the [grace](crate::Worker::grace) period to end. Any number may call it at the same time, and
    /// again later: all get the same answer. Dropping the future does not take the stop back.
    ///
    /// # Errors
    /// Internal, when the worker itself panicked.
    pub async fn stop(&self) -> Result<u64> {
        self.stop.gracefully.cancel();
        self.end().await
    }

    /// Stops it without waiting for handlers: they are cancelled and aborted, and what they had is given back at once. Also
    /// cuts short a graceful stop that is under way.
    ///
    /// # Errors
    /// Internal, when the worker itself panicked.
    pub async fn stop_now(&self) -> Result<u64> {
        self.stop.now.cancel();
        self.stop().await
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// What it is doing at this moment. Costs no look into the database.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.shared;
        let (term, running, waiting) =
            (shared.terms.current(), shared.flights.running(), shared.crew.waiting());
        let counts = &shared.counts;
        Snapshot {
            worker: term.holder.clone(),
            queue: shared.options.queue.clone(),
            stopping: self.stop.gracefully.is_cancelled() || shared.stopping.load(Ordering::Acquire),
            silent: term.alive_at().elapsed(),
            unsettled: shared.unsettled.load(Ordering::Relaxed),
            running,
            waiting,
            delivered: counts.delivered.get(),
            completed: counts.completed.get(),
            retried: counts.retried.get(),
            dead_lettered: counts.dead_lettered.get(),
            lost: counts.lost.get(),
        }
    }

    async fn end(&self) -> Result<u64> {
        let mut ended = self.ended.clone();
        let gone = |e| Error::internal("the worker ended without being stopped").with_source(e);
        let answer = ended.wait_for(Option::is_some).await.map_err(gone)?;
        match answer.as_deref() {
            Some(Ok(delivered)) => Ok(*delivered),
            Some(Err(error)) => Err(Error::internal(format!("the worker failed: {}", error.chain()))),
            None => Err(Error::internal("the worker ended without an answer")),
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerHandle({}, queue {:?})", self.id(), self.shared.options.queue)
    }
}

//! One run of a worker: its tasks, and how it ends.
//!
//! The end: claim nothing more; give back what nobody has begun; wait for what is in flight, at most the grace period; cancel
//! it and wait a second more; abort it; settle what was finished; give back everything else at once, so that no other worker
//! has to wait for a lease to end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainspring_core::{Error, ErrorKind, Result};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    beat, claim,
    event::{Activity, Event},
    runner::LAST_WORDS,
    settle,
    shared::{Finished, Shared},
    touch,
};

/// How it is told to end.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// Claim nothing more, and end when what is in flight has ended.
    pub(crate) gracefully: CancellationToken,
    /// Wait for nothing.
    pub(crate) now: CancellationToken,
}

/// Dropping the run aborts all tasks.
struct AbortTasks<'a>(&'a Shared);

impl Drop for AbortTasks<'_> {
    fn drop(&mut self) {
        self.0.tasks().abort_all();
    }
}

/// Works until it is stopped, or until nothing is left when `until_idle`; how many deliveries there were.
pub(crate) async fn run(
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<Finished>,
    stop: Stop,
    until_idle: bool,
) -> Result<u64> {
    let _guard = AbortTasks(&shared);
    let mut services = JoinSet::new(); // dropping it aborts them
    services.spawn(beat::heartbeat(Arc::clone(&shared)));
    if !until_idle {
        services.spawn(beat::upkeep(Arc::clone(&shared)));
    }
    services.spawn(touch::run(Arc::clone(&shared)));
    services.spawn(settle::run(Arc::clone(&shared), inbox));
    let worker = shared.terms.current().holder.clone();
    shared.listeners.tell(Event::Started { worker: &worker, queue: &shared.options.queue });

    let claimed = tokio::select! {
        claimed = claim::run(&shared, &stop.gracefully, until_idle) => claimed,
        // Without it leases would be kept and nothing settled, or nothing kept: better to end and to be started again.
        Some(ended) = services.join_next() => Err(lost_task(ended)),
    };
    shared.stopping.store(true, Ordering::Release);
    claim::put_back(&shared, shared.crew.clear(None));
    land(&shared, &stop).await;
    shared.flights.clear();
    // Everything has its place back when everything that was finished is settled.
    let patience =
        if stop.now.is_cancelled() { LAST_WORDS } else { shared.options.lease.min(Duration::from_secs(10)) };
    if timeout(patience, shared.take_room(shared.options.room())).await.is_err() {
        tracing::warn!("what was finished could not be settled in time; it will run again");
    }
    services.shutdown().await;
    release(&shared).await;
    let delivered = shared.counts.delivered.get();
    shared.listeners.tell(Event::Stopped { delivered });
    claimed.map(|()| delivered)
}

/// The tasks beside the claims end with the run, unless one panics; whoever logs may do that when there is no room for the line.
fn lost_task(ended: Result<(), JoinError>) -> Error {
    let error = Error::internal("a task of the worker ended");
    match ended {
        Ok(()) => error,
        Err(cause) => error.with_source(cause),
    }
}

/// Waits for what is in flight, at first patiently.
async fn land(shared: &Shared, stop: &Stop) {
    let mut tasks = std::mem::take(&mut *shared.tasks());
    let grace = if stop.now.is_cancelled() { Duration::ZERO } else { shared.options.grace };
    let patiently = stop.now.run_until_cancelled(timeout(grace, all(&mut tasks))).await;
    if !matches!(patiently, Some(Ok(()))) && !tasks.is_empty() {
        tracing::warn!(tasks = tasks.len(), ?grace, "cancels what is still in flight");
        shared.terms.cancel_all();
        let last_words = if stop.now.is_cancelled() { Duration::ZERO } else { LAST_WORDS };
        drop(timeout(last_words, all(&mut tasks)).await);
        if timeout(LAST_WORDS, tasks.shutdown()).await.is_err() {
            // They block their threads, and nothing but the end of the process stops them.
            tracing::error!(tasks = tasks.len(), "handlers that do not yield are left behind");
            tasks.detach_all();
        }
    }
}

/// Gives back what is still held.
async fn release(shared: &Shared) {
    for term in shared.terms.all() {
        match timeout(Duration::from_secs(5), shared.queue.release(&term.holder)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(messages)) => tracing::info!(messages, "gave back what was not finished"),
            Ok(Err(error)) => shared.failing(Activity::Release, &error),
            Err(_) => {
                let late =
                    Error::new(ErrorKind::Busy, "giving back the leases takes too long; they will expire");
                shared.failing(Activity::Release, &late);
            }
        }
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

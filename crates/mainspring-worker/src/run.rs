//! One run of a worker: its tasks, and how it ends.
//!
//! The end: claim nothing more; wait for what is in flight, at most the grace period; cancel it and wait a second more; abort
//! it; settle what was finished; give back everything else at once, so that no other worker has to wait for a lease to end.

use std::{sync::Arc, time::Duration};

use mainspring_core::Result;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    beat, claim, settle,
    shared::{Finished, Shared},
};

const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<Finished>,
    stop: CancellationToken,
    until_idle: bool,
) -> Result<u64> {
    // Dropping this future drops the sets, which aborts every task.
    let mut services = JoinSet::new();
    services.spawn(beat::heartbeat(Arc::clone(&shared)));
    if !until_idle {
        services.spawn(beat::upkeep(Arc::clone(&shared)));
    }
    services.spawn(settle::run(Arc::clone(&shared), inbox));
    let mut tasks = JoinSet::new();

    let delivered = claim::run(&shared, &mut tasks, &stop, until_idle).await;

    if timeout(shared.options.grace, all(&mut tasks)).await.is_err() {
        tracing::warn!(tasks = tasks.len(), grace = ?shared.options.grace, "cancels what is still in flight");
        shared.terms.cancel_all();
        drop(timeout(LAST_WORDS, all(&mut tasks)).await);
    }
    tasks.shutdown().await;
    shared.flights.clear();
    // Every slot is free when everything that was finished is settled.
    if timeout(shared.options.lease.min(Duration::from_secs(10)), shared.take_slots(shared.everything()))
        .await
        .is_err()
    {
        tracing::warn!("what was finished could not be settled in time; it will run again");
    }
    services.shutdown().await;
    for term in shared.terms.all() {
        match timeout(Duration::from_secs(5), shared.queue.release(&term.holder)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(messages)) => tracing::info!(messages, "gave back what was not finished"),
            Ok(Err(error)) => {
                tracing::warn!(error = %error.chain(), "could not give back the leases; they will expire");
            }
            Err(_) => tracing::warn!("giving back the leases takes too long; they will expire"),
        }
    }
    delivered
}

async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

//! Settling what is finished: whatever is ready goes in one call, and nothing is ever forgotten.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use mainspring_core::{Error, Settle};
use tokio::sync::mpsc;

use crate::{
    backoff::Backoff,
    shared::{Finished, Shared},
};

const BATCH: usize = 500;

/// Settles until the last sender is gone.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Finished>) {
    let mut batch = Vec::with_capacity(BATCH);
    while inbox.recv_many(&mut batch, BATCH).await > 0 {
        settle(&shared, std::mem::take(&mut batch)).await;
    }
}

/// Settles a batch, halving it when the queue says that it can never be accepted, to find the one item at fault.
async fn settle(shared: &Shared, batch: Vec<Finished>) {
    let mut work = VecDeque::from([batch]);
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    while let Some(mut batch) = work.pop_front() {
        batch.retain(|finished| !finished.slot.held.0.is_lost());
        if batch.is_empty() {
            continue;
        }
        let settles: Vec<Settle> = batch.iter().map(|finished| finished.settle.clone()).collect();
        match shared.queue.settle(settles).await {
            Ok(results) => {
                backoff.reset();
                for (finished, result) in batch.into_iter().zip(results) {
                    if let Err(error) = result {
                        refused(shared, finished, &error);
                    }
                }
            }
            // Settling twice is harmless: the second time finds the lease gone.
            Err(error) if error.is_retryable() || error.is_commit_unknown() => {
                tracing::warn!(error = %error.chain(), items = batch.len(), "cannot settle; trying again");
                tokio::time::sleep(backoff.pause()).await;
                work.push_front(batch);
            }
            Err(error) => match batch.len() {
                1 => batch.into_iter().for_each(|finished| refused(shared, finished, &error)),
                n => {
                    let rest = batch.split_off(n / 2);
                    work.push_front(rest);
                    work.push_front(batch);
                }
            },
        }
    }
}

/// A settlement that was refused: fenced is the fence at work; anything else would leave the message claimed for ever, so
/// its term is given back.
fn refused(shared: &Shared, finished: Finished, error: &Error) {
    let seq = finished.settle.lease.seq;
    if error.is_fenced() {
        tracing::warn!(seq, "a delivery's lease was lost before it was settled");
    } else {
        tracing::error!(seq, error = %error.chain(), "a delivery cannot be settled");
        shared.terms.retire(&finished.slot.held.0);
    }
}

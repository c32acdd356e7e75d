//! Settling what is finished: whatever is ready goes in one call, and nothing is ever forgotten. A settlement that cannot be
//! written is tried again for as long as the lease holds: that the handler has succeeded is never turned into a failure.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainspring_core::{Error, Failure, Settle, Settlement};
use tokio::sync::mpsc;

use crate::{
    backoff::Backoff,
    event::{Activity, Event},
    shared::{Finished, Shared},
};

const BATCH: usize = 1_000;

/// Settles until the last sender is gone.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Finished>) {
    let mut batch = Vec::with_capacity(BATCH);
    while inbox.recv_many(&mut batch, BATCH).await > 0 {
        // Handlers that end at this moment come along.
        tokio::task::yield_now().await;
        while batch.len() < BATCH
            && let Ok(finished) = inbox.try_recv()
        {
            batch.push(finished);
        }
        let count = batch.len();
        settle(&shared, std::mem::take(&mut batch)).await;
        shared.unsettled.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Settles a batch, halving it when the queue says that it can never be accepted, to find the one item at fault.
async fn settle(shared: &Shared, batch: Vec<Finished>) {
    let mut work = VecDeque::from([batch]);
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    while let Some(batch) = work.pop_front() {
        let (lost, mut batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|f| f.slot.held.0.is_lost());
        lost.iter().for_each(|finished| shared.lost(&finished.told));
        if batch.is_empty() {
            continue;
        }
        let settles: Vec<Settle> = batch.iter().map(|finished| finished.settle.clone()).collect();
        match shared.queue.settle(settles).await {
            Ok(results) => {
                backoff.reset();
                for (mut finished, result) in batch.into_iter().zip(results) {
                    match result {
                        Ok(()) => settled(shared, &finished),
                        // It was this worker's own first attempt that ended the lease, unless it was found dead since.
                        Err(error) if error.is_fenced() && finished.unknown => settled(shared, &finished),
                        Err(error) if error.is_invalid() && !finished.corrected => {
                            finished.settle.settlement = corrected(finished.settle.settlement, &error);
                            finished.corrected = true;
                            work.push_back(vec![finished]);
                        }
                        Err(error) => refused(shared, &finished, &error),
                    }
                }
            }
            // Settling twice is harmless: the second time finds the lease gone.
            Err(error) if error.is_retryable() || error.is_commit_unknown() => {
                shared.failing(Activity::Settle, &error);
                batch.iter_mut().for_each(|finished| finished.unknown |= error.is_commit_unknown());
                tokio::time::sleep(backoff.pause()).await;
                work.push_front(batch);
            }
            Err(error) => match batch.len() {
                1 => batch.iter().for_each(|finished| refused(shared, finished, &error)),
                n => {
                    let rest = batch.split_off(n / 2);
                    work.push_front(rest);
                    work.push_front(batch);
                }
            },
        }
    }
}

/// What becomes of a delivery whose handler said what cannot be stored, such as an output that is too large: it would say the
/// same again.
fn corrected(settlement: Settlement, error: &Error) -> Settlement {
    let failure = Failure::new("UNSTORABLE", error.chain());
    match settlement {
        Settlement::Retry { .. } | Settlement::RetryAfter { .. } => Settlement::Retry { error: failure },
        _ => Settlement::DeadLetter(failure),
    }
}

fn settled(shared: &Shared, finished: &Finished) {
    let (counts, meter) = (&shared.counts, &shared.meter);
    let told = &finished.told;
    match &finished.settle.settlement {
        Settlement::Done | Settlement::DoneWith(_) => {
            counts.completed.add(1);
            meter.completed.increment(1);
            shared.tell_of(told, Event::Completed);
        }
        Settlement::Retry { error } | Settlement::RetryAfter { error, .. } if finished.last_try => {
            counts.dead_lettered.add(1);
            meter.dead_lettered.increment(1);
            shared.tell_of(told, |delivery| Event::DeadLettered { delivery, error });
        }
        Settlement::Retry { error } | Settlement::RetryAfter { error, .. } => {
            counts.retried.add(1);
            meter.retried.increment(1);
            shared.tell_of(told, |delivery| Event::Retried { delivery, error });
        }
        Settlement::SnoozeUntil(until) => {
            meter.snoozed.increment(1);
            shared.tell_of(told, |delivery| Event::Snoozed { delivery, until: *until });
        }
        Settlement::DeadLetter(error) => {
            counts.dead_lettered.add(1);
            meter.dead_lettered.increment(1);
            shared.tell_of(told, |delivery| Event::DeadLettered { delivery, error });
        }
        Settlement::PutBack => {
            meter.put_back.increment(1);
            shared.tell_of(told, Event::PutBack);
        }
    }
}

/// A settlement that was refused: fenced is the fence at work; anything else would leave the message claimed for ever, so
/// its term is given back.
fn refused(shared: &Shared, finished: &Finished, error: &Error) {
    let seq = finished.settle.lease.seq;
    if error.is_fenced() {
        tracing::warn!(seq, "a delivery's lease was lost before it was settled");
        shared.lost(&finished.told);
    } else {
        tracing::error!(seq, error = %error.chain(), "a delivery cannot be settled");
        shared.failing(Activity::Settle, error);
        shared.terms.retire(&finished.slot.held.0);
    }
}

//! The heartbeat keeps the leases; upkeep takes back those of others that died. Neither ever exits.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use mainspring_core::{Error, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    backoff::{Backoff, jittered},
    event::Activity,
    flight::look_for_stuck,
    shared::Shared,
    term::Term,
};

/// Keeps every term alive, one write each every third of a lease.
pub(crate) async fn heartbeat(shared: Arc<Shared>) {
    let lease = shared.options.lease;
    let mut failing = Backoff::new(lease / 20, lease / 6);
    loop {
        let mut healthy = true;
        for term in shared.terms.all() {
            healthy &= keep(&shared, &term).await;
        }
        look_for_stuck(&shared);
        let beat = AssertUnwindSafe(timeout(lease / 3, shared.deliver.beat())).catch_unwind();
        if !matches!(beat.await, Ok(Ok(()))) {
            tracing::warn!("the handler's own heartbeat panicked or took too long");
        }
        if healthy {
            failing.reset();
            sleep(jittered(lease / 4).min(lease / 3)).await;
        } else {
            sleep(failing.pause()).await;
        }
    }
}

/// Extends one term; false when that did not work and should be tried again soon.
pub(crate) async fn keep(shared: &Shared, term: &Arc<Term>) -> bool {
    let lease = shared.options.lease;
    if term.is_limbo() {
        return give_back(shared, term).await;
    }
    let (begin, deadline) = (Instant::now(), term.alive_at() + lease.mul_f64(0.8));
    let patience = deadline.saturating_duration_since(begin).clamp(lease / 20, lease / 3);
    let call = match term.is_registered() {
        true => shared.queue.extend(&term.holder, lease),
        false => shared.queue.register(&term.holder, lease),
    };
    match timeout(patience, call).await {
        Ok(Ok(())) => {
            shared.meter.lag.record(begin.saturating_duration_since(term.alive_at()));
            term.alive(begin);
            return true;
        }
        Ok(Err(error)) if error.is_fenced() => {
            tracing::warn!(holder = %term.holder, in_flight = term.flights(), "found dead; goes on under a new name");
            shared.terms.lose(term);
            return false; // at once, to register the new term
        }
        Ok(Err(error)) => {
            shared.failing(Activity::Heartbeat, &error);
        }
        Err(_) => {
            let late = Error::new(ErrorKind::Busy, format!("no answer within {patience:?}"));
            shared.failing(Activity::Heartbeat, &late);
        }
    }
    if Instant::now() >= deadline && term.flights() > 0 {
        tracing::warn!(holder = %term.holder, in_flight = term.flights(), "out of touch for too long; cancels all");
        shared.terms.lose(term);
    }
    false
}

/// Releases a term that may hold what nobody here knows of, once it holds nothing else.
async fn give_back(shared: &Shared, term: &Arc<Term>) -> bool {
    if term.flights() > 0 {
        // Its leases are needed until the last one is settled.
        let begin = Instant::now();
        return match timeout(
            shared.options.lease / 3,
            shared.queue.extend(&term.holder, shared.options.lease),
        )
        .await
        {
            Ok(Ok(())) => {
                term.alive(begin);
                true
            }
            Ok(Err(error)) if error.is_fenced() => {
                shared.terms.lose(term);
                true
            }
            _ => false,
        };
    }
    if shared.terms.current().holder == term.holder {
        return true; // the claim loop does it before its next claim
    }
    let released = shared.queue.release(&term.holder).await;
    if released.is_ok() {
        shared.terms.forget(term);
    }
    released.is_ok()
}

/// Takes back the leases of dead workers, makes due messages ready, and lets the handler do its own upkeep.
pub(crate) async fn upkeep(shared: Arc<Shared>) {
    let every = shared.options.maintenance_interval;
    let mut failing = Backoff::new(every, every.max(Duration::from_secs(10)));
    loop {
        if upkeep_once(&shared).await.is_some() {
            failing.reset();
            sleep(jittered(every)).await;
        } else {
            sleep(failing.pause()).await;
        }
    }
}

/// One round; how many messages became ready, or `None` when it did not work.
pub(crate) async fn upkeep_once(shared: &Shared) -> Option<u64> {
    let queue = shared.queue.maintain().await;
    let handler = AssertUnwindSafe(shared.deliver.maintain()).catch_unwind().await;
    match &handler {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.failing(Activity::Upkeep, error),
        Err(_) => tracing::error!("the handler's upkeep panicked"),
    }
    match queue {
        Ok(done) => {
            let ready = done.promoted + done.reclaimed;
            shared.meter.expired.increment(done.reclaimed);
            if ready > 0 {
                shared.poke.notify_one();
            }
            if done.dead_holders > 0 {
                tracing::warn!(
                    workers = done.dead_holders,
                    messages = done.reclaimed,
                    "took over from dead workers"
                );
            }
            matches!(handler, Ok(Ok(()))).then_some(ready)
        }
        Err(error) => {
            shared.failing(Activity::Upkeep, &error);
            None
        }
    }
}

//! Claiming: as much as there is room for, at once while there is more, less and less often while there is nothing.

use std::{sync::Arc, time::Duration};

use mainspring_core::{ClaimRequest, Claimed, Delivery, Result, Timestamp};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::{Backoff, jittered},
    beat::{keep, upkeep_once},
    flight::fly,
    shared::{Shared, Slot},
    term::{Held, Term},
};

const LARGEST_CLAIM: usize = 100;
const SHORTEST_POLL: Duration = Duration::from_millis(20);

/// Claims until `stop`, or until nothing is left when `until_idle`; how many deliveries there were.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    until_idle: bool,
) -> Result<u64> {
    let mut poll =
        Backoff::new(SHORTEST_POLL.min(shared.options.poll_interval), shared.options.poll_interval);
    let mut failing = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    let mut delivered = 0;
    loop {
        while tasks.try_join_next().is_some() {}
        let Some(slots) = stop.run_until_cancelled(free_slots(shared)).await else { return Ok(delivered) };
        let slots = slots?;
        let wanted = slots.num_permits();
        let suspect = Arc::clone(&shared.suspects).try_acquire_owned().ok();
        let Some((term, claimed)) = claim(shared, wanted, suspect.as_ref()).await else {
            drop(slots);
            if stop.run_until_cancelled(tokio::time::sleep(failing.pause())).await.is_none() {
                return Ok(delivered);
            }
            continue;
        };
        failing.reset();
        if stop.is_cancelled() {
            return Ok(delivered); // what was just claimed is released with the rest
        }
        let count = claimed.deliveries.len();
        delivered += count as u64;
        start(shared, tasks, &term, claimed.deliveries, slots, suspect);
        if count > 0 {
            poll.reset();
        }
        if count == wanted {
            continue;
        }
        if count == 0 && until_idle {
            if is_idle(shared).await? {
                return Ok(delivered);
            }
            continue;
        }
        if overdue(shared, claimed.next_due) && upkeep_once(shared).await.is_some_and(|ready| ready > 0) {
            continue;
        }
        if stop.run_until_cancelled(idle(shared, poll.pause(), claimed.next_due)).await.is_none() {
            return Ok(delivered);
        }
    }
}

/// All free slots, at least one, as many as one claim may bring.
async fn free_slots(shared: &Shared) -> Result<OwnedSemaphorePermit> {
    let mut slots = shared.take_slots(1).await?;
    let more = shared.slots.available_permits().min(LARGEST_CLAIM - 1);
    if let Ok(more) = Arc::clone(&shared.slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
        slots.merge(more);
    }
    Ok(slots)
}

/// One claim under the present term. `None` when it did not work, to be tried again after a pause.
async fn claim(
    shared: &Shared,
    wanted: usize,
    suspect: Option<&OwnedSemaphorePermit>,
) -> Option<(Arc<Term>, Claimed)> {
    let term = shared.terms.current();
    if term.is_limbo() {
        match shared.queue.release(&term.holder).await {
            Ok(_) => term.clear_limbo(),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "cannot give back what a lost claim may have brought");
                return None;
            }
        }
    }
    let silent = term.alive_at().elapsed();
    if term.flights() > 0 && silent >= shared.options.lease.mul_f64(0.8) {
        // A claim is a sign of life, and would hide that this term was found dead.
        keep(shared, &term).await;
        if term.is_lost() {
            return None;
        }
    }
    let request = ClaimRequest {
        queue: shared.options.queue.clone(),
        holder: term.holder.clone(),
        lease: shared.options.lease,
        max: u32::try_from(wanted).unwrap_or(1),
        suspects: u32::from(suspect.is_some()),
    };
    // Never dropped half-way: what a dropped claim brought would be in nobody's hands.
    match shared.queue.claim(request).await {
        // The term ended while its claim was under way: what came is given back with it.
        Ok(claimed) if term.is_lost() || term.is_limbo() => {
            if !claimed.deliveries.is_empty() {
                shared.terms.retire(&term);
            }
            None
        }
        Ok(claimed) => Some((term, claimed)),
        Err(error) => {
            tracing::warn!(error = %error.chain(), "cannot claim");
            shared.terms.retire(&term);
            None
        }
    }
}

fn start(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    term: &Arc<Term>,
    deliveries: Vec<Delivery>,
    mut slots: OwnedSemaphorePermit,
    mut suspect: Option<OwnedSemaphorePermit>,
) {
    shared.flights.cancel_superseded(&term.holder, &deliveries);
    for delivery in deliveries {
        let Some(permit) = slots.split(1) else {
            tracing::error!("the queue driver brought more than was asked for");
            shared.terms.retire(term);
            return;
        };
        let cancel = term.cancel.child_token();
        let alone = if delivery.is_suspect() { suspect.take() } else { None };
        let slot = Slot { held: Held::new(term), _permit: permit, _alone: alone };
        let number = shared.flights.begin(&delivery, cancel.clone(), slot);
        let task = tasks.spawn(fly(Arc::clone(shared), number, delivery, cancel));
        shared.flights.runs_as(number, task);
    }
}

/// Whether something is due that the claim did not make ready by itself.
fn overdue(shared: &Shared, next_due: Option<Timestamp>) -> bool {
    matches!((next_due, &shared.clock), (Some(due), Some(clock)) if due <= clock())
}

/// Waits for a hint, at most until the next message is due or the poll interval is over.
async fn idle(shared: &Shared, poll: Duration, next_due: Option<Timestamp>) {
    let mut pause = poll;
    if let (Some(due), Some(clock)) = (next_due, &shared.clock) {
        pause = pause.min(due.since(clock()) + jittered(Duration::from_millis(2)));
    }
    tokio::select! {
        () = shared.queue.wait(&shared.options.queue, pause) => {}
        () = shared.poke.notified() => {}
    }
}

/// Waits until everything in flight is settled; whether a last round of upkeep then brings nothing more.
async fn is_idle(shared: &Shared) -> Result<bool> {
    if shared.slots.available_permits() < shared.options.concurrency {
        drop(shared.take_slots(shared.everything()).await?);
        return Ok(false);
    }
    Ok(upkeep_once(shared).await == Some(0))
}

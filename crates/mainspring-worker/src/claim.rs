//! Claiming: as much as there is room for, at once while there is more, less and less often while there is nothing.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    ClaimRequest, Claimed, Delivery, Error, ErrorKind, Result, Select, Settle, Settlement, Timestamp,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::{Backoff, jittered},
    beat::{keep, upkeep_once},
    crew::Item,
    event::{Activity, Event},
    runner,
    shared::{Finished, Shared, Slot},
    term::{Held, Term},
};

const LARGEST_CLAIM: usize = 1_000;
/// Rounds of upkeep in a row that may fail when nothing else is left, a few seconds in all.
const MOST_FAILURES: u32 = 8;
const SHORTEST_POLL: Duration = Duration::from_millis(20);

/// Claims until `stop`, or until nothing is left when `until_idle`.
pub(crate) async fn run(shared: &Arc<Shared>, stop: &CancellationToken, until_idle: bool) -> Result<()> {
    let mut poll =
        Backoff::new(SHORTEST_POLL.min(shared.options.poll_interval), shared.options.poll_interval);
    let mut failing = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    let mut upkeep = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    let mut failures = 0;
    // When a hint woke this worker that has brought nothing yet.
    let mut woken: Option<Instant> = None;
    loop {
        while shared.tasks().try_join_next().is_some() {}
        let Some(room) = stop.run_until_cancelled(room(shared)).await else { return Ok(()) };
        let room = room?;
        let wanted = room.num_permits();
        let suspect = Arc::clone(&shared.suspects).try_acquire_owned().ok();
        let Some((term, claimed)) = claim(shared, wanted, suspect.as_ref()).await else {
            drop(room);
            if stop.run_until_cancelled(tokio::time::sleep(failing.pause())).await.is_none() {
                return Ok(());
            }
            continue;
        };
        failing.reset();
        let count = claimed.deliveries.len();
        let items = take(shared, &term, claimed.deliveries, room, suspect);
        let taken = items.len();
        if stop.is_cancelled() {
            put_back(shared, items);
            return Ok(());
        }
        shared.counts.delivered.add(taken);
        shared.meter.attempts.increment(taken as u64);
        if let Some(woken) = woken.take().filter(|_| taken > 0) {
            shared.meter.notified.record(woken.elapsed());
        }
        let more = shared.crew.add(items, shared.options.batch_size, shared.options.concurrency);
        runner::start_more(shared, more);
        if taken > 0 {
            poll.reset();
        }
        if count == wanted {
            continue;
        }
        if count == 0 && until_idle {
            match last_round(shared).await? {
                Idle::Yes => return Ok(()),
                Idle::No => {
                    failures = 0;
                    upkeep.reset();
                }
                Idle::Unknown if failures == MOST_FAILURES => {
                    return Err(Error::new(ErrorKind::Unavailable, "the upkeep keeps failing"));
                }
                Idle::Unknown => {
                    failures += 1;
                    if stop.run_until_cancelled(tokio::time::sleep(upkeep.pause())).await.is_none() {
                        return Ok(());
                    }
                }
            }
            continue;
        }
        if overdue(shared, claimed.next_due) && upkeep_once(shared).await.is_some_and(|ready| ready > 0) {
            continue;
        }
        match stop.run_until_cancelled(idle(shared, poll.pause(), claimed.next_due)).await {
            Some(hinted) => woken = hinted,
            None => return Ok(()),
        }
    }
}

/// Room for as much as one claim may bring, as soon as it is worth one: at once while handlers have nothing to do, else when
/// half of what may wait is gone and there is room for a good part of it.
async fn room(shared: &Shared) -> Result<OwnedSemaphorePermit> {
    let options = &shared.options;
    while shared.crew.waiting() > options.prefetch / 2 {
        shared.crew.taken.notified().await;
    }
    let least = match shared.crew.waiting() {
        0 => options.batch_size,
        _ => options.batch_size.max(options.prefetch / 4),
    };
    let mut room = shared.take_room(least.min(LARGEST_CLAIM)).await?;
    tokio::task::yield_now().await; // what is settled at this moment makes room, too
    let more = shared.room.available_permits().min(LARGEST_CLAIM.saturating_sub(room.num_permits()));
    if let Ok(more) = Arc::clone(&shared.room).try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
        room.merge(more);
    }
    Ok(room)
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
                shared.failing(Activity::Release, &error);
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
        select: Select { but_groups: shared.seats.full(), ..Select::default() },
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
            shared.failing(Activity::Claim, &error);
            shared.terms.retire(&term);
            None
        }
    }
}

/// Gives each delivery its place.
fn take(
    shared: &Shared,
    term: &Arc<Term>,
    deliveries: Vec<Delivery>,
    mut room: OwnedSemaphorePermit,
    mut suspect: Option<OwnedSemaphorePermit>,
) -> Vec<Item> {
    if shared.flights.cancel_superseded(&term.holder, &deliveries) {
        let gone = shared.crew.clear(Some(&term.holder));
        gone.iter().for_each(|item| shared.lost_unbegun(&item.delivery));
    }
    let (mut items, mut back) = (Vec::with_capacity(deliveries.len()), Vec::new());
    let now = shared.clock.as_ref().map(|clock| clock());
    for delivery in deliveries {
        let Some(permit) = room.split(1) else {
            tracing::error!("the queue driver brought more than was asked for");
            shared.terms.retire(term);
            break;
        };
        let (held, seat) = (Held::new(term), shared.seats.take(&delivery));
        let Ok(seat) = seat else {
            let slot = Slot { held, _permit: permit, _alone: None, _beat: None, _seat: None };
            back.push(Item { delivery: Box::new(delivery), slot });
            continue;
        };
        shared.listeners.tell(Event::Claimed(&delivery));
        if let Some(now) = now.filter(|_| delivery.attempt() == 1 && delivery.delays == 0) {
            shared.meter.latency.record(now.since(delivery.created_at));
        }
        let alone = if delivery.is_suspect() { suspect.take() } else { None };
        let beat = shared.touches.keep(&delivery);
        let slot = Slot { held, _permit: permit, _alone: alone, _beat: beat, _seat: seat };
        items.push(Item { delivery: Box::new(delivery), slot });
    }
    put_back(shared, back);
    items
}

/// Gives back what nobody has begun, at once and uncounted.
pub(crate) fn put_back(shared: &Shared, items: Vec<Item>) {
    let listened = !shared.listeners.is_empty();
    for Item { delivery, slot } in items {
        let settle = Settle::new(delivery.lease.clone(), Settlement::PutBack);
        let told = listened.then(|| Arc::from(delivery));
        shared.finish(Finished { settle, slot, told, last_try: false, unknown: false, corrected: false });
    }
}

/// Whether something is due that the claim did not make ready by itself.
fn overdue(shared: &Shared, next_due: Option<Timestamp>) -> bool {
    matches!((next_due, &shared.clock), (Some(due), Some(clock)) if due <= clock())
}

/// Waits for a hint, at most until the next message is due or the poll interval is over. When the hint came, if one did.
async fn idle(shared: &Shared, poll: Duration, next_due: Option<Timestamp>) -> Option<Instant> {
    let mut pause = if shared.queue.hears_all() { shared.options.poll_interval } else { poll };
    if let (Some(due), Some(clock)) = (next_due, &shared.clock) {
        pause = pause.min(due.since(clock()) + jittered(Duration::from_millis(2)));
    }
    let begin = Instant::now();
    tokio::select! {
        () = shared.queue.wait(&shared.options.queue, pause) => (begin.elapsed() < pause).then(Instant::now),
        () = shared.poke.notified() => None,
        () = shared.seats.freed.notified() => None,
    }
}

/// Whether there is nothing left.
enum Idle {
    Yes,
    No,
    /// The upkeep, which would say so, failed.
    Unknown,
}

/// Waits until everything in flight is settled; whether a last round of upkeep then brings nothing more.
async fn last_round(shared: &Shared) -> Result<Idle> {
    if shared.room.available_permits() < shared.options.room() {
        drop(shared.take_room(shared.options.room()).await?);
        return Ok(Idle::No);
    }
    Ok(match upkeep_once(shared).await {
        Some(0) => Idle::Yes,
        Some(_) => Idle::No,
        None => Idle::Unknown,
    })
}

//! Deliveries in flight: each in its own task, a panic or a stuck handler is its own trouble only.

use std::{
    any::Any,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use mainspring_core::{Delivery, Failure, MessageLease, Settle, WorkerId};
use tokio::{task::AbortHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Verdict,
    shared::{Shared, Slot},
};

/// What is known of every delivery in flight, so that a stuck one can be replaced.
#[derive(Default)]
pub(crate) struct Flights {
    next: AtomicU64,
    table: Mutex<HashMap<u64, Flight>>,
}

struct Flight {
    since: Instant,
    lease: MessageLease,
    failures: u32,
    cancel: CancellationToken,
    slot: Slot,
    task: Option<AbortHandle>,
}

impl Flights {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Flight>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes off: the number of the flight.
    pub(crate) fn begin(&self, delivery: &Delivery, cancel: CancellationToken, slot: Slot) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let flight = Flight {
            since: Instant::now(),
            lease: delivery.lease.clone(),
            failures: delivery.failures,
            cancel,
            slot,
            task: None,
        };
        self.table().insert(number, flight);
        number
    }

    /// Names the task of a flight, unless it has landed already.
    pub(crate) fn runs_as(&self, number: u64, task: AbortHandle) {
        if let Some(flight) = self.table().get_mut(&number) {
            flight.task = Some(task);
        }
    }

    /// Cancels the older flights of a holder when one of `claimed` is among them: it was found dead and its leases were taken
    /// back before it noticed, and then it claimed its own message again.
    pub(crate) fn cancel_superseded(&self, holder: &WorkerId, claimed: &[Delivery]) {
        let table = self.table();
        let older = || table.values().filter(|flight| flight.slot.held.0.holder == *holder);
        if older().any(|flight| claimed.iter().any(|delivery| delivery.lease.seq == flight.lease.seq)) {
            tracing::warn!(holder = %holder, in_flight = table.len(), "found dead without noticing; cancels what it had");
            older().for_each(|flight| flight.cancel.cancel());
        }
    }

    fn end(&self, number: u64) -> Option<Flight> {
        self.table().remove(&number)
    }

    /// Forgets all flights, whose tasks were aborted.
    pub(crate) fn clear(&self) {
        self.table().clear();
    }

    fn take_stuck(&self, longer_than: Duration) -> Vec<Flight> {
        let mut table = self.table();
        table.extract_if(|_, flight| flight.since.elapsed() > longer_than).map(|(_, flight)| flight).collect()
    }
}

/// Delivers, and hands the verdict on.
pub(crate) async fn fly(shared: Arc<Shared>, number: u64, delivery: Delivery, cancel: CancellationToken) {
    let failures = delivery.failures;
    let worn_out = delivery.lost >= shared.options.max_lost;
    let call = async {
        match worn_out {
            true => shared.deliver.lost(delivery).await,
            false => shared.deliver.deliver(delivery, cancel).await,
        }
    };
    let verdict = AssertUnwindSafe(call).catch_unwind().await;
    let Some(flight) = shared.flights.end(number) else {
        tracing::warn!("a delivery that had been given up as stuck has ended; its verdict is dropped");
        return;
    };
    let verdict = verdict.unwrap_or_else(|panic| {
        let message = panic_text(panic.as_ref());
        tracing::error!(panic = %message, seq = flight.lease.seq, "a handler panicked");
        retry(failures, Failure::new("PANIC", message))
    });
    land(&shared, flight, verdict);
}

fn land(shared: &Shared, flight: Flight, verdict: Verdict) {
    match verdict {
        Verdict::Settle(settlement) => shared.finish(Settle { lease: flight.lease, settlement }, flight.slot),
        Verdict::Committed => {}
        Verdict::Abandoned => {
            let term = &flight.slot.held.0;
            // Given up although the lease may well be there: the term gives it back.
            if !term.is_lost() && !term.cancel.is_cancelled() {
                shared.terms.retire(term);
            }
        }
    }
}

/// Cancels deliveries that run too long and frees their slots; what they still say is dropped.
pub(crate) fn replace_stuck(shared: &Shared) {
    let Some(longest) = shared.options.stuck_after else { return };
    for flight in shared.flights.take_stuck(longest) {
        tracing::error!(seq = flight.lease.seq, after = ?longest, "a delivery is stuck; its slot is replaced");
        flight.cancel.cancel();
        if let Some(task) = &flight.task {
            task.abort();
        }
        let verdict =
            retry(flight.failures, Failure::new("STUCK", format!("still running after {longest:?}")));
        land(shared, flight, verdict);
    }
}

fn retry(failures: u32, error: Failure) -> Verdict {
    Verdict::Settle(mainspring_core::Settlement::RetryAfter { delay: crate::retry_delay(failures), error })
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}

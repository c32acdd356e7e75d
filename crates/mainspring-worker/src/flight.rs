//! Deliveries in their handlers' hands: what is known of each, so that a stuck one can be reported and replaced.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Delivery, Failure, MessageId, MessageLease, Settle, WorkerId, trace::TraceContext};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Verdict,
    crew::{Item, Post},
    deliver::retry,
    event::Event,
    shared::{Finished, Shared, Slot},
    snapshot::Running,
};

/// All that are under way.
#[derive(Default)]
pub(crate) struct Flights {
    next: AtomicU64,
    table: Mutex<HashMap<u64, Flight>>,
}

/// One delivery, or one batch.
pub(crate) struct Flight {
    since: Instant,
    pub(crate) parts: Vec<Part>,
    cancel: CancellationToken,
    post: Arc<Post>,
    /// When it is given up whether it ends or not, and the code of that failure.
    give_up: Option<(Instant, &'static str)>,
    reported: bool,
    /// The span of this try.
    tried: Option<TraceContext>,
}

/// How a flight is to be.
pub(crate) struct Plan {
    /// Whether somebody wants to hear of the deliveries.
    pub(crate) listened: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) post: Arc<Post>,
    pub(crate) give_up: Option<(Duration, &'static str)>,
    pub(crate) tried: Option<TraceContext>,
}

/// What is known of a delivery while its handler has it.
pub(crate) struct Part {
    lease: MessageLease,
    pub(crate) id: MessageId,
    message_type: String,
    attempt: u32,
    failures: u32,
    last_try: bool,
    slot: Slot,
    /// For listeners, when there are any.
    told: Option<Arc<Delivery>>,
}

impl Part {
    fn new(item: Item, listened: bool) -> (Delivery, Self) {
        let Item { delivery, slot } = item;
        let part = Self {
            lease: delivery.lease.clone(),
            id: delivery.message.id.clone(),
            message_type: delivery.message.message_type.clone(),
            attempt: delivery.attempt(),
            failures: delivery.failures,
            last_try: delivery.is_last_try(),
            slot,
            told: listened.then(|| Arc::new((*delivery).clone())),
        };
        (*delivery, part)
    }
}

impl Flights {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Flight>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes off: the number of the flight, and what to hand to the handler.
    pub(crate) fn begin(&self, items: Vec<Item>, plan: Plan) -> (u64, Vec<Delivery>) {
        let Plan { listened, cancel, post, give_up, tried } = plan;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (deliveries, parts) = items.into_iter().map(|item| Part::new(item, listened)).unzip();
        let since = Instant::now();
        let give_up = give_up.and_then(|(after, code)| Some((since.checked_add(after)?, code)));
        self.table().insert(number, Flight { since, parts, cancel, post, give_up, reported: false, tried });
        (number, deliveries)
    }

    /// Cancels the older flights of a holder when one of `claimed` is among them: it was found dead and its leases were taken
    /// back before it noticed, and then it claimed its own message again. Whether that was so.
    pub(crate) fn cancel_superseded(&self, holder: &WorkerId, claimed: &[Delivery]) -> bool {
        let table = self.table();
        let older = || {
            table.values().filter(|flight| flight.parts.iter().any(|part| part.slot.held.0.holder == *holder))
        };
        let again = |part: &Part| claimed.iter().any(|delivery| delivery.lease.seq == part.lease.seq);
        if table.is_empty() || !older().any(|flight| flight.parts.iter().any(again)) {
            return false;
        }
        tracing::warn!(holder = %holder, in_flight = table.len(), "found dead without noticing; cancels what it had");
        older().for_each(|flight| flight.cancel.cancel());
        true
    }

    /// Cancels the flight this delivery is in: its lease is lost.
    pub(crate) fn cancel(&self, lease: &MessageLease) {
        let table = self.table();
        let its = table.values().filter(|flight| flight.parts.iter().any(|part| part.lease == *lease));
        its.for_each(|flight| flight.cancel.cancel());
    }

    pub(crate) fn end(&self, number: u64) -> Option<Flight> {
        self.table().remove(&number)
    }

    /// Forgets all flights, whose tasks were aborted.
    pub(crate) fn clear(&self) {
        self.table().clear();
    }

    /// What is running, the longest first.
    pub(crate) fn running(&self) -> Vec<Running> {
        let table = self.table();
        let of = |flight: &Flight| {
            let running = flight.since.elapsed();
            let one = move |part: &Part| Running {
                id: part.id.clone(),
                message_type: part.message_type.clone(),
                attempt: part.attempt,
                running,
            };
            flight.parts.iter().map(one).collect::<Vec<_>>()
        };
        let mut all: Vec<Running> = table.values().flat_map(of).collect();
        all.sort_by_key(|running| std::cmp::Reverse(running.running));
        all
    }

    fn take_stuck(&self) -> Vec<Flight> {
        let now = Instant::now();
        let over = |flight: &Flight| flight.give_up.is_some_and(|(at, _)| at < now);
        self.table().extract_if(|_, flight| over(flight)).map(|(_, flight)| flight).collect()
    }

    /// Tells once of each that runs for longer than `after`; how many those are.
    fn report(&self, after: Duration, tell: impl Fn(&Part, Duration)) -> u32 {
        let mut long = 0;
        for flight in self.table().values_mut() {
            let running = flight.since.elapsed();
            long += u32::from(running > after);
            if running > after && !std::mem::replace(&mut flight.reported, true) {
                flight.parts.iter().for_each(|part| tell(part, running));
            }
        }
        long
    }
}

impl Flight {
    /// Whether the leases of the flight are lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.parts.iter().all(|part| part.slot.held.0.is_lost())
    }

    /// Hands the verdicts on, in the order of the deliveries.
    pub(crate) fn land(self, shared: &Shared, verdicts: impl IntoIterator<Item = Verdict>) {
        for (part, verdict) in self.parts.into_iter().zip(verdicts) {
            part.land(shared, verdict, self.tried.clone());
        }
    }
}

impl Part {
    fn land(self, shared: &Shared, verdict: Verdict, tried: Option<TraceContext>) {
        let settlement = match verdict {
            Verdict::Settle(settlement) => settlement,
            Verdict::Failed(error) => retry(self.failures, error),
            Verdict::Committed => {
                shared.meter.committed.increment(1);
                shared.tell_of(&self.told, Event::Committed);
                return;
            }
            Verdict::Abandoned if self.slot.held.0.is_lost() => return shared.lost(&self.told),
            Verdict::Abandoned => mainspring_core::Settlement::PutBack,
        };
        let settle = Settle { lease: self.lease.clone(), settlement, tried };
        let Self { slot, told, last_try, .. } = self;
        shared.finish(Finished { settle, slot, told, last_try, unknown: false, corrected: false });
    }
}

/// Reports deliveries that run for long. Those that run for too long are cancelled and replaced; what they still say is
/// dropped.
pub(crate) fn look_for_stuck(shared: &Arc<Shared>) {
    let long = shared.flights.report(shared.options.report_after, |part, running| {
        tracing::warn!(message = %part.id, message_type = part.message_type, ?running, "a delivery runs for long");
        shared.tell_of(&part.told, |delivery| Event::Stuck { delivery, running, replaced: false });
    });
    shared.meter.stuck.set(long);
    for flight in shared.flights.take_stuck() {
        let (running, code) = (flight.since.elapsed(), flight.give_up.map_or("STUCK", |(_, code)| code));
        for part in &flight.parts {
            tracing::error!(message = %part.id, message_type = part.message_type, ?running, "a delivery is stuck; it is replaced");
            shared.tell_of(&part.told, |delivery| Event::Stuck { delivery, running, replaced: true });
        }
        flight.cancel.cancel();
        flight.post.abort();
        flight.post.relieve(&shared.crew);
        let verdict = Verdict::Failed(Failure::new(code, format!("still running after {running:?}")));
        let verdicts = vec![verdict; flight.parts.len()];
        flight.land(shared, verdicts);
        crate::runner::start(shared);
    }
}

//! What the tasks of one running worker share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use mainspring_core::{Delivery, Error, QueueDriver, Result, Settle, Timestamp};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use crate::{
    Deliver,
    crew::Crew,
    event::{Activity, Counts, Event, Listeners},
    flight::Flights,
    meter::Meter,
    options::Options,
    seat::{Seat, Seats},
    term::{Held, Terms},
    touch::{Beat, Touches},
};

pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn QueueDriver>,
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) options: Options,
    pub(crate) clock: Option<Clock>,
    pub(crate) listeners: Listeners,
    pub(crate) counts: Counts,
    pub(crate) meter: Meter,
    /// Places for what is claimed and not settled.
    pub(crate) room: Arc<Semaphore>,
    /// One place for what may be what kills its workers.
    pub(crate) suspects: Arc<Semaphore>,
    pub(crate) terms: Terms,
    pub(crate) flights: Flights,
    pub(crate) touches: Arc<Touches>,
    pub(crate) seats: Seats,
    pub(crate) crew: Crew,
    pub(crate) tasks: Mutex<JoinSet<()>>,
    pub(crate) stopping: AtomicBool,
    /// Handed to the task that settles and not yet settled.
    pub(crate) unsettled: AtomicUsize,
    /// There may be something to claim.
    pub(crate) poke: Notify,
    /// To the task that settles.
    pub(crate) finished: mpsc::UnboundedSender<Finished>,
}

/// A delivery that is to be settled; its place is free when it has been.
pub(crate) struct Finished {
    pub(crate) settle: Settle,
    pub(crate) slot: Slot,
    /// For listeners, when there are any.
    pub(crate) told: Option<Arc<Delivery>>,
    /// A failure uses up its attempts.
    pub(crate) last_try: bool,
    /// An earlier attempt to settle it may have worked.
    pub(crate) unknown: bool,
    /// It says what we put there, because what the handler said cannot be stored.
    pub(crate) corrected: bool,
}

/// Room for one delivery, and the count of it in its term.
pub(crate) struct Slot {
    pub(crate) held: Held,
    pub(crate) _permit: OwnedSemaphorePermit,
    /// Held by the one suspect in flight.
    pub(crate) _alone: Option<OwnedSemaphorePermit>,
    /// Has it touched while it is held.
    pub(crate) _beat: Option<Beat>,
    /// Its place among those of its group.
    pub(crate) _seat: Option<Seat>,
}

impl Shared {
    /// Hands a delivery to the task that settles. Nobody is there only when the worker is being dropped.
    pub(crate) fn finish(&self, finished: Finished) {
        self.unsettled.fetch_add(1, Ordering::Relaxed);
        drop(self.finished.send(finished));
    }

    pub(crate) fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `count` places, waiting for as long as it takes.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub(crate) async fn take_room(&self, count: usize) -> Result<OwnedSemaphorePermit> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Arc::clone(&self.room)
            .acquire_many_owned(count)
            .await
            .map_err(|e| Error::internal("the places of the worker are closed").with_source(e))
    }

    /// Tells listeners of a delivery that was kept for them.
    pub(crate) fn tell_of<'a>(
        &self,
        told: &'a Option<Arc<Delivery>>,
        event: impl FnOnce(&'a Delivery) -> Event<'a>,
    ) {
        if let Some(delivery) = told {
            self.listeners.tell(event(delivery));
        }
    }

    /// The lease of a delivery was lost.
    pub(crate) fn lost(&self, told: &Option<Arc<Delivery>>) {
        self.counts.lost.add(1);
        self.meter.lost.increment(1);
        self.tell_of(told, Event::Lost);
    }

    /// The lease of a delivery was lost before its handler had it.
    pub(crate) fn lost_unbegun(&self, delivery: &Delivery) {
        self.counts.lost.add(1);
        self.meter.lost.increment(1);
        self.listeners.tell(Event::Lost(delivery));
    }

    /// Something did not work and will be tried again.
    pub(crate) fn failing(&self, what: Activity, error: &Error) {
        tracing::warn!(error = %error.chain(), queue = self.options.queue, "{what} does not work now");
        self.listeners.tell(Event::Failing { what, error });
    }
}

//! What the tasks of one running worker share.

use std::sync::Arc;

use mainspring_core::{Error, QueueDriver, Result, Settle, Timestamp};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    Deliver,
    flight::Flights,
    options::Options,
    term::{Held, Terms},
};

pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn QueueDriver>,
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) options: Options,
    pub(crate) clock: Option<Clock>,
    pub(crate) slots: Arc<Semaphore>,
    /// One place for what may be what kills its workers.
    pub(crate) suspects: Arc<Semaphore>,
    pub(crate) terms: Terms,
    pub(crate) flights: Flights,
    /// There may be something to claim.
    pub(crate) poke: Notify,
    /// To the task that settles.
    pub(crate) finished: mpsc::UnboundedSender<Finished>,
}

/// A delivery that is to be settled; its slot is free when it has been.
pub(crate) struct Finished {
    pub(crate) settle: Settle,
    pub(crate) slot: Slot,
}

/// Room for one delivery, and the count of it in its term.
pub(crate) struct Slot {
    pub(crate) held: Held,
    pub(crate) _permit: OwnedSemaphorePermit,
    /// Held by the one suspect in flight.
    pub(crate) _alone: Option<OwnedSemaphorePermit>,
}

impl Shared {
    pub(crate) fn everything(&self) -> u32 {
        u32::try_from(self.options.concurrency).unwrap_or(u32::MAX)
    }

    /// Hands a delivery to the task that settles. Nobody is there only when the worker is being dropped.
    pub(crate) fn finish(&self, settle: Settle, slot: Slot) {
        drop(self.finished.send(Finished { settle, slot }));
    }

    /// `count` slots, waiting for as long as it takes.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub(crate) async fn take_slots(&self, count: u32) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.slots)
            .acquire_many_owned(count)
            .await
            .map_err(|e| Error::internal("the slots of the worker are closed").with_source(e))
    }
}

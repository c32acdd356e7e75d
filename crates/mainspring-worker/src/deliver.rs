//! What a worker drives: something that takes a delivery and says what becomes of it.

use mainspring_core::{BoxFuture, Delivery, Failure, Result, Settlement};
use tokio_util::sync::CancellationToken;

use crate::retry_delay;

/// Takes deliveries. One value serves all deliveries of a worker at once.
pub trait Deliver: Send + Sync + 'static {
    /// Handles one delivery. `cancel` fires when its lease is lost or the worker stops: whatever is still done then does
    /// not count. A panic is the delivery's failure with the code `PANIC`.
    fn deliver(&self, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict>;

    /// Decides about a delivery whose worker died so often that running it again is not worth another worker. Defaults to
    /// a dead letter with the code `WORKER_LOST`.
    fn lost(&self, delivery: Delivery) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let message = format!("{} workers died while they ran this message", delivery.lost);
            Verdict::Settle(Settlement::DeadLetter(Failure::new("WORKER_LOST", message)))
        })
    }

    /// Called at every heartbeat, after the leases were extended.
    fn beat(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Called at every round of upkeep, beside the queue's own.
    ///
    /// # Errors
    /// Any: it is logged and tried again in the next round.
    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The worker settles it, together with others.
    Settle(Settlement),
    /// It was settled in the handler's own commit.
    Committed,
    /// Its lease was lost or given up: nothing is to be settled.
    Abandoned,
}

impl Verdict {
    /// It failed: again after [`retry_delay`], or dead-lettered when its attempts are used up.
    pub fn failed(delivery: &Delivery, error: Failure) -> Self {
        Self::Settle(Settlement::RetryAfter { delay: retry_delay(delivery.failures), error })
    }
}

impl From<Settlement> for Verdict {
    fn from(settlement: Settlement) -> Self {
        Self::Settle(settlement)
    }
}

/// A [`Deliver`] made of an async function.
pub fn deliver_fn<F, Fut>(function: F) -> DeliverFn<F>
where
    F: Fn(Delivery, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    DeliverFn(function)
}

/// See [`deliver_fn`].
pub struct DeliverFn<F>(F);

impl<F, Fut> Deliver for DeliverFn<F>
where
    F: Fn(Delivery, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    fn deliver(&self, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin((self.0)(delivery, cancel))
    }
}

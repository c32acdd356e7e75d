//! What a worker drives: something that takes deliveries and says what becomes of them.

use std::collections::HashMap;

use mainspring_core::{BoxFuture, Delivery, Failure, MessageId, Result, Settlement};
use tokio_util::sync::CancellationToken;

use crate::retry_delay;

/// Takes deliveries. One value serves all deliveries of a worker at once.
pub trait Deliver: Send + Sync + 'static {
    /// Handles one delivery. `cancel` fires when its lease is lost, its time is over or the worker stops: whatever is still
    /// done then does not count. A panic is the delivery's failure with the code `PANIC`.
    fn deliver(&self, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict>;

    /// Handles several deliveries at once, at most [`batch_size`](crate::Worker::batch_size), in the order of their claim;
    /// called instead of [`deliver`](Self::deliver) when that is more than one. A panic is the failure of all of them.
    /// Defaults to one after the other.
    fn deliver_batch(
        &self,
        deliveries: Vec<Delivery>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, BatchVerdict> {
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(deliveries.len());
            for delivery in deliveries {
                let id = delivery.message.id.clone();
                verdicts.push((id, self.deliver(delivery, cancel.clone()).await));
            }
            BatchVerdict::Each(verdicts)
        })
    }

    /// Decides about a delivery whose worker died so often that running it again is not worth another worker. Defaults to
    /// a dead letter with the code `WORKER_LOST`.
    fn lost(&self, delivery: Delivery) -> BoxFuture<'_, Verdict> {
        Box::pin(async move { Verdict::Settle(Settlement::DeadLetter(worker_lost(&delivery))) })
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
    /// It failed: again later, or dead-lettered when its attempts are used up.
    Failed(Failure),
    /// It was settled in the handler's own commit.
    Committed,
    /// Its lease was lost, or it is given up without a result: when it is still held it is put back.
    Abandoned,
}

impl Verdict {
    /// It failed: again after [`retry_delay`], or dead-lettered when its attempts are used up.
    pub fn failed(delivery: &Delivery, error: Failure) -> Self {
        Self::Settle(retry(delivery.failures, error))
    }

    /// Why the delivery is dead-lettered when this is settled; `None` when it is not.
    pub fn gives_up(&self, delivery: &Delivery) -> Option<&Failure> {
        match self {
            Self::Settle(Settlement::DeadLetter(error)) => Some(error),
            Self::Settle(Settlement::Retry { error } | Settlement::RetryAfter { error, .. })
            | Self::Failed(error) => delivery.is_last_try().then_some(error),
            _ => None,
        }
    }
}

/// Why a delivery is given up that cost too many workers.
pub fn worker_lost(delivery: &Delivery) -> Failure {
    Failure::new("WORKER_LOST", format!("{} workers died while they ran this message", delivery.lost))
}

/// How a failure is settled where its handler asks for nothing else.
pub(crate) fn retry(failures: u32, error: Failure) -> Settlement {
    Settlement::RetryAfter { delay: retry_delay(failures), error }
}

impl From<Settlement> for Verdict {
    fn from(settlement: Settlement) -> Self {
        Self::Settle(settlement)
    }
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchVerdict {
    /// All of them are done.
    Done,
    /// All of them failed.
    Failed(Failure),
    /// Each for itself. What is left out has failed with the code `OMITTED`; an id that is not of the batch is ignored.
    Each(Vec<(MessageId, Verdict)>),
}

impl BatchVerdict {
    /// The verdicts in the order of the batch.
    pub(crate) fn spread(self, ids: &[MessageId]) -> Vec<Verdict> {
        let each = match self {
            Self::Done => return vec![Verdict::Settle(Settlement::Done); ids.len()],
            Self::Failed(error) => return vec![Verdict::Failed(error); ids.len()],
            Self::Each(each) => each,
        };
        let mut by_id: HashMap<MessageId, Vec<Verdict>> = HashMap::with_capacity(each.len());
        for (id, verdict) in each.into_iter().rev() {
            by_id.entry(id).or_default().push(verdict); // of several with one id the first comes first
        }
        let omitted =
            || Verdict::Failed(Failure::new("OMITTED", "the batch handler said nothing of this message"));
        let verdicts =
            ids.iter().map(|id| by_id.get_mut(id).and_then(Vec::pop).unwrap_or_else(omitted)).collect();
        let strangers = by_id.values().map(Vec::len).sum::<usize>();
        if strangers > 0 {
            tracing::warn!(strangers, "a batch handler answered for messages that are not of its batch");
        }
        verdicts
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

/// A [`Deliver`] made of an async function that takes batches.
pub fn deliver_batch_fn<F, Fut>(function: F) -> DeliverBatchFn<F>
where
    F: Fn(Vec<Delivery>, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = BatchVerdict> + Send + 'static,
{
    DeliverBatchFn(function)
}

/// See [`deliver_batch_fn`].
pub struct DeliverBatchFn<F>(F);

impl<F, Fut> Deliver for DeliverBatchFn<F>
where
    F: Fn(Vec<Delivery>, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = BatchVerdict> + Send + 'static,
{
    fn deliver(&self, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let id = [delivery.message.id.clone()];
            let mut verdicts = (self.0)(vec![delivery], cancel).await.spread(&id);
            verdicts.pop().unwrap_or(Verdict::Abandoned)
        })
    }

    fn deliver_batch(
        &self,
        deliveries: Vec<Delivery>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, BatchVerdict> {
        Box::pin((self.0)(deliveries, cancel))
    }
}

//! The worker on the memory backend: what holds when all is well, and when handlers, workers and queues misbehave.
//!
//! Tokio's clock is paused in most tests: it jumps to the next timer when every task is idle, so nothing here takes time.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod batches;
mod beats;
mod events;
mod faults;
mod flaky;
mod life;
mod stops;
mod traces;

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    ClaimRequest, DeadLetter, Delivery, NewMessage, QueueDriver, QueueStats, Settlement, WorkerId,
};
use mainspring_testing::MemoryBackend;
use mainspring_worker::{Verdict, Worker, deliver_fn};
use serde_json::json;

const QUEUE: &str = "default";

fn backend() -> Arc<MemoryBackend> {
    Arc::new(MemoryBackend::new())
}

async fn push(queue: &dyn QueueDriver, count: usize) {
    let messages =
        (0..count).map(|n| NewMessage { max_attempts: Some(1), ..NewMessage::new(QUEUE, "test", json!(n)) });
    queue.push(messages.collect()).await.unwrap();
}

fn worker<F, Fut>(queue: &Arc<MemoryBackend>, handler: F) -> Worker
where
    F: Fn(Delivery, tokio_util::sync::CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    Worker::new(Arc::clone(queue) as Arc<dyn QueueDriver>, Arc::new(deliver_fn(handler)))
}

async fn stats(queue: &dyn QueueDriver) -> QueueStats {
    queue.stats(QUEUE).await.unwrap()
}

async fn only_dead(queue: &dyn QueueDriver) -> DeadLetter {
    let mut dead = queue.dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    dead.remove(0)
}

/// Claims one message under another name.
async fn claim_as(queue: &dyn QueueDriver, holder: &WorkerId, lease: Duration) -> Delivery {
    let request = ClaimRequest::new(QUEUE, holder.clone(), lease, 1);
    queue.claim(request).await.unwrap().deliveries.remove(0)
}

fn done() -> Verdict {
    Verdict::Settle(Settlement::Done)
}

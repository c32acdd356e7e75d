//! Handlers that take several deliveries at once (Q26, Q27, Q30).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{Delivery, Failure, MessageId, NewMessage, QueueDriver, QueueStats, Settlement};
use mainspring_worker::{BatchVerdict, Verdict, Worker, deliver_batch_fn};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{QUEUE, backend, done, push, stats};

fn batches<F, Fut>(queue: &Arc<mainspring_testing::MemoryBackend>, size: usize, handler: F) -> Worker
where
    F: Fn(Vec<Delivery>, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = BatchVerdict> + Send + 'static,
{
    let queue = Arc::clone(queue) as Arc<dyn QueueDriver>;
    Worker::new(queue, Arc::new(deliver_batch_fn(handler))).batch_size(size)
}

fn id(n: u64) -> MessageId {
    MessageId::new(format!("m{n}")).unwrap()
}

async fn push_named(queue: &dyn QueueDriver, count: u64) {
    let message =
        |n| NewMessage { id: id(n), max_attempts: Some(2), ..NewMessage::new(QUEUE, "test", json!(n)) };
    queue.push((0..count).map(message).collect()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_what_is_there_and_never_more_than_it_may_be() {
    // Q27, Q30
    let queue = backend();
    push(&*queue, 25).await;
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let sizes = Arc::clone(&sizes);
        move |batch: Vec<Delivery>, _| {
            let numbers: Vec<_> = batch.iter().map(|d| d.message.data.as_u64().unwrap()).collect();
            assert!(numbers.is_sorted(), "in the order of the claim: {numbers:?}");
            sizes.lock().unwrap().push(batch.len());
            async { BatchVerdict::Done }
        }
    };
    assert_eq!(batches(&queue, 10, handler).concurrency(1).drain().await.unwrap(), 25);
    assert_eq!(*sizes.lock().unwrap(), [10, 10, 5]);
    assert_eq!(stats(&*queue).await, QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn every_message_of_a_batch_has_its_own_verdict() {
    // Q26: complete, fail, dead letter, omitted, and an answer for a stranger
    let queue = backend();
    push_named(&*queue, 5).await;
    let handler = |batch: Vec<Delivery>, _| async move {
        if batch.len() == 1 {
            return BatchVerdict::Done; // the abandoned one, once more
        }
        let bad = || Failure::new("BAD", "no");
        BatchVerdict::Each(vec![
            (id(99), done()),
            (id(3), Verdict::Abandoned),
            (id(2), Settlement::DeadLetter(bad()).into()),
            (id(1), Verdict::Failed(bad())),
            (id(0), done()),
        ])
    };
    let worker = batches(&queue, 5, handler).start().unwrap();
    while worker.snapshot().completed < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    worker.stop().await.unwrap();
    let dead = queue.dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].message.id, dead[0].failures), (&id(2), 0));
    // Failed and omitted come again later; the abandoned one was put back and is done by now.
    assert_eq!(stats(&*queue).await, QueueStats { deferred: 2, dead: 1, ..QueueStats::default() });
    queue.advance(Duration::from_secs(60));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let seen = Arc::clone(&seen);
        move |batch: Vec<Delivery>, _| {
            seen.lock().unwrap().extend(batch.iter().map(|d| (d.message.id.clone(), d.failures)));
            async { BatchVerdict::Failed(Failure::new("ALL", "all of them")) }
        }
    };
    batches(&queue, 5, handler).drain().await.unwrap();
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(seen, [(id(1), 1), (id(4), 1)]);
    let codes: Vec<_> =
        queue.dead_letters(QUEUE, 10).await.unwrap().into_iter().map(|d| d.reason.code).collect();
    assert_eq!(codes.iter().filter(|code| *code == "ALL").count(), 2, "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_panics_or_takes_too_long_fails_as_a_whole() {
    // Q26, Q27, Q11
    for code in ["PANIC", "TIMEOUT"] {
        let queue = backend();
        push(&*queue, 4).await; // one attempt each
        let handler = move |_, cancel: CancellationToken| async move {
            assert_ne!(code, "PANIC", "as it should");
            cancel.cancelled().await;
            BatchVerdict::Done // too late
        };
        let worker = batches(&queue, 4, handler).timeout(Duration::from_secs(5));
        assert_eq!(worker.drain().await.unwrap(), 4);
        let dead = queue.dead_letters(QUEUE, 10).await.unwrap();
        assert!(dead.len() == 4 && dead.iter().all(|dead| dead.reason.code == code), "{dead:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_single_deliveries_takes_batches_too() {
    let queue = backend();
    push(&*queue, 7).await;
    let worker = crate::worker(&queue, |_, _| async { done() }).batch_size(3).concurrency(2);
    assert_eq!(worker.drain().await.unwrap(), 7);
    assert_eq!(stats(&*queue).await, QueueStats::default());
}

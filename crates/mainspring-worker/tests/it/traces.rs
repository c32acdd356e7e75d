//! A try is in the trace of its message, and what its handler pushes goes on with it.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Failure, NewMessage, QueueDriver, Settlement,
    trace::{self, TRACEPARENT, TraceContext},
};
use mainspring_testing::Spans;
use mainspring_worker::{BatchVerdict, Verdict, Worker, deliver_batch_fn};
use serde_json::json;
use tracing::subscriber::set_default;

use crate::{QUEUE, backend, done, worker};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced(n: usize, parent: &str) -> NewMessage {
    let mut message = NewMessage::new(QUEUE, "test", json!(n));
    message.headers.insert(TRACEPARENT.to_owned(), json!(parent));
    message
}

/// Nobody exports spans here.
#[tokio::test(start_paused = true)]
async fn a_context_is_passed_through_where_nobody_traces() {
    let queue = backend();
    queue
        .push(vec![traced(1, PARENT), traced(2, "00-1-1-01"), NewMessage::new(QUEUE, "test", json!(3))])
        .await
        .unwrap();
    let theirs = Arc::clone(&queue);
    let pushes = worker(&queue, move |delivery, _| {
        let queue = Arc::clone(&theirs);
        async move {
            tokio::task::yield_now().await;
            queue.push(vec![NewMessage::new("next", "test", delivery.message.data)]).await.unwrap();
            done()
        }
    });
    assert_eq!(pushes.concurrency(3).drain().await.unwrap(), 3);
    assert_eq!(trace::current(), None);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let theirs = Arc::clone(&seen);
    let reads = worker(&queue, move |delivery, _| {
        theirs.lock().unwrap().push((delivery.message.data, TraceContext::of(&delivery.message.headers)));
        async { done() }
    });
    reads.queue("next").drain().await.unwrap();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort_by_key(|(n, _)| n.as_u64());
    assert_eq!(seen, [(json!(1), TraceContext::parse(PARENT, None)), (json!(2), None), (json!(3), None)]);
}

#[tokio::test(start_paused = true)]
async fn the_span_of_a_try_says_where_it_came_from_and_what_came_of_it() {
    let spans = Spans::default();
    let _guard = set_default(spans.clone());
    let queue = backend();
    queue.push(vec![traced(1, PARENT)]).await.unwrap();
    let fails_once = worker(&queue, |delivery, _| async move {
        match delivery.attempt() {
            1 => Verdict::failed(&delivery, Failure::new("BOOM", "canary")),
            _ => done(),
        }
    });
    assert_eq!(fails_once.drain().await.unwrap(), 1);
    queue.advance(Duration::from_secs(3));
    queue.maintain().await.unwrap();
    let ends = worker(&queue, |_, _| async { Verdict::Settle(Settlement::Done) });
    assert_eq!(ends.drain().await.unwrap(), 1);
    let tries = spans.named("mainspring.deliver");
    let said: Vec<_> = tries
        .iter()
        .map(|span| (span.field("attempt"), span.field("outcome"), span.field("error")))
        .collect();
    assert_eq!(said, [(Some("1"), Some("failed"), Some("BOOM")), (Some("2"), Some("completed"), None)]);
    for span in tries {
        assert_eq!((span.field("traceparent"), span.field("queue")), (Some(PARENT), Some(QUEUE)));
        assert_eq!((&span.parent, span.field("messages")), (&None, Some("1")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_linked_to_the_traces_of_all_its_messages() {
    let spans = Spans::default();
    let _guard = set_default(spans.clone());
    let queue = backend();
    let other = PARENT.replace("b7ad", "b7ae");
    queue.push(vec![traced(1, PARENT), traced(2, "none"), traced(3, &other)]).await.unwrap();
    let handler = deliver_batch_fn(|_, _| async { BatchVerdict::Done });
    let batches = Worker::new(queue, Arc::new(handler)).batch_size(3);
    assert_eq!(batches.drain().await.unwrap(), 3);
    let tries = spans.named("mainspring.deliver");
    assert_eq!(tries.len(), 1);
    assert_eq!(tries[0].field("links"), Some(&*format!("{PARENT} {other}")));
    assert_eq!((tries[0].field("traceparent"), tries[0].field("outcome")), (None, Some("completed")));
}

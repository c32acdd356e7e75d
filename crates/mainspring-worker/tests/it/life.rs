//! From start to stop: delivering, idling, draining, stopping.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Available, Backend, NewMessage, QueueDriver, QueueStats};
use mainspring_worker::{Verdict, Worker};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::{QUEUE, backend, done, push, stats, worker};

#[tokio::test(start_paused = true)]
async fn every_message_is_delivered_once_and_never_more_than_the_slots_allow() {
    let queue = backend();
    push(&*queue, 250).await;
    let (seen, now, most) =
        (Arc::new(Mutex::new(HashSet::new())), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (seen, now, most) = (Arc::clone(&seen), Arc::clone(&now), Arc::clone(&most));
        move |delivery: mainspring_core::Delivery, _| {
            let (seen, now, most) = (Arc::clone(&seen), Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                assert!(seen.lock().unwrap().insert(delivery.message.id), "twice");
                done()
            }
        }
    };
    assert_eq!(worker(&queue, handler).concurrency(7).drain().await.unwrap(), 250);
    assert_eq!((seen.lock().unwrap().len(), most.load(Ordering::SeqCst)), (250, 7));
    assert_eq!(stats(&*queue).await, QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn options_out_of_range_are_refused_by_name() {
    type Set = fn(Worker) -> Worker;
    let cases: [(&str, Set); 14] = [
        ("worker.concurrency", |w| w.concurrency(0)),
        ("worker.concurrency", |w| w.concurrency(10_001)),
        ("worker.batch_size", |w| w.batch_size(0)),
        ("worker.batch_size", |w| w.batch_size(1_001)),
        ("worker.prefetch", |w| w.prefetch(100_001)),
        ("worker.timeout", |w| w.timeout(Duration::ZERO)),
        ("worker.report_after", |w| w.report_after(Duration::MAX)),
        ("worker.lease", |w| w.lease(Duration::from_millis(99))),
        ("worker.poll_interval", |w| w.poll_interval(Duration::ZERO)),
        ("worker.maintenance_interval", |w| w.maintenance_interval(Duration::MAX)),
        ("worker.grace", |w| w.grace(Duration::MAX)),
        ("worker.max_lost", |w| w.max_lost(0)),
        ("worker.stuck_after", |w| w.stuck_after(Duration::ZERO)),
        ("worker.queue", |w| w.queue("")),
    ];
    for (field, set) in cases {
        let error = set(worker(&backend(), |_, _| async { done() })).drain().await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().starts_with(field), "{field}: {error}");
    }
    assert!(worker(&backend(), |_, _| async { done() }).concurrency(0).start().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_sees_a_new_message_and_a_due_one() {
    let queue = backend();
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let handler = move |delivery: mainspring_core::Delivery, _| {
        seen.send(delivery.message.data.clone()).unwrap();
        async { done() }
    };
    let clock = Arc::clone(&queue);
    let running = worker(&queue, handler).clock(move || clock.now()).start().unwrap();
    push(&*queue, 1).await;
    assert_eq!(arrivals.recv().await.unwrap(), json!(0));
    let later = NewMessage {
        available: Available::After(Duration::from_secs(3600)),
        ..NewMessage::new(QUEUE, "t", json!("due"))
    };
    queue.push(vec![later]).await.unwrap();
    queue.advance(Duration::from_secs(3600));
    assert_eq!(arrivals.recv().await.unwrap(), json!("due"));
    assert_eq!(running.stop().await.unwrap(), 2);
    assert_eq!(stats(&*queue).await, QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_finishes_what_it_can_and_gives_back_the_rest_at_once() {
    // X11, fault F10
    let queue = backend();
    push(&*queue, 30).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |delivery: mainspring_core::Delivery, cancel: tokio_util::sync::CancellationToken| {
            let (started, gate) = (started.clone(), Arc::clone(&gate));
            async move {
                started.send(()).unwrap();
                match delivery.message.data.as_u64().unwrap() {
                    0..5 => drop(gate.acquire().await.unwrap()), // finishes within the grace period
                    5..8 => {
                        cancel.cancelled().await; // listens
                        return Verdict::Abandoned;
                    }
                    _ => std::future::pending().await, // does not
                }
                done()
            }
        }
    };
    let running = worker(&queue, handler).concurrency(10).grace(Duration::from_secs(2)).start().unwrap();
    for _ in 0..10 {
        starts.recv().await.unwrap();
    }
    gate.add_permits(5);
    assert_eq!(running.stop().await.unwrap(), 10);
    assert!(starts.try_recv().is_err(), "claimed after the stop");
    // Five are done; the others are ready for everyone, without a lease to wait for, and none counts as failed or lost.
    assert_eq!(stats(&*queue).await, QueueStats { ready: 25, ..QueueStats::default() });
    let left = worker(&queue, |delivery, _| async move {
        assert_eq!((delivery.failures, delivery.lost, delivery.delays), (0, 0, 0));
        done()
    });
    assert_eq!(left.drain().await.unwrap(), 25);
}

#[tokio::test(start_paused = true)]
async fn run_until_ends_with_its_signal() {
    let queue = backend();
    push(&*queue, 3).await;
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let handler = move |_, _| {
        seen.send(()).unwrap();
        async { done() }
    };
    let shutdown = async {
        for _ in 0..3 {
            arrivals.recv().await.unwrap();
        }
    };
    worker(&queue, handler).run_until(shutdown).await.unwrap();
    assert_eq!(stats(&*queue).await, QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_aborts_and_the_lease_expires() {
    // faults F01-F03: what a dead worker held is lost once, and found by the next.
    let queue = backend();
    push(&*queue, 1).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let handler = move |_, _| {
        started.send(()).unwrap();
        std::future::pending::<Verdict>()
    };
    let running = worker(&queue, handler).start().unwrap();
    starts.recv().await.unwrap();
    drop(running);
    assert_eq!(stats(&*queue).await.claimed, 1);
    queue.advance(Duration::from_secs(31));
    let next = worker(&queue, |delivery, _| async move {
        assert_eq!((delivery.attempt(), delivery.failures, delivery.lost), (2, 0, 1));
        done()
    });
    assert_eq!(next.drain().await.unwrap(), 1);
}

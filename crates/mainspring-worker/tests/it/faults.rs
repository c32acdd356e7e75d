//! Handlers that panic, fail and hang; workers that die and come back.

use std::{
    panic::panic_any,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Delivery, Failure, NewMessage, QueueDriver, QueueStats, Settle, Settlement, WorkerId};
use mainspring_worker::Verdict;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{QUEUE, backend, claim_as, done, only_dead, push, stats, worker};

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_failure_of_its_own_message_only() {
    // fault F82
    let kinds: [(fn(), &str); 3] = [
        (|| panic!("a str"), "a str"),
        (|| panic!("a {}", "String"), "a String"),
        (|| panic_any(7), "a panic without a text"),
    ];
    for (panic_now, text) in kinds {
        let queue = backend();
        push(&*queue, 3).await;
        let handler = move |delivery: Delivery, _| async move {
            if delivery.message.data == json!(1) {
                panic_now();
            }
            done()
        };
        assert_eq!(worker(&queue, handler).drain().await.unwrap(), 3);
        let dead = only_dead(&*queue).await;
        assert_eq!(
            (dead.reason.code.as_str(), dead.reason.message.as_str(), dead.failures),
            ("PANIC", text, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_message_is_tried_again_and_then_parked_with_its_reason() {
    // X6
    let queue = backend();
    queue.push(vec![NewMessage::new(QUEUE, "poison", json!(null))]).await.unwrap();
    let handler = |delivery: Delivery, _| async move {
        let error = Failure::new("BAD", format!("attempt {}", delivery.attempt()));
        Verdict::failed(&delivery, error)
    };
    for (attempt, left) in [(1, 1), (2, 1), (3, 0)] {
        assert_eq!(worker(&queue, handler).drain().await.unwrap(), 1, "attempt {attempt}");
        assert_eq!(stats(&*queue).await.deferred, left);
        queue.advance(Duration::from_secs(5));
    }
    let dead = only_dead(&*queue).await;
    assert_eq!((dead.reason.message.as_str(), dead.failures), ("attempt 3", 3));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_kills_its_workers_is_given_up() {
    // fault F12
    let queue = backend();
    push(&*queue, 2).await;
    for _ in 0..2 {
        claim_as(&*queue, &WorkerId::generate(), Duration::from_secs(1)).await;
        queue.advance(Duration::from_secs(2));
        queue.maintain().await.unwrap();
    }
    let ran = Arc::new(AtomicUsize::new(0));
    let handler = {
        let ran = Arc::clone(&ran);
        move |_, _| {
            ran.fetch_add(1, Ordering::SeqCst);
            async { done() }
        }
    };
    assert_eq!(worker(&queue, handler).max_lost(2).drain().await.unwrap(), 2);
    assert_eq!(ran.load(Ordering::SeqCst), 1, "the healthy one");
    let dead = only_dead(&*queue).await;
    assert_eq!((dead.reason.code.as_str(), dead.lost, dead.failures), ("WORKER_LOST", 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_found_dead_cancels_and_goes_on() {
    // X2, fault F07. With one slot the heartbeat notices; with more the worker may claim its own message again first (fault F08).
    for (slots, renamed) in [(1, true), (4, false)] {
        let queue = backend();
        push(&*queue, 1).await;
        let (seen, mut starts) = mpsc::unbounded_channel();
        let handler = move |delivery: Delivery, cancel: CancellationToken| {
            seen.send(delivery.lost).unwrap();
            async move {
                if delivery.lost == 0 {
                    cancel.cancelled().await;
                }
                done() // the zombie's verdict is never sent, or fenced
            }
        };
        let running =
            worker(&queue, handler).concurrency(slots).lease(Duration::from_secs(3)).start().unwrap();
        assert_eq!(starts.recv().await.unwrap(), 0);
        let name = running.id();
        queue.advance(Duration::from_secs(10)); // it was paused for longer than its lease …
        queue.maintain().await.unwrap(); // … and another worker noticed
        assert_eq!(starts.recv().await.unwrap(), 1);
        assert_eq!(running.id() != name, renamed);
        assert_eq!(running.stop().await.unwrap(), 2);
        assert_eq!(stats(&*queue).await, QueueStats::default());
    }
}

#[tokio::test(start_paused = true)]
async fn the_settlement_of_a_zombie_is_refused() {
    // fault F07: claim, let the holder expire, let another finish; the old settlement changes nothing.
    let queue = backend();
    push(&*queue, 1).await;
    let old = claim_as(&*queue, &WorkerId::generate(), Duration::from_secs(1)).await;
    queue.advance(Duration::from_secs(2));
    let handler =
        |_, _| async { Verdict::Settle(Settlement::DeadLetter(Failure::new("LIVE", "the live attempt"))) };
    assert_eq!(worker(&queue, handler).drain().await.unwrap(), 1);
    let late = queue.settle(vec![Settle::new(old.lease, Settlement::Done)]).await.unwrap();
    assert!(late[0].as_ref().unwrap_err().is_fenced());
    assert_eq!(only_dead(&*queue).await.reason.code, "LIVE");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_delivery_loses_its_slot() {
    // fault F83
    let queue = backend();
    push(&*queue, 3).await;
    let (seen, mut starts) = mpsc::unbounded_channel();
    let handler = move |delivery: Delivery, _| {
        seen.send(delivery.message.data.clone()).unwrap();
        async move {
            if delivery.message.data == json!(0) {
                std::future::pending::<()>().await;
            }
            done()
        }
    };
    let running = worker(&queue, handler)
        .concurrency(1)
        .lease(Duration::from_secs(1))
        .stuck_after(Duration::from_secs(60));
    let running = running.start().unwrap();
    for n in 0..3 {
        assert_eq!(starts.recv().await.unwrap(), json!(n));
    }
    running.stop().await.unwrap();
    assert_eq!(only_dead(&*queue).await.reason.code, "STUCK");
    assert_eq!(stats(&*queue).await, QueueStats { dead: 1, ..QueueStats::default() });
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_a_failure_and_not_run_for_ever() {
    // fault F85: an output that is too large or too deep, and a failure whose details are
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let large = json!("x".repeat(2 << 20));
    let details = |details| Failure { details, ..Failure::new("BAD", "never") };
    let retry = || Settlement::Retry { error: details(deep.clone()) };
    let cases = [
        (Settlement::DoneWith(large.clone()), 1),
        (Settlement::DoneWith(deep.clone()), 1),
        (Settlement::DeadLetter(details(large.clone())), 1),
        (retry(), 3),
    ];
    for (settlement, runs) in cases {
        let queue = backend();
        queue.push(vec![NewMessage::new(QUEUE, "test", json!(null))]).await.unwrap();
        push(&*queue, 3).await;
        let ran = Arc::new(AtomicUsize::new(0));
        let handler = {
            let (ran, settlement) = (Arc::clone(&ran), settlement.clone());
            move |delivery: Delivery, _| {
                let bad = delivery.message.data == json!(null);
                ran.fetch_add(usize::from(bad), Ordering::SeqCst);
                let settlement = if bad { settlement.clone() } else { Settlement::Done };
                async { Verdict::Settle(settlement) }
            }
        };
        let worker = worker(&queue, handler);
        for _ in 0..runs {
            worker.clone().drain().await.unwrap();
            queue.advance(Duration::from_secs(3600));
        }
        let dead = only_dead(&*queue).await;
        assert_eq!((dead.reason.code.as_str(), ran.load(Ordering::SeqCst)), ("UNSTORABLE", runs));
        assert!(dead.reason.message.len() < 8 << 10 && dead.reason.details.is_null());
        assert_eq!(stats(&*queue).await, QueueStats { dead: 1, ..QueueStats::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_that_fail_together_come_back_spread_and_end_and_keep_nobody_waiting() {
    // fault F87
    const STORM: usize = 10_000;
    let queue = backend();
    let failing =
        (0..STORM).map(|n| NewMessage { max_attempts: Some(2), ..NewMessage::new(QUEUE, "storm", json!(n)) });
    queue.push(failing.collect()).await.unwrap();
    let handled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&handled);
    let storm = worker(&queue, move |delivery: Delivery, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match delivery.message.message_type.as_str() {
                "storm" => Verdict::failed(&delivery, Failure::new("BOOM", "it failed")),
                _ => done(),
            }
        }
    });
    let storm = storm.concurrency(100);
    assert_eq!(storm.clone().drain().await.unwrap(), STORM as u64);
    assert_eq!(stats(&*queue).await.deferred, STORM as u64);
    queue.push(vec![NewMessage::new(QUEUE, "healthy", json!(1))]).await.unwrap();
    assert_eq!(storm.clone().drain().await.unwrap(), 1, "it waits for nobody");
    // A second, a fifth shorter or longer: never more than a good part of them in a tenth of that.
    queue.advance(Duration::from_millis(799));
    let mut back = vec![storm.clone().drain().await.unwrap()];
    for _ in 0..10 {
        queue.advance(Duration::from_millis(41));
        back.push(storm.clone().drain().await.unwrap());
    }
    assert_eq!((back[0], back.iter().sum::<u64>()), (0, STORM as u64), "{back:?}");
    assert!(back.iter().all(|count| *count < STORM as u64 / 5), "{back:?}");
    let left = stats(&*queue).await;
    assert_eq!((left.ready, left.deferred, left.claimed, left.dead), (0, 0, 0, STORM as u64));
    assert_eq!(handled.load(Ordering::SeqCst), 2 * STORM + 1);
}

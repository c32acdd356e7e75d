//! Stopping: at once, by many, again; what was claimed ahead (Q45, faults F10, F11, F83).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use mainspring_core::{Delivery, QueueStats};
use mainspring_worker::Verdict;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{backend, done, push, stats, worker};

#[tokio::test(start_paused = true)]
async fn what_was_claimed_ahead_is_given_back_before_the_drain_is_over() {
    // Q45, fault F10
    let queue = backend();
    push(&*queue, 50).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |_, _| {
            let (started, gate) = (started.clone(), Arc::clone(&gate));
            async move {
                started.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
                done()
            }
        }
    };
    let running = worker(&queue, handler).concurrency(2).prefetch(20).start().unwrap();
    starts.recv().await.unwrap();
    starts.recv().await.unwrap();
    let held = running.snapshot();
    assert_eq!((held.running.len(), held.waiting, held.delivered), (2, 20, 22));
    assert_eq!(stats(&*queue).await.claimed, 22);

    let stopping = running.stop();
    tokio::pin!(stopping);
    assert!(futures_util::poll!(&mut stopping).is_pending());
    while stats(&*queue).await.ready != 48 {
        tokio::task::yield_now().await; // the two are still at it
    }
    assert!(running.snapshot().stopping && !running.has_ended());
    gate.add_permits(2);
    assert_eq!(stopping.await.unwrap(), 22);
    assert!(starts.try_recv().is_err(), "begun after the stop");
    let next = worker(&queue, |delivery, _| async move {
        assert_eq!((delivery.failures, delivery.lost, delivery.delays), (0, 0, 0));
        done()
    });
    assert_eq!(next.drain().await.unwrap(), 48);
}

#[tokio::test(start_paused = true)]
async fn prefetch_never_holds_more_than_it_may_and_delivers_everything_once() {
    let queue = backend();
    push(&*queue, 1_000).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |_, _| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                done()
            }
        }
    };
    assert_eq!(worker(&queue, handler).concurrency(5).prefetch(64).drain().await.unwrap(), 1_000);
    assert_eq!(most.load(Ordering::SeqCst), 5);
    assert_eq!(stats(&*queue).await, QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn an_immediate_stop_waits_for_nobody_and_may_cut_a_graceful_one_short() {
    // Q45, fault F11
    for graceful_first in [false, true] {
        let queue = backend();
        push(&*queue, 3).await;
        let (started, mut starts) = mpsc::unbounded_channel();
        let handler = move |_, cancel: CancellationToken| {
            started.send(cancel).unwrap();
            std::future::pending::<Verdict>()
        };
        let running =
            worker(&queue, handler).concurrency(3).grace(Duration::from_secs(3600)).start().unwrap();
        let cancel = starts.recv().await.unwrap();
        let begin = tokio::time::Instant::now();
        let stopping = running.stop();
        tokio::pin!(stopping);
        if graceful_first {
            assert!(futures_util::poll!(&mut stopping).is_pending());
        }
        assert_eq!(running.stop_now().await.unwrap(), 3);
        assert_eq!(stopping.await.unwrap(), 3);
        assert!(begin.elapsed() < Duration::from_secs(60) && cancel.is_cancelled());
        assert_eq!(stats(&*queue).await, QueueStats { ready: 3, ..QueueStats::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn any_number_may_stop_it_and_it_can_be_started_again() {
    // Q45
    let queue = backend();
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let handler = move |delivery: Delivery, _| {
        seen.send(delivery.message.data).unwrap();
        async { done() }
    };
    let worker = worker(&queue, handler);
    for round in 0..3 {
        let running = worker.clone().start().unwrap();
        push(&*queue, 2).await;
        arrivals.recv().await.unwrap();
        arrivals.recv().await.unwrap();
        let answers = join_all((0..8).map(|_| running.stop())).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap() == 2), "round {round}");
        assert_eq!(running.stop().await.unwrap(), 2);
        assert!(running.has_ended());
        assert_eq!(stats(&*queue).await, QueueStats::default());
    }
    // Nobody listens any more: what comes now stays.
    push(&*queue, 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(stats(&*queue).await, QueueStats { ready: 1, ..QueueStats::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_does_not_keep_the_worker_from_stopping() {
    // faults F83, F09: in real time, for a blocked thread cannot be made to wait by the test's clock
    let queue = backend();
    push(&*queue, 1).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let handler = move |_, _| {
        let (started, gate) = (started.clone(), Arc::clone(&gate));
        async move {
            started.send(()).unwrap();
            let _ = gate.lock().unwrap().recv();
            done()
        }
    };
    let running = worker(&queue, handler).grace(Duration::from_millis(10)).start().unwrap();
    starts.recv().await.unwrap();
    assert_eq!(running.stop().await.unwrap(), 1);
    assert_eq!(stats(&*queue).await, QueueStats { ready: 1, ..QueueStats::default() });
    drop(release);
}

//! Messages that ask for signs of life, and how many of one group a worker holds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{Delivery, Group, NewMessage, QueueDriver, QueueOptions, QueueStats, QueueStore};
use mainspring_testing::MemoryBackend;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{QUEUE, backend, done, stats, worker};

async fn with_heartbeat(messages: usize) -> Arc<MemoryBackend> {
    let queue = backend();
    let options = QueueOptions { heartbeat: Some(Duration::from_secs(10)), ..QueueOptions::default() };
    queue.create_queue(QUEUE, options).await.unwrap();
    let messages = (0..messages).map(|n| NewMessage::new(QUEUE, "t", json!(n)));
    queue.push(messages.collect()).await.unwrap();
    queue
}

/// Passes in the database and here.
async fn pass(queue: &MemoryBackend, time: Duration) {
    queue.advance(time);
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_holds_is_touched_for_as_long_as_it_holds_it() {
    // Q12: what its handler has, and what only waits for one
    let queue = with_heartbeat(3).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let handler = move |delivery: Delivery, cancel: CancellationToken| {
        let started = started.clone();
        async move {
            started.send((delivery.lost, cancel)).unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            done()
        }
    };
    let running = worker(&queue, handler).concurrency(1).prefetch(8).start().unwrap();
    for _ in 0..100 {
        pass(&queue, Duration::from_secs(2)).await;
    }
    for _ in 0..3 {
        let (lost, cancel) = starts.recv().await.unwrap();
        assert!(lost == 0 && !cancel.is_cancelled());
    }
    assert_eq!(running.stop().await.unwrap(), 3);
    assert_eq!(stats(&*queue).await, QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_was_taken_back_is_cancelled() {
    let queue = with_heartbeat(1).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let handler = move |_: Delivery, cancel: CancellationToken| {
        let started = started.clone();
        async move {
            started.send(()).unwrap();
            cancel.cancelled().await;
            done()
        }
    };
    let running = worker(&queue, handler).concurrency(1).start().unwrap();
    starts.recv().await.unwrap();
    queue.advance(Duration::from_secs(11)); // before it could be touched
    starts.recv().await.unwrap(); // the first was cancelled and made room
    assert_eq!(running.snapshot().completed, 0, "its settlement does not count");
    running.stop_now().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_worker_holds_no_more_of_one_group_than_it_may() {
    // Q29: what is put back gains no attempt, and a full group in front keeps nobody waiting
    let queue = backend();
    queue.create_queue(QUEUE, QueueOptions::default()).await.unwrap();
    let one = |n: usize| NewMessage {
        group: ["a", "a", "a", "b"].get(n % 5).map(|group| Group::new(*group)),
        ..NewMessage::new(QUEUE, "t", json!(n))
    };
    queue.push((0..100).map(one).collect()).await.unwrap();
    #[derive(Default)]
    struct Seen {
        now: HashMap<String, usize>,
        most: HashMap<String, usize>,
        again: usize,
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let handler = {
        let seen = Arc::clone(&seen);
        move |delivery: Delivery, _| {
            let seen = Arc::clone(&seen);
            async move {
                let group = delivery.message.group.as_ref().map_or(String::new(), |group| group.id.clone());
                {
                    let mut seen = seen.lock().unwrap();
                    seen.again += usize::from(delivery.attempt() > 1 || delivery.delays > 0);
                    let now = seen.now.entry(group.clone()).or_default();
                    *now += 1;
                    let now = *now;
                    let most = seen.most.entry(group.clone()).or_default();
                    *most = now.max(*most);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                *seen.lock().unwrap().now.get_mut(&group).unwrap() -= 1;
                done()
            }
        }
    };
    let delivered = worker(&queue, handler).concurrency(8).group_concurrency(2).drain().await.unwrap();
    assert_eq!(delivered, 100);
    {
        let seen = seen.lock().unwrap();
        assert_eq!((seen.most["a"], seen.most["b"], seen.again), (2, 2, 0));
        assert!(seen.most[""] > 2, "those without a group are not counted: {:?}", seen.most);
    }
    assert_eq!(stats(&*queue).await, QueueStats::default());
    let none = worker(&queue, |_, _| async { done() }).group_concurrency(0);
    assert!(none.drain().await.unwrap_err().is_invalid());
}

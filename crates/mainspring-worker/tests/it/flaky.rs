//! A queue whose database is away, slow to answer, or whose answers get lost: nothing is forgotten, nothing ends the worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    BoxFuture, ClaimRequest, Claimed, DeadLetter, Error, ErrorKind, MessageLease, NewMessage, QueueDriver,
    QueueStats, Result, Settle, Upkeep, WorkerId,
};
use mainspring_testing::MemoryBackend;
use mainspring_worker::{Worker, deliver_fn};
use tokio::sync::mpsc;

use crate::{backend, done, push, stats};

/// Fails as many calls of each verb as it is told to.
#[derive(Default)]
pub(crate) struct Flaky {
    queue: MemoryBackend,
    /// Claims that do nothing.
    claims: AtomicU32,
    /// Claims that happen and say that they did not.
    lost_claims: AtomicU32,
    settles: AtomicU32,
    /// Settlements that happen and say that nobody knows.
    unknown_settles: AtomicU32,
    extends: AtomicU32,
    maintains: AtomicU32,
    /// Settlements that panic.
    panics: AtomicU32,
}

/// One that fails the first `n` calls of everything a worker does.
pub(crate) fn failing(n: u32) -> Arc<Flaky> {
    let n = || AtomicU32::new(n);
    Arc::new(Flaky { claims: n(), settles: n(), extends: n(), maintains: n(), ..Flaky::default() })
}

fn strikes(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "the database is away")
}

impl QueueDriver for Flaky {
    fn push(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<()>> {
        self.queue.push(messages)
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<Claimed>> {
        Box::pin(async move {
            if strikes(&self.claims) {
                return Err(away());
            }
            let claimed = self.queue.claim(request).await?;
            if !claimed.deliveries.is_empty() && strikes(&self.lost_claims) {
                return Err(Error::new(ErrorKind::CommitUnknown, "the answer was lost"));
            }
            Ok(claimed)
        })
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        Box::pin(async move {
            assert!(!strikes(&self.panics), "a defect of the driver");
            if strikes(&self.settles) {
                return Err(away());
            }
            let settled = self.queue.settle(settles).await;
            if strikes(&self.unknown_settles) {
                return Err(Error::new(ErrorKind::CommitUnknown, "the answer was lost"));
            }
            settled
        })
    }

    fn register<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        self.queue.register(holder, lease)
    }

    fn extend<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if strikes(&self.extends) {
                return Err(away());
            }
            self.queue.extend(holder, lease).await
        })
    }

    fn touch(&self, leases: Vec<MessageLease>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        Box::pin(async move {
            if strikes(&self.extends) {
                return Err(away());
            }
            self.queue.touch(leases).await
        })
    }

    fn release<'a>(&'a self, holder: &'a WorkerId) -> BoxFuture<'a, Result<u64>> {
        self.queue.release(holder)
    }

    fn maintain(&self) -> BoxFuture<'_, Result<Upkeep>> {
        Box::pin(async move {
            if strikes(&self.maintains) {
                return Err(away());
            }
            self.queue.maintain().await
        })
    }

    fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<QueueStats>> {
        self.queue.stats(queue)
    }

    fn dead_letters<'a>(&'a self, queue: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        self.queue.dead_letters(queue, limit)
    }

    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()> {
        self.queue.wait(queue, timeout)
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_forgotten_whatever_fails() {
    // X3, fault F13: every case delivers all ten exactly once, although a claim of the first ones may have been lost.
    let n = AtomicU32::new;
    let cases = [
        ("the database is away at first", Flaky { claims: n(50), maintains: n(5), ..Flaky::default() }),
        ("the answers of claims are lost", Flaky { lost_claims: n(3), ..Flaky::default() }),
        ("settling fails for a while", Flaky { settles: n(20), ..Flaky::default() }),
        ("the answers of settlements are lost", Flaky { unknown_settles: n(2), ..Flaky::default() }),
    ];
    for (case, flaky) in cases {
        let queue = Arc::new(flaky);
        push(&*queue, 10).await;
        let ran = Arc::new(AtomicU32::new(0));
        let handler = {
            let ran = Arc::clone(&ran);
            deliver_fn(move |_, _| {
                ran.fetch_add(1, Ordering::SeqCst);
                async { done() }
            })
        };
        let worker =
            Worker::new(Arc::clone(&queue) as Arc<dyn QueueDriver>, Arc::new(handler)).concurrency(3);
        assert_eq!(worker.drain().await.unwrap(), 10, "{case}");
        assert_eq!(ran.load(Ordering::SeqCst), 10, "{case}");
        assert_eq!(stats(&*queue).await, QueueStats::default(), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_out_of_touch_cancels_before_its_lease_ends() {
    let queue = Arc::new(Flaky { queue: (*backend()).clone(), ..Flaky::default() });
    push(&*queue, 1).await;
    let (seen, mut events) = mpsc::unbounded_channel();
    let handler = deliver_fn(move |_, cancel: tokio_util::sync::CancellationToken| {
        let seen = seen.clone();
        async move {
            seen.send("started").unwrap();
            cancel.cancelled().await;
            seen.send("cancelled").unwrap();
            done()
        }
    });
    let lease = Duration::from_secs(10);
    let running = Worker::new(Arc::clone(&queue) as Arc<dyn QueueDriver>, Arc::new(handler))
        .lease(lease)
        .start()
        .unwrap();
    assert_eq!(events.recv().await, Some("started"));
    let began = tokio::time::Instant::now();
    queue.extends.store(u32::MAX, Ordering::SeqCst);
    assert_eq!(events.recv().await, Some("cancelled"));
    let after = began.elapsed();
    assert!(after >= lease / 2 && after <= lease, "{after:?}");
    running.stop().await.unwrap();
    // The old lease was not settled: it is the next worker's, as lost.
    assert_eq!(stats(&*queue).await.claimed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_whose_upkeep_keeps_failing_ends_with_that() {
    let begun = tokio::time::Instant::now();
    for (failures, rounds) in [(u32::MAX, 9), (5, 5)] {
        let queue = Arc::new(Flaky { maintains: AtomicU32::new(failures), ..Flaky::default() });
        push(&*queue, 3).await;
        let handler = Arc::new(deliver_fn(|_, _| async { done() }));
        let drained = Worker::new(Arc::clone(&queue) as Arc<dyn QueueDriver>, handler).drain().await;
        match drained {
            Ok(delivered) => assert_eq!((delivered, failures), (3, 5), "a few failures are waited out"),
            Err(error) => assert_eq!((error.kind(), failures), (ErrorKind::Unavailable, u32::MAX)),
        }
        assert_eq!(stats(&*queue).await, QueueStats::default(), "what was there was done");
        assert_eq!(
            failures - queue.maintains.load(Ordering::SeqCst),
            rounds,
            "tried again, and not for ever"
        );
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "with pauses in between");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_one_of_its_tasks_ends_and_gives_back_what_it_has() {
    // fault F96: such a panic is what a logger does that has no room
    let queue = Arc::new(Flaky { panics: AtomicU32::new(1), ..Flaky::default() });
    push(&queue.queue, 3).await;
    let worker = Worker::new(queue.clone(), Arc::new(deliver_fn(|_, _| async { done() })));
    let run = worker.run_until(std::future::pending());
    let ended = tokio::time::timeout(Duration::from_secs(3600), run).await.unwrap().unwrap_err();
    assert!(ended.to_string().contains("a task of the worker ended"), "{ended}");
    let left = stats(&queue.queue).await;
    assert_eq!((left.ready, left.claimed), (3, 0), "nothing is held by nobody");
}

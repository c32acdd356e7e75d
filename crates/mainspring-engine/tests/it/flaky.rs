//! A backend whose database is away, whose answers get lost, and how often it is asked at all.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use mainspring_core::{
    Backend, BoxFuture, Changes, Committed, ContextStore, Error, ErrorKind, EventStore, ExecutionStatus,
    ExecutionStore, FlowStore, JobStore, QueueDriver, Result, Timestamp, TokenStore,
};
use mainspring_engine::{Engine, Invocation};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};

use crate::{backend, line};

/// Counts calls, and does to commits what it is told to, one by one.
struct Flaky {
    inner: MemoryBackend,
    faults: Mutex<Vec<Fault>>,
    commits: AtomicU32,
    reads: AtomicU32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Nothing happens.
    Away,
    /// It happens, and nobody knows.
    LostAfter,
    /// It does not happen, and nobody knows.
    LostBefore,
}

impl Flaky {
    fn new(inner: MemoryBackend, faults: &[Fault]) -> Arc<Self> {
        let faults = Mutex::new(faults.iter().rev().copied().collect());
        Arc::new(Self { inner, faults, commits: AtomicU32::new(0), reads: AtomicU32::new(0) })
    }

    fn read(&self) -> &MemoryBackend {
        self.reads.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }
}

impl Backend for Flaky {
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<Committed>> {
        let fault = self.faults.lock().unwrap().pop().unwrap_or(Fault::None);
        Box::pin(async move {
            let unknown = || Error::new(ErrorKind::CommitUnknown, "the answer was lost");
            match fault {
                Fault::Away => return Err(Error::new(ErrorKind::Unavailable, "away")),
                Fault::LostBefore => return Err(unknown()),
                Fault::None | Fault::LostAfter => {}
            }
            self.commits.fetch_add(1, Ordering::SeqCst);
            let committed = self.inner.commit(changes).await?;
            if fault == Fault::LostAfter { Err(unknown()) } else { Ok(committed) }
        })
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn executions(&self) -> &dyn ExecutionStore {
        self.read().executions()
    }

    fn flows(&self) -> &dyn FlowStore {
        self.read().flows()
    }

    fn jobs(&self) -> &dyn JobStore {
        self.read().jobs()
    }

    fn events(&self) -> &dyn EventStore {
        self.read().events()
    }

    fn tokens(&self) -> &dyn TokenStore {
        self.read().tokens()
    }

    fn context(&self) -> &dyn ContextStore {
        self.read().context()
    }

    fn queue(&self) -> &dyn QueueDriver {
        self.read().queue()
    }

    fn queues(&self) -> &dyn mainspring_core::QueueStore {
        self.inner.queues()
    }
    fn outputs(&self) -> &dyn mainspring_core::OutputStore {
        self.inner.outputs()
    }

    fn leases(&self) -> &dyn mainspring_core::LeaseStore {
        self.inner.leases()
    }
}

fn counting(backend: Arc<Flaky>, steps: usize) -> (Engine, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let handler = move |_: Invocation, _: Value| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(json!(null)) }
    };
    let backend: Arc<dyn Backend> = backend;
    (Engine::builder(backend).handle_fn("note", handler).flow(line("line", steps)).build().unwrap(), calls)
}

#[tokio::test(start_paused = true)]
async fn driving_here_is_a_commit_a_step_and_no_read() {
    let flaky = Flaky::new(backend(), &[]);
    let (engine, calls) = counting(Arc::clone(&flaky), 5);
    engine.create("line", json!({})).run().await.unwrap(); // saves the flow, registers the process
    let (commits, reads) = (flaky.commits.load(Ordering::SeqCst), flaky.reads.load(Ordering::SeqCst));
    let done = engine.create("line", json!({})).run().await.unwrap();
    assert_eq!((done.status, calls.load(Ordering::SeqCst)), (ExecutionStatus::Completed, 10));
    assert_eq!(flaky.commits.load(Ordering::SeqCst) - commits, 6);
    assert_eq!(flaky.reads.load(Ordering::SeqCst) - reads, 0);
}

#[tokio::test(start_paused = true)]
async fn a_result_in_hand_survives_the_hiccups_of_the_database() {
    // X3: no handler is called again, and nothing is recorded twice, wherever the fault falls.
    for by_worker in [true, false] {
        for fault in [Fault::Away, Fault::LostAfter, Fault::LostBefore] {
            for at in 0..4 {
                let mut faults = vec![Fault::None; at];
                faults.extend([fault; 1]);
                let memory = backend();
                let (engine, calls) = counting(Flaky::new(memory.clone(), &faults), 3);
                let case = format!("{fault:?} at commit {at}, by worker: {by_worker}");
                let created = if by_worker {
                    engine.create("line", json!({})).await.map(|created| created.execution)
                } else {
                    engine.create("line", json!({})).run().await
                };
                let id = match created {
                    Ok(execution) => execution.id,
                    // Whether it was created is for the caller to find out; it was not.
                    Err(error) => {
                        assert!(
                            error.is_commit_unknown() && fault == Fault::LostBefore && at == 0,
                            "{case}: {error}"
                        );
                        continue;
                    }
                };
                if by_worker {
                    engine.worker().drain().await.unwrap();
                }
                let done = crate::stored(&memory, &id).await;
                assert_eq!(
                    (done.status, done.step_count, done.revision),
                    (ExecutionStatus::Completed, 3, 4),
                    "{case}"
                );
                assert_eq!(calls.load(Ordering::SeqCst), 3, "{case}");
                let stats = memory.queue().stats("default").await.unwrap();
                assert_eq!((stats.claimed, stats.deferred, stats.dead), (0, 0, 0), "{case}");
            }
        }
    }
}

//! Two decide about one execution at the same time, in both orders: it ends once, and the other one hears that it is over (fault F54).

use std::sync::Arc;

use mainspring_core::{Backend, CancelSource, ExecutionId, ExecutionStatus, event::kind, flow::RetryPolicy};
use mainspring_engine::{Cx, Engine, EngineBuilder, Workflow};
use mainspring_testing::{Action, Faults, FaultyBackend, MemoryBackend};
use tokio::sync::Notify;

use super::{Counter, row, secs};
use crate::{backend, builder, drain, types};

const PARENT: Workflow<u32, u32, String> = Workflow::new("parent");
const CHILD: Workflow<u32, u32, String> = Workflow::new("child");

fn register(builder: EngineBuilder) -> Engine {
    builder
        .register(PARENT, async |cx: Cx, n: u32| Ok(cx.child(CHILD, &n).await?))
        .register(CHILD, async |cx: Cx, n: u32| {
            cx.sleep(secs(60)).await;
            Ok(cx.step("work", async || Ok::<_, String>(n)).await?)
        })
        .build()
        .unwrap()
}

/// An engine whose next commit waits before it is made, and what lets it go on.
fn hesitant(backend: &MemoryBackend) -> (Engine, Faults, Arc<Notify>) {
    let (faults, go_on) = (Faults::none(), Arc::new(Notify::new()));
    faults.arm("commit.before", 1, Action::Pause(Arc::clone(&go_on)));
    let faulty: Arc<dyn Backend> = Arc::new(FaultyBackend::new(backend.clone(), faults.clone()));
    (register(Engine::builder(faulty)), faults, go_on)
}

/// The one end that its history tells of.
async fn end(backend: &MemoryBackend, id: &ExecutionId) -> String {
    let ends = [kind::EXECUTION_COMPLETED, kind::EXECUTION_FAILED, kind::EXECUTION_CANCELLED];
    let mut told = types(backend, id).await;
    told.retain(|event| ends.contains(&event.as_str()));
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

async fn asleep(backend: &MemoryBackend, engine: &Engine) -> ExecutionId {
    let handle = engine.start(CHILD, &7).await.unwrap();
    drain(engine).await;
    assert_eq!(row(backend, handle.id()).await.status, ExecutionStatus::Waiting);
    handle.id().clone()
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_while_the_end_is_committed_wins_or_says_that_it_is_over() {
    // fault F54
    for cancel_first in [true, false] {
        let backend = backend();
        let plain = register(builder(&backend));
        let id = asleep(&backend, &plain).await;
        backend.advance(secs(60));
        let (engine, faults, go_on) = hesitant(&backend);
        if cancel_first {
            let worker = engine.worker().start().unwrap();
            faults.wait_fired("commit.before", 1).await;
            assert!(plain.cancel(&id, "now").await.unwrap().cancelled);
            go_on.notify_one();
            worker.stop().await.unwrap();
        } else {
            let cancelling = tokio::spawn({
                let (engine, id) = (engine.clone(), id.clone());
                async move { engine.cancel(&id, "now").await }
            });
            faults.wait_fired("commit.before", 1).await;
            drain(&plain).await;
            go_on.notify_one();
            let told = cancelling.await.unwrap().unwrap();
            assert_eq!((told.cancelled, told.previous_status), (false, Some(ExecutionStatus::Waiting)));
        }
        drain(&plain).await;
        let expected = if cancel_first { ExecutionStatus::Cancelled } else { ExecutionStatus::Completed };
        assert_eq!(row(&backend, &id).await.status, expected);
        assert_eq!(end(&backend, &id).await, format!("execution.{expected}"));
        assert_eq!(row(&backend, &id).await.cancellation.is_some(), cancel_first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_comes_while_the_end_is_committed_ends_it_or_does_nothing() {
    // fault F54
    for timeout_first in [true, false] {
        let backend = backend();
        let plain = register(builder(&backend));
        let handle = plain.start(CHILD, &7).timeout(secs(60)).await.unwrap();
        drain(&plain).await;
        backend.advance(secs(60));
        let (engine, faults, go_on) = hesitant(&backend);
        let worker = engine.worker().start().unwrap();
        faults.wait_fired("commit.before", 1).await;
        if timeout_first {
            plain.worker().start().unwrap().stop().await.unwrap(); // sweeps
            go_on.notify_one();
            worker.stop().await.unwrap();
        } else {
            go_on.notify_one();
            worker.stop().await.unwrap();
            plain.worker().start().unwrap().stop().await.unwrap();
        }
        let over = row(&backend, handle.id()).await;
        assert!(over.status.is_terminal(), "{over:?}");
        assert_eq!(end(&backend, handle.id()).await, format!("execution.{}", over.status));
        let by_time = over.cancellation.is_some_and(|record| record.source == CancelSource::Timeout);
        assert_eq!(by_time, over.status == ExecutionStatus::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_cancelled_while_its_child_ends_cancels_it_once_or_not_at_all() {
    // fault F54
    for cancel_first in [true, false] {
        let backend = backend();
        let plain = register(builder(&backend));
        let parent = plain.start(PARENT, &7).await.unwrap();
        drain(&plain).await;
        let child = backend.executions().find_children(parent.id()).await.unwrap().remove(0).id;
        backend.advance(secs(60));
        let (engine, faults, go_on) = hesitant(&backend);
        if cancel_first {
            let worker = engine.worker().start().unwrap();
            faults.wait_fired("commit.before", 1).await;
            let told = parent.cancel("now").await.unwrap();
            assert_eq!((told.cancelled, told.children_cancelled), (true, 1));
            go_on.notify_one();
            worker.stop().await.unwrap();
        } else {
            let cancelling = tokio::spawn({
                let (engine, id) = (engine.clone(), parent.id().clone());
                async move { engine.cancel(&id, "now").await }
            });
            faults.wait_fired("commit.before", 1).await;
            let worker = plain.worker().start().unwrap();
            while !row(&backend, &child).await.status.is_terminal() {
                tokio::time::sleep(secs(1)).await;
            }
            worker.stop().await.unwrap();
            go_on.notify_one();
            let told = cancelling.await.unwrap().unwrap();
            assert_eq!((told.cancelled, told.children_cancelled), (false, 0), "{told:?}");
        }
        drain(&plain).await;
        let (above, below) = (row(&backend, parent.id()).await.status, row(&backend, &child).await.status);
        assert!(above.is_terminal() && below.is_terminal(), "{above} {below}");
        assert_eq!(cancel_first, below == ExecutionStatus::Cancelled);
        for id in [parent.id(), &child] {
            assert_eq!(end(&backend, id).await, format!("execution.{}", row(&backend, id).await.status));
        }
    }
}

const FLAKY: Workflow<(), u32, String> = Workflow::new("flaky");

#[tokio::test(start_paused = true)]
async fn a_step_that_waits_to_be_tried_again_is_not_when_it_is_cancelled() {
    // fault F54: before the time has come, and when the next try has just begun
    for late in [false, true] {
        let (backend, runs) = (backend(), Counter::default());
        let theirs = runs.clone();
        let slow =
            RetryPolicy { max_attempts: 9, backoff: secs(60), multiplier: 1.0, ..RetryPolicy::default() };
        let engine = builder(&backend)
            .register(FLAKY, move |cx: Cx, ()| {
                let (runs, slow) = (theirs.clone(), slow.clone());
                async move {
                    let fails = async |run: mainspring_engine::StepRun| {
                        if runs.up() == 2 {
                            run.cancelled.cancelled().await;
                        }
                        Err::<u32, _>("no".to_owned())
                    };
                    Ok(cx.step_with("fails", fails).retry(slow).await?)
                }
            })
            .build()
            .unwrap();
        let handle = engine.start(FLAKY, &()).await.unwrap();
        drain(&engine).await;
        let worker = late.then(|| {
            backend.advance(secs(60));
            engine.worker().start().unwrap()
        });
        while late && runs.get() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(handle.cancel("enough").await.unwrap().cancelled);
        if let Some(worker) = worker {
            worker.stop().await.unwrap();
        }
        backend.advance(secs(3_600));
        drain(&engine).await;
        assert_eq!(row(&backend, handle.id()).await.status, ExecutionStatus::Cancelled);
        assert_eq!(end(&backend, handle.id()).await, "execution.cancelled");
        assert_eq!(runs.get(), if late { 2 } else { 1 });
    }
}

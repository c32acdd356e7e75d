//! A process dies at every point where it talks to its backend; another one finishes.

use std::{collections::HashSet, sync::Arc, time::Duration};

use mainspring_core::{Backend, CancelSource, ExecutionStatus};
use mainspring_engine::{Cx, Either, Engine, EngineBuilder, Workflow, WorkflowResult, exponential};
use mainspring_testing::{Action, Faults, FaultyBackend, MemoryBackend};
use serde_json::Value;
use tokio::sync::Notify;

use super::{Counter, journal, row, secs};
use crate::{backend, history};

const POINTS: [&str; 6] =
    ["commit.before", "commit.after", "claim.before", "claim.after", "settle.before", "settle.after"];
/// More rounds of an hour than any of the workflows needs.
const ROUNDS: u32 = 40;

/// Works until the execution is over, letting time pass; its output.
async fn finish(engine: &Engine, backend: &MemoryBackend, id: &mainspring_core::ExecutionId) -> Value {
    for _ in 0..ROUNDS {
        engine.worker().drain().await.unwrap();
        let execution = row(backend, id).await;
        if execution.status.is_terminal() {
            assert_eq!(execution.status, ExecutionStatus::Completed, "{execution:#?}");
            return execution.context.get("output").cloned().unwrap_or_default();
        }
        backend.advance(secs(3600));
    }
    panic!("not over: {:#?}", row(backend, id).await);
}

/// Runs `workflow` again and again and kills its process at the first, second, third … time it comes to each point. Every run
/// ends with the output of the undisturbed one, and no step is recorded twice. How many crashes there were.
async fn crash_everywhere(
    register: impl Fn(EngineBuilder) -> EngineBuilder,
    workflow: &str,
    input: Value,
    signals: &[(&str, Value)],
) -> u32 {
    let start = async |engine: &Engine| {
        let handle = engine.start_by_name(workflow, input.clone()).id("it").await.unwrap();
        for (name, payload) in signals {
            handle.signal(*name, payload).await.unwrap();
        }
        handle.id().clone()
    };
    let undisturbed = {
        let backend = backend();
        let engine = register(crate::builder(&backend)).build().unwrap();
        let id = start(&engine).await;
        finish(&engine, &backend, &id).await
    };
    let mut crashes = 0;
    for point in POINTS {
        for nth in 1.. {
            let backend = backend();
            let second = register(crate::builder(&backend)).build().unwrap();
            let id = start(&second).await;
            let faults = Faults::none();
            faults.arm(point, nth, Action::Pause(Arc::new(Notify::new())));
            let faulty: Arc<dyn Backend> = Arc::new(FaultyBackend::new(backend.clone(), faults.clone()));
            let first = register(Engine::builder(faulty)).build().unwrap();
            let dies = faults.wait_fired(point, 1);
            let died = tokio::select! {
                () = dies => true,
                output = finish(&first, &backend, &id) => {
                    assert_eq!(output, undisturbed, "{point} {nth}");
                    false
                }
            };
            drop(first);
            if !died {
                break;
            }
            crashes += 1;
            backend.advance(secs(60)); // its lease runs out
            assert_eq!(finish(&second, &backend, &id).await, undisturbed, "{point} {nth}");
            once(&backend, &id, &format!("{point} {nth}")).await;
        }
    }
    crashes
}

/// No end of a step is recorded twice, and the history has no gaps.
async fn once(backend: &MemoryBackend, id: &mainspring_core::ExecutionId, what: &str) {
    let mut seen = HashSet::new();
    for entry in journal(backend, id).await {
        assert!(!is_end(&entry) || seen.insert(entry.clone()), "{what}: `{entry}` is recorded twice");
    }
    for (recorded, position) in
        history(backend, id).await.into_iter().filter(|r| r.partition == "executions").zip(1..)
    {
        assert_eq!(recorded.position, position, "{what}");
    }
}

fn is_end(entry: &str) -> bool {
    ["step.completed ", "step.failed ", "child.finished ", "child.started ", "step.waiting "]
        .iter()
        .any(|kind| entry.starts_with(kind))
}

const MIX: Workflow<u32, Vec<String>, String> = Workflow::new("mix");
const LEAF: Workflow<String, String, String> = Workflow::new("leaf");

async fn mix(cx: Cx, n: u32) -> WorkflowResult<Vec<String>, String> {
    let mut all = vec![cx.step("first", async || Ok::<_, String>(format!("first {n}"))).await?];
    let approved: String = cx.signal("approved").await?;
    all.push(approved);
    cx.sleep(secs(600)).await;
    let items: Vec<u32> = (0..n).collect();
    let packed = cx.map("item", &items, async |cx: Cx, item: &u32| {
        let packed = cx.step("pack", async || Ok::<_, String>(format!("packed {item}"))).await?;
        Ok(cx.step("ship", async || Ok::<_, String>(format!("{packed}, shipped"))).await?)
    });
    all.extend(packed.concurrency(2).await?);
    let (a, b) = cx.join(cx.child(LEAF, &"a".to_owned()), cx.child(LEAF, &"b".to_owned())).await;
    all.extend([a?, b?]);
    let winner = match cx.race(cx.sleep(secs(60)), cx.signal::<String>("never")).await {
        Either::Left(()) => "timer".to_owned(),
        Either::Right(word) => word?,
    };
    all.push(cx.step("last", async || Ok::<_, String>(winner.clone())).retry(exponential(3)).await?);
    Ok(all)
}

async fn leaf(cx: Cx, name: String) -> WorkflowResult<String, String> {
    let told = cx.step("tell", async || Ok::<_, String>(format!("told {name}"))).await?;
    cx.sleep(secs(5)).await;
    Ok(told)
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_changes_nothing() {
    // W44, F52, F53
    let register = |builder: EngineBuilder| builder.register(MIX, mix).register(LEAF, leaf);
    let signals = [("approved", serde_json::json!("yes"))];
    let crashes = crash_everywhere(register, "mix", serde_json::json!(3), &signals).await;
    assert!(crashes > 40, "only {crashes} crashes");
}

const SLOW: Workflow<(), u32, String> = Workflow::new("slow");

#[tokio::test(start_paused = true)]
async fn of_two_live_drivers_the_one_that_lost_its_lease_stops_without_a_trace() {
    // F53: the first driver hangs before its commit, is found dead, and comes back
    let backend = backend();
    let bodies = Counter::default();
    let register = |builder: EngineBuilder| {
        let bodies = bodies.clone();
        builder.register(SLOW, move |cx: Cx, ()| {
            let bodies = bodies.clone();
            async move {
                let n = cx.step("work", async || Ok::<_, String>(bodies.up())).await?;
                let m = cx.step("more", async || Ok::<_, String>(bodies.up())).await?;
                Ok(n * 10 + m)
            }
        })
    };
    let faults = Faults::none();
    let go_on = Arc::new(Notify::new());
    faults.arm("commit.before", 2, Action::Pause(Arc::clone(&go_on)));
    let faulty: Arc<dyn Backend> = Arc::new(FaultyBackend::new(backend.clone(), faults.clone()));
    let first = register(Engine::builder(faulty)).build().unwrap();
    let handle = first.start(SLOW, &()).await.unwrap();
    let worker = first.worker().lease(Duration::from_secs(3600)).start().unwrap();
    faults.wait_fired("commit.before", 1).await;
    backend.advance(secs(7200));
    let second = register(crate::builder(&backend)).build().unwrap();
    assert_eq!(finish(&second, &backend, handle.id()).await, 23);
    go_on.notify_one();
    worker.stop().await.unwrap();
    assert_eq!(bodies.get(), 3);
    once(&backend, handle.id(), "zombie").await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_body_of_a_step() {
    // W21, F54
    let backend = backend();
    let told = Counter::default();
    let theirs = told.clone();
    let engine = crate::builder(&backend)
        .register(SLOW, move |cx: Cx, ()| {
            let told = theirs.clone();
            async move {
                let wait = async |run: mainspring_engine::StepRun| {
                    run.cancelled.cancelled().await;
                    Ok::<_, String>(told.up())
                };
                Ok(cx.step_with("wait", wait).await?)
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(SLOW, &()).await.unwrap();
    let worker = engine.worker().start().unwrap();
    while engine.backend().queue().stats("default").await.unwrap().claimed == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let cancelled = handle.cancel("enough").await.unwrap();
    assert!(cancelled.cancelled);
    worker.stop().await.unwrap();
    let over = row(&backend, handle.id()).await;
    assert_eq!(over.status, ExecutionStatus::Cancelled);
    assert_eq!(over.cancellation.unwrap().source, CancelSource::User);
    assert_eq!((told.get(), journal(&backend, handle.id()).await.len()), (1, 0));
}

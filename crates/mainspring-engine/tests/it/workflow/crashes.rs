//! A process dies at every point where it talks to its backend; another one finishes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{Backend, CancelSource, ExecutionStatus, TokenSecret, flow::RetryPolicy};
use mainspring_engine::{
    Cx, Either, Engine, EngineBuilder, ResultError, StepRun, Workflow, WorkflowError, WorkflowResult,
    exponential, fail,
};
use mainspring_testing::{Action, Faults, FaultyBackend, crash_everywhere};
use tokio::sync::Notify;

use super::{Counter, journal, result, row, secs};
use crate::{backend, drain};

/// The tokens that a workflow has handed out.
type Letters = Arc<Mutex<Vec<TokenSecret>>>;

const MIX: Workflow<u32, Vec<String>, String> = Workflow::new("mix");
const LEAF: Workflow<String, String, String> = Workflow::new("leaf");

/// Every primitive once.
async fn mix(cx: Cx, n: u32, letters: Letters) -> WorkflowResult<Vec<String>, String> {
    let mut all = vec![cx.step("first", async || Ok::<_, String>(format!("first {n}"))).await?];
    let approved: String = cx.signal("approved").await?;
    all.push(approved);
    cx.sleep(secs(30 * 24 * 3600)).await;
    let hook = cx.hook::<String>("answer");
    let ask = async || {
        let token = hook.token().await.map_err(|error| error.to_string())?;
        letters.lock().unwrap().push(token);
        Ok::<_, String>(())
    };
    cx.step("ask", ask).await?;
    all.push(hook.await?);
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
    let flaky = async |run: StepRun| match run.attempt {
        3 => Ok(winner.clone()),
        attempt => Err(format!("attempt {attempt}")),
    };
    let slowly = RetryPolicy { backoff: secs(3600), ..exponential(3) };
    all.push(cx.step_with("last", flaky).retry(slowly).await?);
    let mut saga = cx.saga();
    saga.undo("unpack", n, async |n| Ok::<_, String>(n));
    saga.undo("unship", n, async |n| Ok::<_, String>(n + 1));
    let refused = cx.step("pay", async || Err::<(), _>("refused".to_owned())).await;
    match saga.end(refused.map_err(WorkflowError::from)).await {
        Err(WorkflowError::App(why)) => all.push(why),
        other => all.push(format!("{other:?}")),
    }
    Ok(all)
}

async fn leaf(cx: Cx, name: String) -> WorkflowResult<String, String> {
    let told = cx.step("tell", async || Ok::<_, String>(format!("told {name}"))).await?;
    cx.sleep(secs(5)).await;
    Ok(told)
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_changes_nothing() {
    // W19, W44, faults F52, F53; X5: the clock of the backend is months away from the host's
    let letters = Letters::default();
    let register = |builder: EngineBuilder| {
        let letters = Arc::clone(&letters);
        builder.register(MIX, move |cx, n| mix(cx, n, Arc::clone(&letters))).register(LEAF, leaf)
    };
    let answer = |engine: Engine, _id| {
        let token = letters.lock().unwrap().pop();
        async move {
            if let Some(token) = token {
                engine.resume(&token, "fine").await.unwrap();
            }
        }
    };
    let run = crash_everywhere(MIX, &3, register).signal("approved", &"yes").outside(answer).run().await;
    let all = run.result.unwrap().join(", ");
    let packed = "packed 0, shipped, packed 1, shipped, packed 2, shipped";
    assert_eq!(all, format!("first 3, yes, fine, {packed}, told a, told b, timer, refused"));
    assert_eq!(run.steps, 22);
    assert!(run.crashes > 70, "only {} crashes", run.crashes);
}

const FAILS: Workflow<u32, (), String> = Workflow::new("fails");

#[tokio::test(start_paused = true)]
async fn a_crash_changes_no_error_and_no_successor() {
    // fault F88: `continue_as_new` and the workflow's own error
    let count_down = async |cx: Cx, n: u32| {
        let left = cx.step("count", async || Ok::<_, String>(n - 1)).await?;
        if left > 0 { cx.continue_as_new(&left).await } else { fail("no more".to_owned()) }
    };
    let run = crash_everywhere(FAILS, &3, |builder| builder.register(FAILS, count_down)).run().await;
    assert!(matches!(run.result, Err(ResultError::App(why)) if why == "no more"));
    assert_eq!(run.steps, 3);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "after a crash at commit.before, time 1")]
async fn a_workflow_that_a_crash_changes_is_found() {
    const FORGETS: Workflow<(), u32, String> = Workflow::new("forgets");
    let processes = Counter::default();
    let register = |builder: EngineBuilder| {
        let process = processes.up(); // known to the process and not to the execution
        builder.register(FORGETS, move |cx: Cx, ()| async move {
            cx.step("work", async || Ok::<_, String>(())).await?;
            Ok(process)
        })
    };
    crash_everywhere(FORGETS, &(), register).run().await;
}

const SLOW: Workflow<(), u32, String> = Workflow::new("slow");

#[tokio::test(start_paused = true)]
async fn of_two_live_drivers_the_one_that_lost_its_lease_stops_without_a_trace() {
    // fault F53: the first driver hangs before its commit, is found dead, and comes back
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
    drain(&second).await;
    assert_eq!(result(&second.workflow(SLOW, handle.id().clone())).await.unwrap(), 23);
    go_on.notify_one();
    worker.stop().await.unwrap();
    assert_eq!(bodies.get(), 3);
    let expected = ["step.completed work", "step.completed more"];
    assert_eq!(journal(&backend, handle.id()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_body_of_a_step() {
    // W21, fault F54
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

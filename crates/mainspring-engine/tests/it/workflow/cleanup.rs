//! Cancelling: what a workflow noted for that case is done before it ends.

use std::sync::{Arc, Mutex};

use mainspring_core::{Backend, CancelSource, ExecutionId, ExecutionStatus};
use mainspring_engine::{
    CancelRequest, Cx, Either, Engine, EngineBuilder, ResultError, Workflow, WorkflowResult, exponential,
};
use mainspring_testing::{Action, Faults, FaultyBackend, MemoryBackend};
use serde_json::json;
use tokio::sync::Notify;

use super::{Counter, journal, result, row, secs, status};
use crate::{backend, builder, drain, types};

const BOOK: Workflow<String, String, String> = Workflow::new("book");

/// What the steps did, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn said(log: &Log) -> Vec<String> {
    log.lock().unwrap().clone()
}

/// Reserves a seat and a meal, and waits to be paid: `wait` is how.
fn book(builder: EngineBuilder, log: &Log) -> EngineBuilder {
    let log = Arc::clone(log);
    builder.register(BOOK, move |cx: Cx, wait: String| {
        let log = Arc::clone(&log);
        async move {
            let say = |what: &str| log.lock().unwrap().push(what.to_owned());
            let mut kept = Vec::new();
            for thing in ["seat", "meal"] {
                let log = Arc::clone(&log);
                kept.push(cx.on_cancel("release", async move |cx| {
                    let nap = cx.sleep(secs(if thing == "meal" { 3_600 } else { 0 }));
                    nap.await;
                    let free = cx.step("free", async || {
                        log.lock().unwrap().push(format!("free {thing}"));
                        Ok::<_, String>(())
                    });
                    free.retry(exponential(3)).await
                }));
                let reserve = cx.step("reserve", async || {
                    say(thing);
                    Ok::<_, String>(())
                });
                reserve.await?;
            }
            match wait.as_str() {
                "long body" => {
                    cx.step_with("pay", async |run| {
                        say("paying");
                        run.cancelled.cancelled().await;
                        say("interrupted");
                        Ok::<_, String>(())
                    })
                    .await?;
                }
                "child" => {
                    cx.child(BOOK, &"signal".to_owned()).await?;
                }
                "nothing" => {}
                _ => cx.signal::<()>("paid").await?,
            }
            drop(kept);
            Ok("booked".to_owned())
        }
    })
}

fn engine(backend: &MemoryBackend, log: &Log) -> Engine {
    book(builder(backend), log).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_parked_workflow_cleans_up_in_steps_of_its_own_and_ends_then() {
    let (backend, log) = (backend(), Log::default());
    let first = engine(&backend, &log);
    let handle = first.start(BOOK, &"signal".to_owned()).await.unwrap();
    drain(&first).await;
    assert_eq!(said(&log), ["seat", "meal"]);
    let cancelled = handle.cancel("changed my mind").await.unwrap();
    assert_eq!((cancelled.cancelled, cancelled.cleaning_up), (true, 1));
    assert_eq!(cancelled.previous_status, Some(ExecutionStatus::Waiting));
    drain(&first).await;
    // In the middle of it, it sleeps; another process goes on.
    assert_eq!(status(&backend, handle.id()).await, ExecutionStatus::Cancelling);
    assert!(handle.signal("paid", &()).await.is_ok(), "nobody takes it any more");
    drain(&first).await;
    drop(first);
    let second = engine(&backend, &log);
    drain(&second).await;
    assert_eq!(said(&log), ["seat", "meal"]);
    backend.advance(secs(3_600));
    drain(&second).await;
    assert_eq!(said(&log), ["seat", "meal", "free meal", "free seat"]);
    let execution = row(&backend, handle.id()).await;
    assert_eq!((execution.status, execution.error.clone()), (ExecutionStatus::Cancelled, None));
    let record = execution.cancellation.unwrap();
    assert_eq!((record.source, record.reason.as_deref()), (CancelSource::User, Some("changed my mind")));
    let steps = journal(&backend, handle.id()).await;
    let cleanup = steps.iter().position(|step| step == "step.waiting release#2/sleep").unwrap();
    let expected = [
        "step.waiting release#2/sleep",
        "step.completed release#2/sleep",
        "step.completed release#2/free",
        "step.waiting release/sleep",
        "step.completed release/sleep",
        "step.completed release/free",
    ];
    assert_eq!(steps[cleanup..], expected);
    assert_eq!(types(&backend, handle.id()).await.last().unwrap(), "execution.cancelled");
    assert!(matches!(result(&handle).await, Err(ResultError::Cancelled(Some(_)))));
    // Nothing is left to be done: cancelling again changes nothing.
    assert!(!handle.cancel("again").await.unwrap().cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_told_of_the_cancel_and_then_cleaned_up_after() {
    // W21
    let (backend, log) = (backend(), Log::default());
    let engine = engine(&backend, &log);
    let worker = engine.worker().start().unwrap();
    let handle = engine.start(BOOK, &"long body".to_owned()).await.unwrap();
    while said(&log).last().map(String::as_str) != Some("paying") {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.cancel("no longer wanted").await.unwrap().cleaning_up, 1);
    while status(&backend, handle.id()).await != ExecutionStatus::Cancelled {
        backend.advance(secs(3_600));
        tokio::time::sleep(secs(1)).await;
    }
    worker.stop().await.unwrap();
    let expected = ["seat", "meal", "paying", "interrupted", "free meal", "free seat"];
    assert_eq!(said(&log), expected);
    assert!(!journal(&backend, handle.id()).await.contains(&"step.completed pay".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_family_cleans_up_member_by_member() {
    let (backend, log) = (backend(), Log::default());
    let engine = engine(&backend, &log);
    let handle = engine.start(BOOK, &"child".to_owned()).await.unwrap();
    drain(&engine).await;
    let child = backend.executions().find_children(handle.id()).await.unwrap().remove(0);
    let cancelled = handle.cancel("all of it").await.unwrap();
    assert_eq!((cancelled.cleaning_up, cancelled.children_cancelled), (2, 0));
    for _ in 0..2 {
        drain(&engine).await;
        backend.advance(secs(3_600));
    }
    drain(&engine).await;
    for id in [handle.id(), &child.id] {
        assert_eq!(status(&backend, id).await, ExecutionStatus::Cancelled);
    }
    assert_eq!(said(&log).iter().filter(|line| line.starts_with("free")).count(), 4);
    let record = row(&backend, &child.id).await.cancellation.unwrap();
    assert_eq!(record.source, CancelSource::Parent);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_or_forced_cleans_up_nothing() {
    let (backend, log) = (backend(), Log::default());
    let engine = engine(&backend, &log);
    let over = engine.start(BOOK, &"nothing".to_owned()).await.unwrap();
    drain(&engine).await;
    assert!(!over.cancel("too late").await.unwrap().cancelled);
    let early = engine.start(BOOK, &"signal".to_owned()).await.unwrap();
    assert_eq!(early.cancel("before it began").await.unwrap().cleaning_up, 0);
    let handle = engine.start(BOOK, &"signal".to_owned()).await.unwrap();
    drain(&engine).await;
    handle.cancel("please").await.unwrap();
    let force = CancelRequest { clean_up: false, ..CancelRequest::from("at once") };
    assert_eq!(handle.cancel(force).await.unwrap().cleaning_up, 0);
    backend.advance(secs(7_200));
    drain(&engine).await;
    assert_eq!(status(&backend, handle.id()).await, ExecutionStatus::Cancelled);
    assert_eq!(said(&log), ["seat", "meal", "seat", "meal"]);
}

const RACE: Workflow<(), (), String> = Workflow::new("race");

#[tokio::test(start_paused = true)]
async fn a_clean_up_is_forgotten_with_its_scope_and_a_panic_stops_no_other() {
    let backend = backend();
    let done = Log::default();
    let log = Arc::clone(&done);
    let engine = builder(&backend)
        .register(RACE, move |cx: Cx, ()| {
            let log = Arc::clone(&log);
            async move {
                let note = |what: &'static str| {
                    let log = Arc::clone(&log);
                    cx.on_cancel(what, async move |_| log.lock().unwrap().push(what.to_owned()))
                };
                let _outer = note("outer");
                let _bad = cx.on_cancel("bad", async |_| panic!("no"));
                let branch = Box::pin(async {
                    let _inner = note("inner");
                    cx.signal::<()>("never").await
                });
                if let Either::Left(_) = cx.race(branch, cx.sleep(secs(1))).await {
                    return Ok(());
                }
                cx.signal::<()>("go").await?;
                Ok(())
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(RACE, &()).await.unwrap();
    drain(&engine).await;
    backend.advance(secs(1));
    drain(&engine).await;
    handle.cancel("stop").await.unwrap();
    drain(&engine).await;
    assert_eq!(status(&backend, handle.id()).await, ExecutionStatus::Cancelled);
    assert_eq!(said(&done), ["outer"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_noted_is_durable_before_the_next_body_begins() {
    let (backend, begun, done) = (backend(), Counter::default(), Log::default());
    let (up, log) = (begun.clone(), Arc::clone(&done));
    let engine = builder(&backend)
        .register(RACE, move |cx: Cx, ()| {
            let (up, log) = (up.clone(), Arc::clone(&log));
            async move {
                let _undo =
                    cx.on_cancel("undo", async move |_| log.lock().unwrap().push("undone".to_owned()));
                cx.step_with("first", async |run| {
                    up.up();
                    run.cancelled.cancelled().await;
                    Err::<(), _>(String::new())
                })
                .await?;
                Ok(())
            }
        })
        .build()
        .unwrap();
    let worker = engine.worker().start().unwrap();
    let handle = engine.start(RACE, &()).await.unwrap();
    while begun.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.cancel("now").await.unwrap().cleaning_up, 1);
    while status(&backend, handle.id()).await != ExecutionStatus::Cancelled {
        tokio::time::sleep(secs(1)).await;
    }
    worker.stop().await.unwrap();
    assert_eq!(said(&done), ["undone"]);
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_survives_a_crash_at_every_point() {
    // W44
    let mut crashes = 0;
    for point in ["commit.before", "commit.after", "claim.before", "claim.after"] {
        for nth in 1.. {
            let (backend, log) = (backend(), Log::default());
            let second = engine(&backend, &log);
            let handle = second.start(BOOK, &"signal".to_owned()).await.unwrap();
            drain(&second).await;
            handle.cancel("changed my mind").await.unwrap();
            let faults = Faults::none();
            faults.arm(point, nth, Action::Pause(Arc::new(Notify::new())));
            let faulty: Arc<dyn Backend> = Arc::new(FaultyBackend::new(backend.clone(), faults.clone()));
            let first = book(Engine::builder(faulty), &log).build().unwrap();
            let work = async |engine: &Engine| {
                for _ in 0..4 {
                    drain(engine).await;
                    backend.advance(secs(3_600));
                }
            };
            let died = tokio::select! {
                () = faults.wait_fired(point, 1) => true,
                () = work(&first) => false,
            };
            drop(first);
            work(&second).await;
            assert_eq!(status(&backend, handle.id()).await, ExecutionStatus::Cancelled, "{point} {nth}");
            let steps = journal(&backend, handle.id()).await;
            let frees = steps.iter().filter(|step| step.ends_with("/free")).count();
            assert_eq!(frees, 2, "{point} {nth}: {steps:?}");
            if !died {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 8, "{crashes}");
}

const LIMITED: Workflow<String, String, String> = Workflow::new("limited");

async fn limited(cx: Cx, what: String) -> WorkflowResult<String, String> {
    let hour = secs(3_600);
    let waited = match what.as_str() {
        "signal" => cx.signal::<String>("word").timeout(hour).await,
        "hook" => cx.hook::<String>("word").timeout(hour).await,
        _ => {
            let child = cx.child(LIMITED, &"signal".to_owned()).timeout(secs(60)).await;
            return Ok(match child {
                Ok(word) => word,
                Err(error) => format!("{error:?}"),
            });
        }
    };
    cx.step("note", async || Ok::<_, String>(())).await?;
    cx.sleep(secs(1)).await;
    Ok(waited.unwrap_or_else(|halt| halt.code().to_owned()))
}

#[tokio::test(start_paused = true)]
async fn every_wait_has_its_own_timeout() {
    let backend = backend();
    let engine = builder(&backend).register(LIMITED, limited).build().unwrap();
    let mut handles = Vec::new();
    for what in ["signal", "hook", "child", "signal"] {
        handles.push(engine.start(LIMITED, &what.to_owned()).await.unwrap());
    }
    drain(&engine).await;
    assert!(row(&backend, handles[0].id()).await.wait_reason.unwrap().contains("for signal `word` until"));
    // In time, though nobody looks before it is over.
    backend.advance(secs(3_599));
    handles[3].signal("word", &"late").await.unwrap();
    for _ in 0..3 {
        backend.advance(secs(1));
        engine.worker().start().unwrap().stop().await.unwrap(); // sweeps
        drain(&engine).await;
    }
    let mut results = Vec::new();
    for handle in &handles {
        results.push(result(handle).await.unwrap());
    }
    assert!(results[2].contains("CANCELLED"), "{results:?}");
    results.remove(2);
    assert_eq!(results, ["TIMEOUT", "TIMEOUT", "late"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_worker_begins_with_in_time_is_cancelled() {
    let (backend, log) = (backend(), Log::default());
    let engine = engine(&backend, &log);
    let start = || engine.start(BOOK, &"signal".to_owned()).start_within(secs(60));
    let (begun, late) = (start().await.unwrap(), start().delay(secs(61)).await.unwrap());
    drain(&engine).await;
    assert_eq!(status(&backend, begun.id()).await, ExecutionStatus::Waiting);
    assert!(!row(&backend, begun.id()).await.context.contains_key("startBy"));
    backend.advance(secs(61));
    drain(&engine).await;
    assert_eq!(status(&backend, begun.id()).await, ExecutionStatus::Waiting);
    let record = row(&backend, late.id()).await.cancellation.unwrap();
    assert_eq!(record.source, CancelSource::Timeout);
    assert_eq!(said(&log), ["seat", "meal"]);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_lasts_too_long_cleans_up_too() {
    let (backend, log) = (backend(), Log::default());
    let engine = engine(&backend, &log);
    let limited = engine.start(BOOK, &"signal".to_owned()).timeout(secs(60)).await.unwrap();
    let waits = engine.start(BOOK, &"signal".to_owned()).wait_timeout(secs(60)).await.unwrap();
    drain(&engine).await;
    for _ in 0..3 {
        backend.advance(secs(3_600));
        engine.worker().start().unwrap().stop().await.unwrap(); // sweeps
        drain(&engine).await;
    }
    for handle in [limited, waits] {
        let execution = row(&backend, handle.id()).await;
        assert_eq!(execution.status, ExecutionStatus::Cancelled);
        assert_eq!(execution.cancellation.unwrap().source, CancelSource::Timeout);
    }
    assert_eq!(said(&log).iter().filter(|line| line.starts_with("free")).count(), 4);
}

const SLEEPER: Workflow<(), (), String> = Workflow::new("sleeper");

#[tokio::test(start_paused = true)]
async fn timers_and_queued_work_of_what_is_cancelled_do_nothing() {
    let backend = backend();
    let bodies = Counter::default();
    let counted = bodies.clone();
    let engine = builder(&backend)
        .register(SLEEPER, move |cx: Cx, ()| {
            let bodies = counted.clone();
            async move {
                cx.sleep(secs(60)).await;
                cx.step("after", async || Ok::<_, String>(bodies.up())).await?;
                Ok(())
            }
        })
        .build()
        .unwrap();
    let asleep = engine.start(SLEEPER, &()).await.unwrap();
    drain(&engine).await;
    let queued = engine.start(SLEEPER, &()).await.unwrap();
    for handle in [&asleep, &queued] {
        handle.cancel("no").await.unwrap();
    }
    let before = ExecutionId::new(asleep.id().as_str()).unwrap();
    let revision = row(&backend, &before).await.revision;
    backend.advance(secs(3_600));
    drain(&engine).await;
    assert_eq!((bodies.get(), row(&backend, &before).await.revision), (0, revision));
    let stats = backend.queue().stats("default").await.unwrap();
    assert_eq!(json!([stats.ready, stats.claimed]), json!([0, 0]));
}

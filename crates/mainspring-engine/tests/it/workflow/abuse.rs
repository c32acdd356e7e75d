//! Durable functions that are misused: what does not end, what is too much, and what is no longer readable.

use mainspring_core::{Backend, ExecutionStatus};
use mainspring_engine::{Cx, Replay, ResultError, StepError, Workflow, WorkflowResult};
use serde_json::json;

use super::{Counter, journal, result, row, secs, status};
use crate::{backend, builder, drain};

const TEXT: Workflow<String, Vec<String>, String> = Workflow::new("text");

#[tokio::test(start_paused = true)]
async fn every_character_survives_but_nul_which_is_refused_with_a_word() {
    // W17, fault F85: Postgres cannot store NUL in JSON, so it is refused before anything is written
    let backend = backend();
    let text = "a\u{1F980} \u{202E} \\u0000 \"' \u{FFFF}".to_owned();
    let engine = builder(&backend)
        .register(TEXT, async |cx: Cx, text: String| {
            let kept = cx.step("keep", async || Ok::<_, String>(text.clone())).await?;
            let heard: String = cx.signal("word").await?;
            let nul = cx.step("nul", async || Ok::<_, String>("\0".to_owned())).await;
            assert!(matches!(nul, Err(StepError::Halted(halt)) if halt.code() == "UNSTORABLE"));
            let refused = cx.step("refuse", async || Err::<(), _>(text.clone())).await;
            Ok(vec![kept, heard, refused.unwrap_err().app().cloned().unwrap_or_default()])
        })
        .build()
        .unwrap();
    assert!(engine.start(TEXT, &"\0".to_owned()).await.unwrap_err().is_invalid());
    let handle = engine.start(TEXT, &text).await.unwrap();
    assert!(handle.signal("word", &"\0").await.unwrap_err().is_invalid());
    handle.signal("word", &text).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), [text.clone(), text.clone(), text]);
}

const STUCK: Workflow<(), u32, String> = Workflow::new("stuck");

#[tokio::test(start_paused = true)]
async fn a_body_that_never_returns_is_cut_off_and_the_slot_is_free() {
    // faults F83, F84: a timeout of the step; what comes after it does not count
    let backend = backend();
    let ended = Counter::default();
    let theirs = ended.clone();
    let engine = builder(&backend)
        .register(STUCK, move |cx: Cx, ()| {
            let ended = theirs.clone();
            async move {
                let hang = async || {
                    std::future::pending::<()>().await;
                    Ok::<_, String>(ended.up())
                };
                let hung = cx.step("hang", hang).timeout(secs(5)).await;
                assert!(hung.unwrap_err().is_timeout());
                Ok(cx.step("late", async || Ok::<_, String>(7)).await?)
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(STUCK, &()).await.unwrap();
    drain(&engine).await;
    assert_eq!((result(&handle).await.unwrap(), ended.get()), (7, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_with_a_body_that_never_returns_and_another_worker_goes_on() {
    // fault F83
    let backend = backend();
    let runs = Counter::default();
    let theirs = runs.clone();
    let engine = builder(&backend)
        .register(STUCK, move |cx: Cx, ()| {
            let runs = theirs.clone();
            async move {
                let hang_once = async || match runs.up() {
                    1 => std::future::pending().await,
                    run => Ok::<_, String>(run),
                };
                Ok(cx.step("hang", hang_once).await?)
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(STUCK, &()).await.unwrap();
    let worker = engine.worker().grace(secs(1)).start().unwrap();
    while runs.get() == 0 {
        tokio::task::yield_now().await;
    }
    worker.stop().await.unwrap();
    assert!(!status(&backend, handle.id()).await.is_terminal());
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), 2);
    assert_eq!(journal(&backend, handle.id()).await, ["step.completed hang"]);
}

const DEEP: Workflow<u32, u32, String> = Workflow::new("deep");

#[tokio::test(start_paused = true)]
async fn a_recursion_without_end_fails_clearly() {
    // fault F89
    let backend = backend();
    let engine = builder(&backend)
        .register(DEEP, async |cx: Cx, n: u32| Ok(cx.child(DEEP, &(n + 1)).await?))
        .build()
        .unwrap();
    let handle = engine.start(DEEP, &0).await.unwrap();
    drain(&engine).await;
    let Err(ResultError::Failed(failure)) = result(&handle).await else { panic!("it failed") };
    assert!(failure.message.contains("at most 32"), "{failure}");
    let failed = backend.executions().find_by_status(ExecutionStatus::Failed, 100).await.unwrap();
    assert_eq!(failed.len(), 32);
}

const PLAIN: Workflow<u32, u32, String> = Workflow::new("plain");

#[tokio::test(start_paused = true)]
async fn what_is_recorded_and_cannot_be_read_stops_its_execution_and_no_other() {
    // fault F86: an input and a result of another type than the code asks for, as after a careless deploy
    let backend = backend();
    let plain = async |cx: Cx, n: u32| -> WorkflowResult<u32, String> {
        let doubled: u32 = cx.step("double", async || Ok::<_, String>(2 * n)).await?;
        cx.sleep(secs(60)).await;
        Ok(doubled)
    };
    let old = builder(&backend)
        .register(PLAIN, async |cx: Cx, _| -> WorkflowResult<u32, String> {
            cx.step("double", async || Ok::<_, String>("two".to_owned())).await?;
            cx.sleep(secs(60)).await;
            Ok(0)
        })
        .build()
        .unwrap();
    let half = old.start(PLAIN, &1).await.unwrap();
    drain(&old).await;
    let engine = builder(&backend).register(PLAIN, plain).build().unwrap();
    let bad = engine.start_by_name("plain", json!({"no": "number"})).await.unwrap();
    let good = engine.start(PLAIN, &21).await.unwrap();
    drain(&engine).await;
    backend.advance(secs(60));
    drain(&engine).await;
    assert_eq!(result(&good).await.unwrap(), 42);
    assert_eq!(row(&backend, bad.id()).await.error.unwrap().code, "INPUT_ERROR");
    // This one is parked, and goes on when the code fits again.
    let parked = row(&backend, half.id()).await;
    let failure = parked.error.unwrap();
    assert_eq!((parked.status, failure.code.as_str()), (ExecutionStatus::Waiting, "OTHER_TYPE"));
    assert_eq!(failure.details, json!({"step": "double", "recorded": "a string", "asked": "u32"}));
    assert!(failure.message.contains("`double` is recorded as a string"), "{failure}");
    let exported = engine.export(half.id()).await.unwrap();
    let Replay::OtherType { step, problem } = engine.verify_replay(&exported).await.unwrap() else {
        panic!()
    };
    assert_eq!((step.as_str(), problem), ("double", failure.message));
    half.resume().await.unwrap();
    drain(&old).await;
    assert_eq!(result(&half).await.unwrap(), 0);
}

//! Starting, steps, results, retries.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{ExecutionStatus, event::kind, flow::RetryPolicy};
use mainspring_engine::{
    Cx, OnConflict, ResultError, StepError, StepRun, Workflow, WorkflowResult, exponential, fail,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Counter, journal, result, row, secs, status};
use crate::{backend, builder, drain, types};

const ADD: Workflow<(u32, u32), u32, String> = Workflow::new("add");

async fn add(cx: Cx, (a, b): (u32, u32)) -> WorkflowResult<u32, String> {
    let sum = cx.step("add", async || Ok::<_, String>(a + b)).await?;
    let label = format!("the sum is {sum}");
    let length = cx.step("measure", async || Ok::<_, String>(label.len())).await?;
    assert_eq!(length, label.len());
    Ok(sum)
}

#[tokio::test(start_paused = true)]
async fn a_workflow_runs_and_returns() {
    // W13, W18
    let backend = backend();
    let engine = builder(&backend).register(ADD, add).build().unwrap();
    let handle = engine.start(ADD, &(3, 4)).await.unwrap();
    assert!(handle.was_created());
    assert_eq!(handle.status().await.unwrap(), ExecutionStatus::Pending);
    assert_eq!(drain(&engine).await, 1);
    assert_eq!(result(&handle).await.unwrap(), 7);
    let done = row(&backend, handle.id()).await;
    // Created, the first step, and the second one with the end.
    assert_eq!((done.revision, done.step_count), (3, 2));
    assert_eq!((done.driver, done.holder, done.error), (None, None, None));
    let expected = "execution.created execution.started step.completed step.completed execution.completed";
    assert_eq!(types(&backend, handle.id()).await.join(" "), expected);
    assert_eq!(journal(&backend, handle.id()).await, ["step.completed add", "step.completed measure"]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum OrderError {
    #[error("declined: {0}")]
    Declined(u32),
    #[error("gone")]
    Gone,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("bank says {0}")]
struct BankError(u32);

impl From<BankError> for OrderError {
    fn from(error: BankError) -> Self {
        Self::Declined(error.0)
    }
}

const ORDER: Workflow<String, String, OrderError> = Workflow::new("order");

#[tokio::test(start_paused = true)]
async fn errors_stay_the_users_own() {
    // W16
    let backend = backend();
    let calls = Counter::default();
    let theirs = calls.clone();
    let engine = builder(&backend)
        .register(ORDER, move |cx: Cx, order: String| {
            let calls = theirs.clone();
            async move {
                let bank = async || Err::<u32, _>(BankError(calls.up()));
                match order.as_str() {
                    "lifted" => cx.step("charge", bank).await.map(drop)?,
                    "fatal" => {
                        let step = cx.step("charge", bank).retry(exponential(9));
                        step.non_retryable(|error| error.0 > 0).await.map(drop)?;
                    }
                    "caught" => match cx.step("charge", bank).await {
                        Err(StepError::App(error)) => return Ok(error.to_string()),
                        other => panic!("{other:?}"),
                    },
                    "own" => Err(OrderError::Gone)?,
                    _ => return fail(OrderError::Gone),
                }
                Ok("fine".to_owned())
            }
        })
        .build()
        .unwrap();
    for (order, expected) in [
        ("lifted", Some(OrderError::Declined(1))),
        ("fatal", Some(OrderError::Declined(2))),
        ("caught", None),
        ("own", Some(OrderError::Gone)),
        ("other", Some(OrderError::Gone)),
    ] {
        let handle = engine.start(ORDER, &order.to_owned()).await.unwrap();
        drain(&engine).await;
        match (result(&handle).await, expected) {
            (Err(ResultError::App(error)), Some(expected)) => assert_eq!(error, expected),
            (Ok(text), None) => assert_eq!(text, "bank says 3"),
            other => panic!("{order}: {other:?}"),
        }
    }
    assert_eq!(calls.get(), 3);
}

const WORK: Workflow<u32, u32, String> = Workflow::new("work");

#[tokio::test(start_paused = true)]
async fn a_failing_step_is_tried_again_and_a_long_pause_holds_no_slot() {
    // W16, fault F87
    let backend = backend();
    let calls = Counter::default();
    let (theirs, seen) = (calls.clone(), Arc::new(Mutex::new(Vec::new())));
    let attempts = Arc::clone(&seen);
    let policy = RetryPolicy { max_attempts: 4, backoff: secs(1), ..RetryPolicy::default() };
    let engine = builder(&backend)
        .register(WORK, move |cx: Cx, wanted: u32| {
            let (calls, policy, attempts) = (theirs.clone(), policy.clone(), Arc::clone(&attempts));
            async move {
                let work = async |run: StepRun| {
                    attempts.lock().unwrap().push(run.attempt);
                    let n = calls.up();
                    if n < wanted { Err(format!("only {n}")) } else { Ok(n) }
                };
                Ok(cx.step_with("work", work).retry(policy).await?)
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(WORK, &3).await.unwrap();
    drain(&engine).await;
    // One second awake, then two seconds parked.
    let parked = row(&backend, handle.id()).await;
    assert_eq!((parked.status, calls.get()), (ExecutionStatus::Waiting, 2));
    assert!(parked.wake_at.is_some());
    backend.advance(secs(2));
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), 3);
    let expected = ["step.retry work", "step.retry work", "step.completed work"];
    assert_eq!(journal(&backend, handle.id()).await, expected);
    // How often it was tried is seen by the body and by whoever reads the history.
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
    let retries = crate::history(&backend, handle.id()).await.into_iter().map(|recorded| recorded.event);
    let retries = retries.filter(|event| event.event_type == kind::STEP_RETRY);
    let retries: Vec<_> =
        retries.map(|retry| (retry.data["attempt"].clone(), retry.data["error"].clone())).collect();
    assert_eq!(retries, [(json!(1), json!("\"only 1\"")), (json!(2), json!("\"only 2\""))]);

    let hopeless = engine.start(WORK, &100).await.unwrap();
    for _ in 0..4 {
        drain(&engine).await;
        backend.advance(secs(10));
    }
    assert!(matches!(result(&hopeless).await, Err(ResultError::App(text)) if text == "only 7"));
    assert_eq!(calls.get(), 7);
}

#[tokio::test(start_paused = true)]
async fn code_that_panics_or_names_a_step_wrongly_ends_its_execution_only() {
    // fault F82
    let backend = backend();
    let engine = builder(&backend)
        .register(WORK, async |cx: Cx, n: u32| {
            match n {
                0 => panic!("broken"),
                1 => cx.step("a/b", async || Ok::<_, String>(1)).await.map(drop)?,
                _ => {}
            }
            Ok(n)
        })
        .build()
        .unwrap();
    for (n, code) in [(0, "PANIC"), (1, "INVALID_STEP")] {
        let handle = engine.start(WORK, &n).await.unwrap();
        drain(&engine).await;
        let ended = result(&handle).await;
        assert!(matches!(&ended, Err(ResultError::Failed(failure)) if failure.code == code), "{ended:?}");
    }
    let fine = engine.start(WORK, &2).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&fine).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_start_attaches_or_is_refused() {
    let backend = backend();
    let engine = builder(&backend).register(ADD, add).build().unwrap();
    let first = engine.start(ADD, &(1, 2)).id("sum").idempotency_key("k").await.unwrap();
    let again = engine.start(ADD, &(9, 9)).id("sum").await.unwrap();
    assert_eq!((again.id(), again.was_created()), (first.id(), false));
    let by_key = engine.start(ADD, &(9, 9)).idempotency_key("k").await.unwrap();
    assert_eq!((by_key.id(), by_key.was_created()), (first.id(), false));
    let same = engine.start(ADD, &(1, 2)).id("sum").on_conflict(OnConflict::SameInput).await.unwrap();
    assert!(!same.was_created());
    for policy in [OnConflict::SameInput, OnConflict::Reject] {
        let error = engine.start(ADD, &(9, 9)).id("sum").on_conflict(policy).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
    }
    drain(&engine).await;
    assert_eq!(result(&first).await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_start_by_name_needs_no_types() {
    let backend = backend();
    let engine = builder(&backend).register(ADD, add).build().unwrap();
    let handle = engine.start_by_name("add", json!([20, 22])).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), json!(42));
    let wrong = engine.start_by_name("add", json!("?")).await.unwrap();
    drain(&engine).await;
    let ended = result(&wrong).await;
    assert!(matches!(&ended, Err(ResultError::Failed(failure)) if failure.code == "INPUT_ERROR"));
}

#[tokio::test(start_paused = true)]
async fn options_of_a_start_hold() {
    let backend = backend();
    let engine = builder(&backend).register(ADD, add).build().unwrap();
    let later = engine.start(ADD, &(1, 1)).delay(secs(60)).timeout(secs(90)).await.unwrap();
    assert_eq!(drain(&engine).await, 0);
    backend.advance(secs(60));
    drain(&engine).await;
    assert_eq!(result(&later).await.unwrap(), 2);

    let never = engine.start(ADD, &(1, 1)).queue("nobody").timeout(secs(90)).await.unwrap();
    backend.advance(secs(91));
    drain(&engine).await;
    assert_eq!(status(&backend, never.id()).await, ExecutionStatus::Cancelled);
    assert!(matches!(result(&never).await, Err(ResultError::Cancelled(Some(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_the_code_leaves_it_to_others() {
    let backend = backend();
    let without = builder(&backend).build().unwrap();
    let with = builder(&backend).register(ADD, add).build().unwrap();
    let handle = without.start(ADD, &(1, 1)).await.unwrap();
    drain(&without).await;
    assert_eq!(status(&backend, handle.id()).await, ExecutionStatus::Pending);
    backend.advance(Duration::from_secs(10));
    drain(&with).await;
    assert_eq!(result(&handle).await.unwrap(), 2);
}

//! Failing, and trying again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    ExecutionStatus, Flow,
    flow::{RetryPolicy, Step},
};
use mainspring_engine::{Engine, HandlerError, Invocation, Outcome};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};

use crate::{backend, builder, drain, stored, types};

fn policy(max_attempts: u32, backoff_ms: u64) -> RetryPolicy {
    RetryPolicy { max_attempts, backoff: Duration::from_millis(backoff_ms), ..RetryPolicy::default() }
}

/// `s` fails with `error` until its run number `good`, then the flow is over; `after` is where failures go.
fn failing(
    backend: &MemoryBackend,
    step: Step,
    good: u32,
    error: fn() -> HandlerError,
) -> (Engine, Arc<Mutex<Vec<String>>>) {
    let keys: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&keys);
    let runs = Arc::new(AtomicU32::new(0));
    let handler = move |call: Invocation, _: Value| {
        seen.lock().unwrap().push(call.idempotency_key());
        let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            call.set("leaked", true)?;
            if run < good { Err(error()) } else { Ok(json!({"attempt": call.attempt()})) }
        }
    };
    let flow = Flow::builder("f", "1.0.0")
        .step(step.output_key("out"))
        .step(Step::new("after", "transform").input(json!({"static": "handled"})).output_key("after"))
        .initial_step("s")
        .build();
    let flow = flow.unwrap_or_else(|_| panic!("the flow is wrong"));
    (builder(backend).handle_fn("flaky", handler).flow(flow).build().unwrap(), keys)
}

fn plain() -> HandlerError {
    HandlerError::new("BUSY", "try later").details(json!({"n": 1}))
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_is_tried_again_with_one_key_and_then_goes_where_the_flow_says() {
    // scenarios F05, F39, F40
    let step = || Step::new("s", "flaky").on_success("after");
    let to_after = || step().on_failure("after");
    type Case = (&'static str, Step, u32, fn() -> HandlerError, ExecutionStatus, usize, Option<&'static str>);
    let cases: Vec<Case> = vec![
        (
            "succeeds in the end",
            step().retry(policy(3, 0)),
            3,
            plain,
            ExecutionStatus::Completed,
            3,
            Some("handled"),
        ),
        (
            "exhausted, handled",
            to_after().retry(policy(3, 0)),
            9,
            plain,
            ExecutionStatus::Completed,
            3,
            Some("handled"),
        ),
        ("exhausted, failed", step().retry(policy(2, 0)), 9, plain, ExecutionStatus::Failed, 2, None),
        ("no policy", step(), 9, plain, ExecutionStatus::Failed, 1, None),
        (
            "terminal",
            step().retry(policy(5, 0)),
            9,
            || HandlerError::terminal("STOLEN", "no"),
            ExecutionStatus::Failed,
            1,
            None,
        ),
        (
            "another code",
            step().retry(RetryPolicy { retry_on: Some(vec!["OTHER".into()]), ..policy(5, 0) }),
            9,
            plain,
            ExecutionStatus::Failed,
            1,
            None,
        ),
    ];
    for (case, step, good, error, status, runs, after) in cases {
        let backend = backend();
        let (engine, keys) = failing(&backend, step, good, error);
        let done = engine.create("f", json!({})).id("e").run().await.unwrap();
        assert_eq!(
            (done.status, done.context.get("after").and_then(Value::as_str)),
            (status, after),
            "{case}"
        );
        let keys = keys.lock().unwrap();
        assert_eq!(keys.len(), runs, "{case}");
        assert!(keys.iter().all(|key| key == "e/s/0"), "{case}: {keys:?}");
        assert!(done.retries.is_empty(), "{case}");
        assert_eq!(
            done.context.contains_key("leaked"),
            done.context.contains_key("out"),
            "{case}: effects of a failed run"
        );
        if let Some(failure) = done.error {
            assert_eq!(
                (failure.step_id.as_deref(), failure.timestamp.is_some()),
                (Some("s"), true),
                "{case}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_failure_keeps_its_code_message_and_details() {
    // scenario F05
    let backend = backend();
    let (engine, _) = failing(&backend, Step::new("s", "flaky").on_success("after"), 9, plain);
    let error = engine.create("f", json!({})).run().await.unwrap().error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str(), error.details),
        ("BUSY", "try later", json!({"n": 1}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_with_backoff_waits_holding_nothing() {
    // scenario F40
    let backend = backend();
    let (engine, keys) =
        failing(&backend, Step::new("s", "flaky").on_success("after").retry(policy(4, 100)), 4, plain);
    let id = engine.create("f", json!({})).await.unwrap().execution.id;
    assert_eq!(drain(&engine).await, 1);
    for (retry, delay) in [(1, 100), (2, 200), (3, 400)] {
        let waiting = stored(&backend, &id).await;
        assert_eq!(waiting.status, ExecutionStatus::Waiting);
        assert_eq!(waiting.wait_reason, Some(format!("Retry {retry}/3 after {delay}ms")));
        assert_eq!((waiting.current_step.as_str(), waiting.retries["s"]), ("s", retry));
        backend.advance(Duration::from_millis(delay - 1));
        assert_eq!(drain(&engine).await, 0);
        backend.advance(Duration::from_millis(1));
        assert_eq!(drain(&engine).await, 1);
    }
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, &done.context["out"]), (ExecutionStatus::Completed, &json!({"attempt": 4})));
    assert_eq!((keys.lock().unwrap().len(), done.retries.len()), (4, 0));
    assert_eq!(types(&backend, &id).await.iter().filter(|t| *t == "step.retry").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_visit_of_a_step_has_its_own_key() {
    let backend = backend();
    let keys: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&keys);
    let handler = move |call: Invocation, _: Value| {
        let mut seen = seen.lock().unwrap();
        seen.push(call.idempotency_key());
        let run = seen.len();
        async move {
            match run {
                1 | 3 => Err(HandlerError::new("BUSY", "once")),
                4.. => Ok(Outcome::success(json!(null)).end()),
                _ => Ok(Outcome::success(json!(null))),
            }
        }
    };
    let flow = Flow::builder("f", "1.0.0")
        .step(Step::new("s", "x").on_success("s").retry(policy(3, 0)))
        .build()
        .unwrap();
    let engine = builder(&backend).handle_fn("x", handler).flow(flow).build().unwrap();
    engine.create("f", json!({})).id("e").run().await.unwrap();
    assert_eq!(*keys.lock().unwrap(), ["e/s/0", "e/s/0", "e/s/2", "e/s/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_outcome_takes_its_effects_with_it() {
    let backend = backend();
    let handler = |call: Invocation, _: Value| async move {
        call.set("leaked", true)?;
        call.emit("mine.leaked", json!(null));
        Ok(Outcome::<Value>::failure("NO", "no"))
    };
    let flow = Flow::builder("f", "1.0.0")
        .step(Step::new("s", "x").on_failure("t"))
        .step(Step::new("t", "transform"));
    let engine = builder(&backend).handle_fn("x", handler).flow(flow.build().unwrap()).build().unwrap();
    let done = engine.create("f", json!({})).run().await.unwrap();
    assert_eq!((done.status, done.context.len()), (ExecutionStatus::Completed, 0));
    assert!(!types(&backend, &done.id).await.contains(&"mine.leaked".to_owned()));
}

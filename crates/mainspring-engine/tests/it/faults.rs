//! Handlers that panic, hang, block, and return what cannot be stored.

use std::{panic::panic_any, sync::Arc, time::Duration};

use mainspring_core::{Backend, Execution, ExecutionStatus, Flow, NewMessage, flow::Step};
use mainspring_engine::{Engine, HandlerError, Invocation, Outcome};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{backend, builder, single, types};

async fn run(engine: &Engine) -> Execution {
    engine.create("f", json!({})).run().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_the_step() {
    // fault F82
    let kinds: [(fn(), &str); 3] = [
        (|| panic!("a str"), "PANIC: a str"),
        (|| panic!("a {}", "String"), "PANIC: a String"),
        (|| panic_any(7), "PANIC: a panic without a text"),
    ];
    let mut line = line!() - 5;
    for (panic_now, text) in kinds {
        let handler = move |_: Invocation, _: Value| async move {
            panic_now();
            Ok(json!(null))
        };
        let engine = builder(&backend()).handle_fn("x", handler).flow(single("x")).build().unwrap();
        let error = run(&engine).await.error.unwrap();
        assert_eq!(error.to_string(), text);
        line += 1;
        assert_eq!(error.details["location"], format!("{}:{line}:13", file!()), "where it panicked");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_too_long_fails_and_its_late_result_counts_for_nothing() {
    // faults F83, F84
    let backend = backend();
    let (ended, mut ends) = mpsc::unbounded_channel();
    let handler = move |call: Invocation, _: Value| {
        let ended = ended.clone();
        async move {
            call.set("late", 1)?;
            call.push(NewMessage::new("mail", "late", json!(null)));
            call.cancel().cancelled().await;
            ended.send(()).unwrap();
            Ok(json!("late"))
        }
    };
    let step = Step::new("s", "x").output_key("out").timeout(Duration::from_secs(5));
    let flow = Flow::builder("f", "1.0.0").step(step).build().unwrap();
    let engine = builder(&backend).handle_fn("x", handler).flow(flow).build().unwrap();
    let began = tokio::time::Instant::now();
    let done = run(&engine).await;
    assert!(began.elapsed() < Duration::from_secs(6));
    ends.recv().await.unwrap();
    assert_eq!((done.error.unwrap().code.as_str(), done.context.len()), ("TIMEOUT", 0));
    assert_eq!(backend.queue().stats("mail").await.unwrap().ready, 0);
    assert!(types(&backend, &done.id).await.contains(&"step.timeout".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_ends_is_left_behind() {
    // fault F83
    let handler = |_: Invocation, _: Value| std::future::pending::<Result<Value, HandlerError>>();
    let engine = builder(&backend()).handle_fn("x", handler).flow(single("x")).build().unwrap();
    assert_eq!(run(&engine).await.error.unwrap().code, "TIMEOUT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_blocks_its_thread_cannot_stop_its_driver() {
    // faults F09, F83
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let handler = move |_: Invocation, _: Value| {
        let gate = Arc::clone(&gate);
        async move {
            let _ = gate.lock().unwrap().recv();
            Ok(json!("late"))
        }
    };
    let step = Step::new("s", "x").output_key("out").timeout(Duration::from_millis(50));
    let flow = Flow::builder("f", "1.0.0").step(step).build().unwrap();
    let engine = builder(&MemoryBackend::realtime()).handle_fn("x", handler).flow(flow).build().unwrap();
    let done = tokio::spawn(async move { run(&engine).await }).await.unwrap();
    assert_eq!(done.error.unwrap().code, "TIMEOUT");
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_fails_the_step_by_name() {
    // fault F85, scenario F27
    type Make = fn(&Invocation) -> Result<Outcome, HandlerError>;
    let cases: [(&str, Make); 7] = [
        ("CONTEXT_LIMIT", |_| Ok(Outcome::success(json!("x".repeat(2_000_000))))),
        ("CONTEXT_LIMIT", |_| Ok(Outcome::success((0..20).fold(json!(1), |inner, _| json!([inner]))))),
        ("CONTEXT_LIMIT", |_| Ok(Outcome::success(json!("nul\0")))),
        ("CONTEXT_LIMIT", |call| {
            call.set("big", "x".repeat(2_000_000))?;
            Ok(Outcome::success(json!(null)))
        }),
        ("HANDLER_ERROR", |call| {
            call.push(NewMessage::new("", "x", json!(null)));
            Ok(Outcome::success(json!(null)))
        }),
        ("HANDLER_ERROR", |call| {
            call.emit("", json!(null));
            Ok(Outcome::success(json!(null)))
        }),
        ("HANDLER_ERROR", |_| Ok(Outcome::wait(Duration::MAX, "for ever"))),
    ];
    for (i, (code, make)) in cases.into_iter().enumerate() {
        let handler = move |call: Invocation, _: Value| async move { make(&call) };
        let engine = builder(&backend()).handle_fn("x", handler).flow(single("x")).build().unwrap();
        let done = run(&engine).await;
        assert_eq!((done.status, done.context.len()), (ExecutionStatus::Failed, 0), "case {i}");
        assert_eq!(done.error.unwrap().code, code, "case {i}");
    }
    let long =
        |_: Invocation, _: Value| async { Err::<Value, _>(HandlerError::new("LONG", "é".repeat(100_000))) };
    let engine = builder(&backend()).handle_fn("x", long).flow(single("x")).build().unwrap();
    assert!(run(&engine).await.error.unwrap().message.len() <= 8 * 1024);
}

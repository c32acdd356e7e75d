//! Waiting: for a time, for a signal, and for nothing in vain.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Backend, ExecutionStatus, Flow, Timeouts, TokenOptions, TokenSecret, flow::Step};
use mainspring_engine::{Engine, Invocation, Outcome};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};

use crate::{backend, builder, drain, stored, types};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Waits for a day, then counts how often it got there.
fn napping(backend: &MemoryBackend, woke: &Arc<AtomicU32>) -> Engine {
    let woke = Arc::clone(woke);
    let after = move |_: Invocation, _: Value| {
        woke.fetch_add(1, Ordering::SeqCst);
        async { Ok(json!("awake")) }
    };
    let flow = Flow::builder("nap", "1.0.0")
        .step(Step::new("sleep", "nap").on_success("wake"))
        .step(Step::new("wake", "after").output_key("out"))
        .build()
        .unwrap();
    let nap = |_: Invocation, _: Value| async { Ok(Outcome::wait(DAY, "a day")) };
    builder(backend).handle_fn("nap", nap).handle_fn("after", after).flow(flow).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_long_sleep_wakes_once_and_on_time_however_often_the_process_restarts() {
    // X7, scenarios F03, F04
    let backend = backend();
    let woke = Arc::default();
    let id = {
        let engine = napping(&backend, &woke);
        let timeouts = Timeouts { execution_timeout_ms: 100 * 24 * 3_600_000, ..Timeouts::default() };
        let id = engine.create("nap", json!({})).timeouts(timeouts).await.unwrap().execution.id;
        assert_eq!(drain(&engine).await, 1);
        id
    };
    let waiting = stored(&backend, &id).await;
    assert_eq!((waiting.status, waiting.wait_reason.as_deref()), (ExecutionStatus::Waiting, Some("a day")));
    assert_eq!((waiting.wait_started_at, waiting.wake_at), (Some(backend.now()), Some(backend.now() + DAY)));
    for _ in 0..23 {
        backend.advance(Duration::from_secs(3600));
        let engine = napping(&backend, &woke); // another process
        assert_eq!(drain(&engine).await, 0);
        let tick = engine.tick(&id).await.unwrap();
        assert_eq!(
            (tick.done, tick.status, tick.wake_at),
            (false, ExecutionStatus::Waiting, waiting.wake_at)
        );
    }
    assert_eq!(woke.load(Ordering::SeqCst), 0);
    backend.advance(Duration::from_secs(3600));
    assert_eq!(drain(&napping(&backend, &woke)).await, 1);
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, woke.load(Ordering::SeqCst)), (ExecutionStatus::Completed, 1));
    for _ in 0..30 {
        backend.advance(DAY);
        assert_eq!(drain(&napping(&backend, &woke)).await, 0);
    }
    // No attempt was used: none of the steps ran as a retry.
    assert_eq!((done.step_count, done.retries.len(), woke.load(Ordering::SeqCst)), (2, 0, 1));
    let expected = "execution.created execution.started step.started step.waiting execution.waiting \
                    execution.resumed step.started step.completed execution.completed";
    assert_eq!(types(&backend, &id).await.join(" "), expected);
}

#[tokio::test(start_paused = true)]
async fn run_sleeps_through_timed_waits() {
    let backend = backend();
    let woke = Arc::default();
    let engine = napping(&backend, &woke);
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.create("nap", json!({})).id("n").run().await.unwrap() }
    });
    while backend
        .executions()
        .count_by_status()
        .await
        .unwrap()
        .iter()
        .all(|(s, _)| *s != ExecutionStatus::Waiting)
    {
        tokio::task::yield_now().await;
    }
    assert!(!running.is_finished());
    backend.advance(DAY);
    let done = running.await.unwrap();
    assert_eq!((done.status, woke.load(Ordering::SeqCst)), (ExecutionStatus::Completed, 1));
    // The timer that was left in the queue is stale.
    assert_eq!(drain(&engine).await, 1);
    assert_eq!(woke.load(Ordering::SeqCst), 1);
}

/// Hands out a token and waits for it; what it was resumed with is its output.
fn approving(backend: &MemoryBackend) -> (Engine, Arc<Mutex<Option<TokenSecret>>>) {
    let given: Arc<Mutex<Option<TokenSecret>>> = Arc::default();
    let handed = Arc::clone(&given);
    let ask = move |call: Invocation, _: Value| {
        let handed = Arc::clone(&handed);
        async move {
            let options = TokenOptions { expires_in: Some(DAY), ..TokenOptions::default() };
            *handed.lock().unwrap() = Some(call.resume_token(options)?);
            Ok(Outcome::wait_for_signal("approval"))
        }
    };
    let take =
        |call: Invocation, _: Value| async move { Ok(call.resume_data().cloned().unwrap_or_default()) };
    let flow = Flow::builder("approve", "1.0.0")
        .step(Step::new("ask", "ask").on_resume("take"))
        .step(Step::new("take", "take").output_key("answer"))
        .build()
        .unwrap();
    (builder(backend).handle_fn("ask", ask).handle_fn("take", take).flow(flow).build().unwrap(), given)
}

#[tokio::test(start_paused = true)]
async fn a_token_resumes_its_execution_once() {
    // scenarios F03, F52
    let backend = backend();
    let (engine, given) = approving(&backend);
    let waiting = engine.create("approve", json!({})).run().await.unwrap();
    assert_eq!(
        (waiting.status, waiting.wake_at, waiting.driver.clone()),
        (ExecutionStatus::Waiting, None, None)
    );
    let tick = engine.tick(&waiting.id).await.unwrap();
    assert_eq!((tick.done, tick.status), (false, ExecutionStatus::Waiting), "a tick resumes nothing");
    let secret = given.lock().unwrap().take().unwrap();
    let resumes = (0..10).map(|n| engine.resume(&secret, json!({"by": n})));
    let all = futures_util::future::join_all(resumes).await;
    assert_eq!(all.iter().filter(|r| r.is_ok()).count(), 1);
    for error in all.iter().filter_map(|r| r.as_ref().err()) {
        assert!(error.is_conflict() && error.to_string() == "token already used", "{error}");
    }
    assert_eq!(drain(&engine).await, 1);
    let done = stored(&backend, &waiting.id).await;
    assert_eq!(
        (done.status, &done.context["answer"]),
        (ExecutionStatus::Completed, &done.context["resumeData"])
    );
    let types = types(&backend, &waiting.id).await;
    assert!(types.contains(&"token.created".into()) && types.contains(&"token.used".into()));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_work_says_why() {
    // scenario F52
    let backend = backend();
    let (engine, given) = approving(&backend);
    let secret = async || {
        let id = engine.create("approve", json!({})).run().await.unwrap().id;
        (id, given.lock().unwrap().take().unwrap())
    };
    let error = engine.resume(&TokenSecret::generate().unwrap(), json!(1)).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string() == "token not found");

    let (_, revoked) = secret().await;
    backend.tokens().revoke(&revoked).await.unwrap();
    assert_eq!(engine.resume(&revoked, json!(1)).await.unwrap_err().to_string(), "token revoked");

    let (id, other) = secret().await;
    engine.resume_execution(&id, json!("by id")).await.unwrap();
    let error = engine.resume(&other, json!(1)).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("not waiting"), "{error}");
    assert!(engine.resume_execution(&id, json!(1)).await.unwrap_err().is_conflict());
    assert_eq!(engine.run(&id).await.unwrap().context["answer"], "by id");

    let (_, expired) = secret().await;
    backend.advance(DAY + Duration::from_secs(1));
    assert_eq!(engine.resume(&expired, json!(1)).await.unwrap_err().to_string(), "token expired");

    let (_, big) = secret().await;
    assert!(engine.resume(&big, json!("x".repeat(2_000_000))).await.unwrap_err().is_invalid());
    engine.resume(&big, json!("fits")).await.unwrap(); // it was not spent for nothing
}

#[tokio::test(start_paused = true)]
async fn a_resume_makes_an_older_timer_stale() {
    let backend = backend();
    let woke = Arc::default();
    let engine = napping(&backend, &woke);
    let id = engine.create("nap", json!({})).await.unwrap().execution.id;
    drain(&engine).await;
    engine.resume_execution(&id, json!("early")).await.unwrap();
    assert_eq!(drain(&engine).await, 1);
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, &done.context["resumeData"]), (ExecutionStatus::Completed, &json!("early")));
    backend.advance(DAY);
    assert_eq!(drain(&engine).await, 1, "the old timer");
    assert_eq!(stored(&backend, &id).await, done);
    assert_eq!(woke.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_timer_does_not_end_a_later_wait() {
    let backend = backend();
    let nap = |_: Invocation, _: Value| async { Ok(Outcome::wait(DAY, "a day")) };
    let ask = |_: Invocation, _: Value| async { Ok(Outcome::wait_for_signal("an answer")) };
    let long = |_: Invocation, _: Value| async { Ok(Outcome::wait(2 * DAY, "two days")) };
    for (second, handler) in [("a signal", "ask"), ("a longer time", "long")] {
        let flow = Flow::builder(handler, "1.0.0")
            .step(Step::new("a", "nap").on_success("b"))
            .step(Step::new("b", handler).on_success("c"))
            .step(Step::new("c", "transform"))
            .build()
            .unwrap();
        let engine =
            builder(&backend).handle_fn("nap", nap).handle_fn("ask", ask).handle_fn("long", long).flow(flow);
        let engine = engine.build().unwrap();
        let timeouts = Timeouts { execution_timeout_ms: 100 * 24 * 3_600_000, ..Timeouts::default() };
        let id = engine.create(handler, json!({})).timeouts(timeouts).await.unwrap().execution.id;
        drain(&engine).await;
        engine.resume_execution(&id, json!("early")).await.unwrap();
        drain(&engine).await;
        let waiting = stored(&backend, &id).await;
        assert_eq!(
            (waiting.status, waiting.current_step.as_str()),
            (ExecutionStatus::Waiting, "c"),
            "{second}"
        );
        backend.advance(DAY);
        assert_eq!(drain(&engine).await, 1, "the old timer");
        assert_eq!(stored(&backend, &id).await, waiting, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_too_early_is_put_off() {
    let backend = backend();
    let engine = napping(&backend, &Arc::default());
    let id = engine.create("nap", json!({})).await.unwrap().execution.id;
    drain(&engine).await;
    let waiting = stored(&backend, &id).await;
    let driver = waiting.driver.clone().unwrap();
    let twin = mainspring_core::flow::wake_message(&waiting, driver, mainspring_core::Available::Now);
    backend.queue().push(vec![twin]).await.unwrap();
    assert_eq!(drain(&engine).await, 1);
    assert_eq!(stored(&backend, &id).await, waiting);
}

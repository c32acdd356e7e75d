//! Resumes that come too early or too late.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Backend, ExecutionStatus, Flow, QueueStats, Timeouts, TokenOptions, TokenSecret, flow::Step,
};
use mainspring_engine::{Engine, Invocation, Outcome};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::{backend, builder, drain, stored, types};

const HOUR: Duration = Duration::from_secs(3600);

struct Asking {
    engine: Engine,
    /// Secrets as they are handed out, before their step has ended.
    secrets: mpsc::UnboundedReceiver<TokenSecret>,
    /// Lets one more step end.
    gate: Arc<Semaphore>,
}

/// Two questions, `first` and `second`; each waits for at most an hour, or for ever.
fn asking(backend: &MemoryBackend, at_most: Option<Duration>) -> Asking {
    let (hand_out, secrets) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let ask = move |call: Invocation, _: Value| {
        let (hand_out, opened) = (hand_out.clone(), Arc::clone(&opened));
        async move {
            hand_out.send(call.resume_token_now(TokenOptions::default()).await?)?;
            opened.acquire().await?.forget();
            Ok(match at_most {
                Some(at_most) => Outcome::wait(at_most, "an answer"),
                None => Outcome::wait_for_signal("an answer"),
            })
        }
    };
    let take =
        |call: Invocation, _: Value| async move { Ok(call.resume_data().cloned().unwrap_or_default()) };
    let flow = Flow::builder("ask", "1.0.0")
        .step(Step::new("first", "ask").on_resume("took-first"))
        .step(Step::new("took-first", "take").output_key("one").on_success("second"))
        .step(Step::new("second", "ask").on_resume("took-second"))
        .step(Step::new("took-second", "take").output_key("two"))
        .build()
        .unwrap();
    let engine = builder(backend).handle_fn("ask", ask).handle_fn("take", take).flow(flow).build().unwrap();
    Asking { engine, secrets, gate }
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_comes_before_its_wait_is_kept_and_counts_once() {
    // fault F55: the answer is there before the question was committed
    let backend = backend();
    let Asking { engine, mut secrets, gate } = asking(&backend, None);
    let worker = engine.worker().start().unwrap();
    let id = engine.create("ask", json!({})).await.unwrap().execution.id;
    let secret = secrets.recv().await.unwrap();
    let early = engine.resume(&secret, json!("early")).await.unwrap();
    assert_eq!((early.status, early.context.get("resumeData")), (ExecutionStatus::Pending, None));
    let again = engine.resume(&secret, json!("again")).await.unwrap_err();
    assert!(again.is_conflict() && again.to_string() == "token already used", "{again}");
    backend.advance(Duration::from_secs(1));
    gate.add_permits(1);
    secrets.recv().await.unwrap(); // the second question: the first was answered
    let now = stored(&backend, &id).await;
    assert_eq!((&now.context["one"], now.current_step.as_str()), (&json!("early"), "second"));
    let history = types(&backend, &id).await.join(" ");
    assert!(
        history.contains("token.used")
            && history.contains("step.waiting execution.waiting execution.resumed"),
        "{history}"
    );
    gate.add_permits(1);
    while stored(&backend, &id).await.status != ExecutionStatus::Waiting {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await.unwrap();
    backend.advance(HOUR);
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.status, ExecutionStatus::Waiting, "it resumed one wait, not two");
    assert_eq!(backend.queue().stats("default").await.unwrap(), QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_never_finds_its_wait_goes_away_with_its_execution() {
    // fault F55: it was cancelled in the meantime
    let backend = backend();
    let Asking { engine, mut secrets, .. } = asking(&backend, None);
    let worker = engine.worker().start().unwrap();
    let id = engine.create("ask", json!({})).await.unwrap().execution.id;
    let secret = secrets.recv().await.unwrap();
    engine.resume(&secret, json!("early")).await.unwrap();
    engine.cancel(&id, "no need").await.unwrap();
    worker.stop().await.unwrap();
    backend.advance(HOUR);
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.status, ExecutionStatus::Cancelled);
    assert_eq!(backend.queue().stats("default").await.unwrap(), QueueStats::default());
    let late = engine.resume(&secret, json!("late")).await.unwrap_err();
    assert!(late.is_conflict(), "{late}");
}

#[tokio::test(start_paused = true)]
async fn data_that_can_never_be_stored_is_refused_before_its_wait_too() {
    let backend = backend();
    let Asking { engine, mut secrets, .. } = asking(&backend, None);
    let worker = engine.worker().start().unwrap();
    engine.create("ask", json!({})).await.unwrap();
    let secret = secrets.recv().await.unwrap();
    for data in [json!("x".repeat(2_000_000)), json!("nul\0")] {
        let error = engine.resume(&secret, data).await.unwrap_err();
        assert!(error.is_invalid(), "{error}");
    }
    engine.resume(&secret, json!("fits")).await.unwrap(); // it was not spent for nothing
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_question_that_is_over_does_not_answer_the_next() {
    // fault F55: the first wait ended by its time; its token still works, but for nothing
    let backend = backend();
    let Asking { engine, mut secrets, gate } = asking(&backend, Some(HOUR));
    gate.add_permits(2);
    let id = engine.create("ask", json!({})).await.unwrap().execution.id;
    drain(&engine).await;
    backend.advance(HOUR);
    drain(&engine).await;
    let (first, second) = (secrets.recv().await.unwrap(), secrets.recv().await.unwrap());
    let waiting = stored(&backend, &id).await;
    assert_eq!((waiting.status, waiting.current_step.as_str()), (ExecutionStatus::Waiting, "took-second"));
    let error = engine.resume(&first, json!("late")).await.unwrap_err();
    assert!(error.is_expired() && error.to_string().contains("`first`"), "{error}");
    assert_eq!(stored(&backend, &id).await, waiting);
    engine.resume(&second, json!("in time")).await.unwrap();
    drain(&engine).await;
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, &done.context["two"]), (ExecutionStatus::Completed, &json!("in time")));
    let error = engine.resume(&first, json!("later")).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("completed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_token_made_from_outside_is_for_the_wait_it_was_made_in_or_names() {
    // scenario F52, fault F55: made in the wait under the name of the step that comes after it, for a step to come, and for no step
    let backend = backend();
    let Asking { engine, mut secrets, gate } = asking(&backend, None);
    gate.add_permits(2);
    for step in ["took-first", "first", "nothing"] {
        let id = engine.create("ask", json!({})).await.unwrap().execution.id;
        let made =
            async |step: &str| backend.tokens().generate(&id, step, TokenOptions::default()).await.unwrap().0;
        let ahead = made("second").await;
        backend.advance(Duration::from_secs(1));
        drain(&engine).await;
        let here = made(step).await;
        engine.resume(&ahead, json!("kept")).await.unwrap();
        engine.resume(&here, json!("now")).await.unwrap();
        gate.add_permits(2);
        backend.advance(HOUR);
        drain(&engine).await;
        backend.advance(HOUR);
        drain(&engine).await;
        let done = stored(&backend, &id).await;
        assert_eq!(
            (done.status, &done.context["one"], &done.context["two"]),
            (ExecutionStatus::Completed, &json!("now"), &json!("kept")),
            "{step}"
        );
    }
    while secrets.try_recv().is_ok() {}
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_wait_that_took_too_long_has_expired() {
    // fault F55, scenario F35
    let backend = backend();
    let Asking { engine, mut secrets, gate } = asking(&backend, None);
    gate.add_permits(1);
    let timeouts = Timeouts { wait_timeout_ms: 60_000, ..Timeouts::default() };
    let id = engine.create("ask", json!({})).timeouts(timeouts).await.unwrap().execution.id;
    drain(&engine).await;
    backend.advance(Duration::from_secs(61));
    let worker = engine.worker().start().unwrap();
    while !stored(&backend, &id).await.status.is_terminal() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await.unwrap();
    let error = engine.resume(&secrets.recv().await.unwrap(), json!("late")).await.unwrap_err();
    assert!(error.is_expired() && error.to_string().contains("60000 ms"), "{error}");
}

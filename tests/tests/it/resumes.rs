//! Resumes that come before their wait, and after it (fault F55), with the clock and the crashes of a real database.

use std::{sync::Arc, time::Duration};

use mainspring::{
    Engine, ExecutionStatus, Flow, Invocation, Outcome, TokenOptions, TokenSecret, event::kind, flow::Step,
};
use mainspring_testing::Faults;
use mainspring_tests::{Lab, order, until, worker};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::signals::count;

const HOUR: Duration = Duration::from_secs(3600);

/// Hands its token out before it waits, for an hour at most; the first run ends when the gate opens.
fn engine(lab: &Lab, secrets: mpsc::UnboundedSender<TokenSecret>, gate: Option<Arc<Notify>>) -> Engine {
    let flow = Flow::builder("ask", "1.0.0")
        .step(Step::new("ask", "ask").on_resume("close"))
        .step(Step::new("close", "effect").on_success("again"))
        .step(Step::new("again", "ask").on_resume("last"))
        .step(Step::new("last", "effect"));
    let ask = move |call: Invocation, _input: Value| {
        let (secrets, gate) = (secrets.clone(), gate.clone());
        async move {
            secrets.send(call.resume_token_now(TokenOptions::default()).await?)?;
            if let Some(gate) = gate {
                gate.notified().await;
            }
            Ok(Outcome::wait(HOUR, "an answer"))
        }
    };
    let builder = order::builder(lab.stores(4), &lab.ledger, &Faults::none());
    builder.handle_fn("ask", ask).flow(flow.build().unwrap()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_before_its_wait_outlives_the_worker_that_was_to_wait() {
    let lab = Lab::new().await;
    let (secrets, mut handed_out) = mpsc::unbounded_channel();
    let first = engine(&lab, secrets.clone(), Some(Arc::default()));
    let dying = worker(&first).start().unwrap();
    let id = first.create("ask", json!({})).await.unwrap().execution.id;
    let secret = handed_out.recv().await.unwrap();
    first.resume(&secret, json!("early")).await.unwrap();
    assert!(first.resume(&secret, json!("again")).await.unwrap_err().is_conflict());
    drop(dying); // in the middle of the step

    let second = engine(&lab, secrets, None);
    let next = worker(&second).start().unwrap();
    let waits = async || {
        let execution = lab.get(&id).await;
        (execution.status, execution.current_step.as_str()) == (ExecutionStatus::Waiting, "last")
    };
    until("the second question is asked: the first was answered", waits).await;
    assert_eq!(lab.get(&id).await.context["resumeData"], "early");
    assert_eq!(count(&lab, &id, kind::TOKEN_USED).await, 1);

    // The second one ends by its time, and its token is too late for anything.
    lab.db().advance(HOUR).await;
    lab.verdict(std::slice::from_ref(&id)).await;
    while let Ok(late) = handed_out.try_recv() {
        let error = second.resume(&late, json!("late")).await.unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("completed"), "{error}");
    }
    next.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_wait_that_is_over_wakes_no_later_wait() {
    let lab = Lab::new().await;
    let (secrets, mut handed_out) = mpsc::unbounded_channel();
    let engine = engine(&lab, secrets, None);
    let working = worker(&engine).start().unwrap();
    let id = engine.create("ask", json!({})).await.unwrap().execution.id;
    let waits_before = async |step: &str| {
        until(step, async || {
            let execution = lab.get(&id).await;
            (execution.status, execution.current_step.as_str()) == (ExecutionStatus::Waiting, step)
        })
        .await;
    };
    waits_before("close").await;
    lab.db().advance(HOUR).await;
    waits_before("last").await;
    let first = handed_out.recv().await.unwrap();
    let error = engine.resume(&first, json!("late")).await.unwrap_err();
    assert!(error.is_expired() && error.to_string().contains("`ask`"), "{error}");
    assert_eq!(lab.get(&id).await.status, ExecutionStatus::Waiting);
    let second = handed_out.recv().await.unwrap();
    engine.resume(&second, json!("in time")).await.unwrap();
    lab.db().advance(HOUR).await; // so that no timer is left in the queue
    let report = lab.verdict(std::slice::from_ref(&id)).await;
    assert_eq!(report.with_status(ExecutionStatus::Completed), 1, "{report}");
    working.stop().await.unwrap();
}

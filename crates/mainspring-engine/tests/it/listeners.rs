//! Being told what was committed.

use std::sync::{Arc, Mutex};

use mainspring_core::{Backend, Flow, flow::Step};
use mainspring_engine::{Lifecycle, Outcome};
use serde_json::json;

use crate::{backend, builder, history, line, note};

fn recorder() -> (Arc<Mutex<Vec<Lifecycle>>>, impl Fn(&Lifecycle) + Send + Sync + 'static) {
    let all: Arc<Mutex<Vec<Lifecycle>>> = Arc::default();
    let into = Arc::clone(&all);
    (all, move |event: &Lifecycle| into.lock().unwrap().push(event.clone()))
}

fn types(all: &Mutex<Vec<Lifecycle>>) -> Vec<String> {
    all.lock().unwrap().iter().map(|event| event.event_type.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn listeners_hear_what_the_history_says_in_its_order() {
    // scenario F44
    let backend = backend();
    let (all, listener) = recorder();
    let wait = |_: mainspring_engine::Invocation, _: serde_json::Value| async {
        Ok(Outcome::wait_for_signal("ask"))
    };
    let flow = Flow::builder("f", "1.0.0")
        .step(Step::new("a", "wait").on_success("b"))
        .step(Step::new("b", "note"))
        .build()
        .unwrap();
    let engine = builder(&backend)
        .handle_fn("note", note)
        .handle_fn("wait", wait)
        .flow(flow)
        .listener("*", listener)
        .build()
        .unwrap();
    let id = engine.create("f", json!({})).tenant("acme").idempotency_key("k").run().await.unwrap().id;
    engine.resume_execution(&id, json!(1)).await.unwrap();
    engine.run(&id).await.unwrap();
    let recorded: Vec<_> = history(&backend, &id)
        .await
        .into_iter()
        .map(|r| (r.event.event_type, r.event.subject, r.event.data, r.created_at))
        .collect();
    let heard: Vec<_> =
        all.lock().unwrap().iter().cloned().map(|e| (e.event_type, e.step_id, e.data, e.at)).collect();
    // A transition is told by itself; the log has it in the event that ended the step.
    let (transitions, heard): (Vec<_>, Vec<_>) = heard.into_iter().partition(|e| e.0 == "transition");
    assert_eq!(heard, recorded);
    let moves: Vec<_> = transitions.into_iter().map(|e| e.2).collect();
    assert_eq!(moves, [json!({"on": "resume", "from": "a", "to": "b"})]);
    assert!(
        all.lock().unwrap().iter().all(|e| e.execution_id == id && e.flow_id == "f" && e.tenant == "acme")
    );
    engine.create("f", json!({})).tenant("acme").idempotency_key("k").await.unwrap();
    assert_eq!(types(&all).last().unwrap(), "idempotency.hit");
    engine.cancel(&engine.create("f", json!({})).await.unwrap().execution.id, "x").await.unwrap();
    assert_eq!(types(&all).last().unwrap(), "execution.cancelled");
}

#[tokio::test(start_paused = true)]
async fn listeners_are_chosen_by_pattern_and_leave_when_dropped() {
    // scenario F45
    let backend = backend();
    let engine = builder(&backend).handle_fn("note", note).flow(line("line", 2)).build().unwrap();
    let (every, listen_every) = recorder();
    let (steps, listen_steps) = recorder();
    let (one, listen_one) = recorder();
    let _panics = engine.subscribe("*", |_| panic!("affects nobody"));
    let first = engine.subscribe("*", listen_every);
    let _second = engine.subscribe("step.*", listen_steps);
    let _third = engine.subscribe("execution.completed", listen_one);
    let run = || engine.create("line", json!({})).run();
    let done = run().await.unwrap();
    let told: Vec<_> = types(&every).into_iter().filter(|t| t != "transition").collect();
    assert_eq!((told, types(&every).len()), (crate::types(&backend, &done.id).await, 8));
    assert_eq!(types(&steps), ["step.started", "step.completed", "step.started", "step.completed"]);
    assert_eq!(types(&one), ["execution.completed"]);
    assert!(every.lock().unwrap().iter().all(|event| event.at == backend.now()));
    drop(first);
    let heard = every.lock().unwrap().len();
    run().await.unwrap();
    assert_eq!((every.lock().unwrap().len(), one.lock().unwrap().len()), (heard, 2));
}

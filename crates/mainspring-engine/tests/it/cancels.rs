//! Cancelling, and being too late.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{
    Backend, CancelSource, ExecutionId, ExecutionStatus, Flow, Timeouts, TokenOptions, TokenStatus,
    flow::Step,
};
use mainspring_engine::{CancelRequest, Engine, Invocation, Outcome};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{backend, builder, drain, note, single, stored, types};

/// `hang` runs until it is told to stop; `park` makes two tokens and waits for a signal.
fn engine(backend: &MemoryBackend, started: mpsc::UnboundedSender<ExecutionId>) -> Engine {
    let hang = move |call: Invocation, _: Value| {
        started.send(call.execution_id().clone()).unwrap();
        async move {
            call.cancel().cancelled().await;
            Ok(json!("too late"))
        }
    };
    let park = |call: Invocation, _: Value| async move {
        call.resume_token(TokenOptions::default())?;
        call.resume_token(TokenOptions::default())?;
        Ok(Outcome::wait_for_signal("parked"))
    };
    let flow = |id: &str, handler: &str| {
        Flow::builder(id, "1.0.0").step(Step::new("s", handler).output_key("out")).build().unwrap()
    };
    let later = Flow::builder("later", "1.0.0")
        .step(Step::new("a", "transform").on_success("b"))
        .step(Step::new("b", "hang").output_key("out"))
        .build()
        .unwrap();
    builder(backend)
        .handle_fn("hang", hang)
        .handle_fn("park", park)
        .flow(flow("hanging", "hang"))
        .flow(flow("parking", "park"))
        .flow(later)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_driven_is_cancelled_in_one_commit() {
    // scenarios F06, F07, F10, F20
    let backend = backend();
    let engine = engine(&backend, mpsc::unbounded_channel().0);
    let pending = engine.create("hanging", json!({"kept": 1})).await.unwrap().execution;
    let waiting = engine.create("parking", json!({"kept": 1})).run().await.unwrap();
    for (execution, tokens) in [(pending, 0), (waiting, 2)] {
        let result = engine.cancel(&execution.id, "changed my mind").await.unwrap();
        assert_eq!(result.execution_id, execution.id);
        assert_eq!((result.previous_status, result.cancelled), (Some(execution.status), true));
        assert_eq!((result.tokens_invalidated, result.children_cancelled), (tokens, 0));
        let cancelled = stored(&backend, &execution.id).await;
        assert_eq!((cancelled.status, &cancelled.context["kept"]), (ExecutionStatus::Cancelled, &json!(1)));
        let record = cancelled.cancellation.unwrap();
        assert_eq!((record.source, record.reason.as_deref()), (CancelSource::User, Some("changed my mind")));
        assert_eq!(Some(record.cancelled_at), result.cancelled_at);
        let all = backend.tokens().get_by_execution(&execution.id).await.unwrap();
        assert!(all.iter().all(|token| token.status == TokenStatus::Revoked));
        let tick = engine.tick(&execution.id).await.unwrap();
        assert_eq!((tick.done, tick.status), (true, ExecutionStatus::Cancelled));
        let again = engine.cancel(&execution.id, CancelRequest::default()).await.unwrap();
        assert_eq!((again.cancelled, again.previous_status), (false, Some(ExecutionStatus::Cancelled)));
    }
    let nobody = engine.cancel(&ExecutionId::new("nobody").unwrap(), "x").await.unwrap();
    assert_eq!((nobody.cancelled, nobody.previous_status), (false, None));
    drain(&engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_running_step_is_told_at_once_and_what_it_says_does_not_count() {
    // scenarios F06, F08: in the first step and in a later one, driven by a worker of this process and by the process itself.
    // One that waits in the queue is pending until its first commit; one that is run here never waits.
    for (flow, queued) in [("hanging", ExecutionStatus::Pending), ("later", ExecutionStatus::Running)] {
        for by_worker in [true, false] {
            let previous = if by_worker { queued } else { ExecutionStatus::Running };
            let backend = backend();
            let (started, mut starts) = mpsc::unbounded_channel();
            let engine = engine(&backend, started);
            let worker = engine.worker().start().unwrap();
            let run = (!by_worker).then(|| tokio::spawn(engine.create(flow, json!({})).run()));
            if by_worker {
                engine.create(flow, json!({})).await.unwrap();
            }
            let id = starts.recv().await.unwrap();
            let result = engine.cancel(&id, "stop").await.unwrap();
            assert_eq!((result.cancelled, result.previous_status), (true, Some(previous)));
            let cancelled = stored(&backend, &id).await;
            assert_eq!((cancelled.status, cancelled.context.get("out")), (ExecutionStatus::Cancelled, None));
            assert_eq!(cancelled.cancellation.as_ref().unwrap().reason.as_deref(), Some("stop"));
            let announced = types(&backend, &id).await.contains(&"execution.cancelling".to_owned());
            assert_eq!(announced, previous == ExecutionStatus::Running);
            if let Some(run) = run {
                assert_eq!(run.await.unwrap().unwrap().status, ExecutionStatus::Cancelled);
            }
            worker.stop().await.unwrap();
            assert_eq!(stored(&backend, &id).await, cancelled);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_of_another_process_is_told_at_its_next_heartbeat() {
    let backend = backend();
    let (started, mut starts) = mpsc::unbounded_channel();
    let theirs = engine(&backend, started);
    let worker = theirs.worker().start().unwrap();
    let id = theirs.create("hanging", json!({})).await.unwrap().execution.id;
    starts.recv().await.unwrap();
    let ours = engine(&backend, mpsc::unbounded_channel().0);
    assert!(ours.cancel(&id, "stop").await.unwrap().cancelled);
    // Their heartbeat finds it, their handler ends, and nothing of it counts.
    worker.stop().await.unwrap();
    assert_eq!(stored(&backend, &id).await.status, ExecutionStatus::Cancelled);
    assert_eq!(backend.queue().stats("default").await.unwrap().dead, 0);
}

#[tokio::test(start_paused = true)]
async fn an_intent_without_an_end_is_finished_by_whoever_comes_by() {
    // scenario F08: the process that cancelled died between its two commits.
    let backend = backend();
    let flow = Flow::builder("f", "1.0.0")
        .step(Step::new("a", "note").on_success("b"))
        .step(Step::new("b", "note"))
        .build()
        .unwrap();
    let engine = builder(&backend).handle_fn("note", note).flow(flow).build().unwrap();
    let id = engine.create("f", json!({})).await.unwrap().execution.id;
    let running = stored(&backend, &id).await;
    let mut changes =
        mainspring_core::flow::cancelling(running, CancelSource::User, Some("half"), backend.now());
    changes.executions[0].execution.status = ExecutionStatus::Cancelling;
    backend.commit(changes).await.unwrap();
    let tick = engine.tick(&id).await.unwrap();
    assert_eq!((tick.done, tick.status), (false, ExecutionStatus::Cancelling));
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.step_count, 0);
    backend.advance(Duration::from_secs(2));
    drain(&engine).await;
    let ended = stored(&backend, &id).await;
    assert_eq!(
        (ended.status, ended.cancellation.unwrap().reason.as_deref()),
        (ExecutionStatus::Cancelled, Some("half"))
    );
}

#[tokio::test(start_paused = true)]
async fn children_go_with_their_parents() {
    // scenario F09
    let backend = backend();
    let engine = engine(&backend, mpsc::unbounded_channel().0);
    let top = engine.create("parking", json!({})).id("top").run().await.unwrap();
    let child = engine.create("parking", json!({})).id("child").parent(top.id.clone()).run().await.unwrap();
    let over = engine.create("parking", json!({})).id("over").parent(child.id.clone()).run().await.unwrap();
    engine.cancel(&over.id, "before").await.unwrap();
    let below =
        engine.create("hanging", json!({})).id("below").parent(over.id.clone()).await.unwrap().execution;
    let result = engine.cancel(&top.id, "all of it").await.unwrap();
    assert_eq!((result.children_cancelled, result.tokens_invalidated), (2, 4));
    for id in [&child.id, &below.id] {
        let record = stored(&backend, id).await.cancellation.unwrap();
        assert_eq!(
            (record.source, record.reason.as_deref()),
            (CancelSource::Parent, Some("Parent cancelled"))
        );
    }
    assert_eq!(stored(&backend, &over.id).await.cancellation.unwrap().reason.as_deref(), Some("before"));
}

#[tokio::test(start_paused = true)]
async fn what_lasts_too_long_is_cancelled() {
    // scenarios F34, F35
    let backend = backend();
    let engine = engine(&backend, mpsc::unbounded_channel().0);
    let timeouts = |execution_timeout_ms, wait_timeout_ms| Timeouts { execution_timeout_ms, wait_timeout_ms };
    let mut ids = Vec::new();
    for (id, limits) in [
        ("old", timeouts(1_000, 900_000)),
        ("waits", timeouts(900_000, 1_000)),
        ("fine", timeouts(900_000, 900_000)),
    ] {
        ids.push(engine.create("parking", json!({})).id(id).timeouts(limits).run().await.unwrap().id);
    }
    drain(&engine).await;
    assert_eq!(stored(&backend, &ids[0]).await.status, ExecutionStatus::Waiting);
    backend.advance(Duration::from_millis(1_001));
    drain(&engine).await;
    for (id, what) in [(&ids[0], "execution"), (&ids[1], "wait")] {
        let record = stored(&backend, id).await.cancellation.unwrap();
        assert_eq!(record.source, CancelSource::Timeout);
        assert_eq!(record.reason, Some(format!("{what} took longer than 1000 ms")));
        assert!(types(&backend, id).await.contains(&"execution.timeout".to_owned()));
    }
    assert_eq!(stored(&backend, &ids[2]).await.status, ExecutionStatus::Waiting);
}

#[tokio::test(start_paused = true)]
async fn a_flow_cleans_up_after_a_cancel() {
    let backend = backend();
    let cleaned: Arc<Mutex<Vec<ExecutionId>>> = Arc::default();
    let seen = Arc::clone(&cleaned);
    let clean = move |execution: mainspring_core::Execution| {
        seen.lock().unwrap().push(execution.id.clone());
        async move {
            assert_eq!(execution.status, ExecutionStatus::Cancelled);
            panic!("a clean-up that panics affects nobody");
        }
    };
    let engine =
        builder(&backend).handle_fn("note", note).flow(single("note")).on_cancel("f", clean).build().unwrap();
    let id = engine.create("f", json!({})).await.unwrap().execution.id;
    assert!(engine.cancel(&id, "x").await.unwrap().cancelled);
    assert_eq!(*cleaned.lock().unwrap(), [id]);
}

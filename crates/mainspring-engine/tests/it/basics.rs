//! Creating, running, ticking.

use std::time::Duration;

use mainspring_core::{Backend, ContextLimits, ExecutionId, ExecutionStatus, Flow, Timeouts, flow::Step};
use mainspring_engine::{Engine, Invocation, Outcome};
use serde_json::{Map, Value, json};

use crate::{backend, builder, drain, dynamic, history, line, note, single, stored, types};

#[tokio::test(start_paused = true)]
async fn a_line_of_steps_completes_with_its_history() {
    // scenarios F01, F18
    let backend = backend();
    let engine = builder(&backend).handle_fn("note", note).flow(line("line", 3)).build().unwrap();
    let created = engine.create("line", json!({"x": 1})).await.unwrap();
    let id = created.execution.id.clone();
    assert_eq!((created.created, created.execution.status), (true, ExecutionStatus::Pending));
    assert_eq!(drain(&engine).await, 1);
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, done.step_count, done.revision), (ExecutionStatus::Completed, 3, 4));
    assert_eq!(done.context["by_c"], json!(format!("{id}/c/2")));
    assert_eq!((done.driver, done.holder, done.error), (None, None, None));
    assert!(done.finished_at.is_some());
    let expected = "execution.created execution.started step.started step.completed step.started \
                    step.completed step.started step.completed execution.completed";
    assert_eq!(types(&backend, &id).await.join(" "), expected);
    for (recorded, position) in history(&backend, &id).await.iter().zip(1..) {
        assert_eq!(recorded.position, position);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_takes_one_step() {
    // scenarios F18, F20, F21
    let backend = backend();
    let engine = builder(&backend).handle_fn("note", note).flow(line("line", 2)).build().unwrap();
    let id = engine.create("line", json!({})).await.unwrap().execution.id;
    assert_eq!(engine.get(&id).await.unwrap().unwrap().status, ExecutionStatus::Pending);
    let first = engine.tick(&id).await.unwrap();
    assert_eq!((first.done, first.status), (false, ExecutionStatus::Running));
    let paused = stored(&backend, &id).await;
    assert_eq!((paused.current_step.as_str(), paused.step_count, paused.holder.clone()), ("b", 1, None));
    let second = engine.tick(&id).await.unwrap();
    assert_eq!((second.done, second.status), (true, ExecutionStatus::Completed));
    // The wake-ups of the create and of the first tick are stale since then.
    let done = stored(&backend, &id).await;
    assert_eq!(drain(&engine).await, 2);
    assert_eq!(stored(&backend, &id).await, done);
    let again = engine.tick(&id).await.unwrap();
    assert_eq!((again.done, again.status, again.error), (true, ExecutionStatus::Completed, None));
    let nobody = ExecutionId::new("nobody").unwrap();
    let missing = engine.tick(&nobody).await.unwrap();
    assert_eq!((missing.done, missing.status), (true, ExecutionStatus::Failed));
    assert_eq!(missing.error.unwrap().code, "NOT_FOUND");
    assert_eq!(engine.get(&nobody).await.unwrap(), None);
    assert!(engine.run(&nobody).await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_fails_with_its_code() {
    // scenarios F05, F14, F15
    let looping = Flow::builder("f", "1.0.0").step(Step::new("s", "note").on_success("s")).build().unwrap();
    let backend = backend();
    let engine = builder(&backend).handle_fn("note", note).max_steps(7).flow(looping).build().unwrap();
    let id = engine.create("f", json!({})).run().await.unwrap().id;
    let failed = stored(&backend, &id).await;
    assert_eq!((failed.status, failed.step_count), (ExecutionStatus::Failed, 7));
    assert_eq!(failed.error.unwrap().code, "MAX_STEPS");

    let error = engine.create("nothing", json!({})).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("flow `nothing`"), "{error}");

    // Saved by a process with other handlers.
    dynamic(&backend)
        .flows()
        .save(&Flow::builder("g", "1.0.0").step(Step::new("s", "theirs")).build().unwrap())
        .await
        .unwrap();
    let created = engine.create("g", json!({})).await.unwrap();
    let tick = engine.tick(&created.execution.id).await.unwrap();
    let error = tick.error.unwrap();
    assert_eq!(
        (tick.done, error.code.as_str(), error.step_id.as_deref()),
        (true, "HANDLER_NOT_FOUND", Some("s"))
    );
    assert!(error.timestamp.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_put_together_wrong_is_refused_by_name() {
    // scenarios F16, F38
    let flow = |handler: &str| Flow::builder("f", "1.0.0").step(Step::new("s", handler)).build().unwrap();
    let cases = [
        (builder(&backend()).flow(flow("mine")), "mine"),
        (
            builder(&backend()).handle_fn("note", note).handle_fn("note", note),
            "handler `note` is registered twice",
        ),
        (builder(&backend()).flow(flow("batch")).builtins(false), "batch"),
        (
            builder(&backend()).flow(flow("transform")).flow(flow("batch")),
            "flow `f` 1.0.0 is registered twice",
        ),
        (builder(&backend()).max_steps(0), "engine.max_steps"),
        (builder(&backend()).step_timeout(Duration::ZERO), "engine.step_timeout"),
        (builder(&backend()).lease(Duration::ZERO), "engine.lease"),
        (builder(&backend()).queue(""), "engine.queue"),
    ];
    for (builder, needle) in cases {
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains(needle), "{needle}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_option_of_a_create_is_stored() {
    // scenarios F17, F13
    let backend = backend();
    let engine = builder(&backend).handle_fn("note", note).flow(line("line", 1)).build().unwrap();
    let parent = engine.create("line", json!({})).id("top").await.unwrap().execution;
    let mut metadata = Map::new();
    metadata.insert("who".into(), json!("ada"));
    let timeouts = Timeouts { execution_timeout_ms: 1_000, wait_timeout_ms: 2_000 };
    let created = engine
        .create("line", json!({"a": 1}))
        .id("mine")
        .tenant("acme")
        .queue("slow")
        .idempotency_key("key")
        .idempotency_window(Duration::from_secs(30 * 24 * 3600))
        .metadata(metadata.clone())
        .timeouts(timeouts)
        .parent(parent.id.clone())
        .await
        .unwrap();
    let execution = stored(&backend, &created.execution.id).await;
    assert_eq!(execution, created.execution);
    assert_eq!(
        (execution.id.as_str(), execution.tenant.as_str(), execution.queue.as_str()),
        ("mine", "acme", "slow")
    );
    assert_eq!((execution.metadata, execution.timeouts), (metadata, timeouts));
    assert_eq!((execution.parent, execution.root), (Some(parent.id.clone()), parent.id));
    assert_eq!(
        execution.idempotency_expires_at.unwrap().since(backend.now()),
        Duration::from_secs(7 * 24 * 3600)
    );
    assert_eq!(drain(&engine).await, 1, "the parent; the other queue has a worker of its own");
    assert_eq!(engine.worker().queue("slow").drain().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn bad_input_of_a_create_is_refused_by_name() {
    let limits = ContextLimits { max_keys: 1, ..ContextLimits::default() };
    let engine =
        builder(&backend()).handle_fn("note", note).limits(limits).flow(line("line", 1)).build().unwrap();
    let create = || engine.create("line", json!({}));
    let cases = [
        (engine.create("line", json!([1])), "context: is not a JSON object"),
        (engine.create("line", json!({"a": 1, "b": 1})), "context: more than 1 keys"),
        (create().id(""), "ExecutionId"),
        (create().queue("a\nb"), "execution.queue"),
        (create().tenant("x".repeat(300)), "execution.tenant"),
        (create().version("9.9.9"), "flow `line@9.9.9` does not exist"),
        (create().parent(ExecutionId::new("gone").unwrap()), "parent execution `gone` does not exist"),
        (create().timeouts(Timeouts { wait_timeout_ms: 0, ..Timeouts::default() }), "timeouts.waitTimeoutMs"),
    ];
    for (create, needle) in cases {
        let error = create.await.unwrap_err();
        assert!(error.to_string().contains(needle), "{needle}: {error}");
    }
    create().id("one").await.unwrap();
    assert!(create().id("one").await.unwrap_err().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn a_key_finds_the_first_execution_within_its_window() {
    // scenarios F11, F12, F13
    let backend = backend();
    let engine = builder(&backend)
        .handle_fn("note", note)
        .flow(line("line", 1))
        .flow(line("other", 1))
        .build()
        .unwrap();
    let create = |flow: &str, key: &str| engine.create(flow, json!({})).idempotency_key(key);
    let first = create("line", "k").await.unwrap();
    assert!(first.created && !first.idempotency_hit);
    let second = create("line", "k").await.unwrap();
    assert_eq!(
        (second.created, second.idempotency_hit, &second.execution.id),
        (false, true, &first.execution.id)
    );
    for other in [create("line", "k2"), create("other", "k"), create("line", "k").tenant("t")] {
        assert!(other.await.unwrap().created);
    }
    // The look-up comes before the flow is: a key that was used is answered by an engine that never knew the flow.
    let bare = Engine::builder(dynamic(&backend)).build().unwrap();
    assert!(
        bare.create("line", json!({})).idempotency_key("k").version("0.0.0").await.unwrap().idempotency_hit
    );
    backend.advance(Duration::from_secs(24 * 3600));
    assert!(create("line", "k").await.unwrap().created);
}

#[tokio::test(start_paused = true)]
async fn of_many_creates_with_one_key_one_wins() {
    let engine = builder(&backend()).handle_fn("note", note).flow(line("line", 1)).build().unwrap();
    let creates = (0..20).map(|_| engine.create("line", json!({})).idempotency_key("k").into_future());
    let all = futures_util::future::try_join_all(creates).await.unwrap();
    assert_eq!(all.iter().filter(|c| c.created).count(), 1);
    assert!(all.iter().all(|c| c.execution.id == all[0].execution.id));
}

#[tokio::test(start_paused = true)]
async fn the_version_is_pinned_when_an_execution_is_created() {
    // scenarios F19, F37
    let backend = backend();
    let flow = |version: &str, value: &str| {
        let step = Step::new("s", "transform").input(json!({"static": value})).output_key("out");
        Flow::builder("f", version).step(step).build().unwrap()
    };
    let make = |versions: &[&str]| {
        let flows = versions.iter().map(|v| flow(v, v));
        flows.fold(builder(&backend), mainspring_engine::EngineBuilder::flow).build().unwrap()
    };
    let old = make(&["1.9.0", "1.2.0"]);
    let early = old.create("f", json!({})).await.unwrap().execution;
    assert_eq!(early.flow_version, "1.9.0");
    let new = make(&["1.10.0"]);
    let late = new.create("f", json!({})).await.unwrap().execution;
    assert_eq!(late.flow_version, "1.10.0");
    let asked = new.create("f", json!({})).version("1.2.0").await.unwrap().execution;
    // Both engines run all of them: what one does not know it finds in the store.
    for (engine, execution, version) in
        [(&new, early, "1.9.0"), (&old, late, "1.10.0"), (&new, asked, "1.2.0")]
    {
        assert_eq!(engine.run(&execution.id).await.unwrap().context["out"], version);
    }
    let other = builder(&backend).flow(flow("1.9.0", "changed")).build().unwrap();
    assert!(other.publish().await.unwrap_err().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn effects_of_a_handler_are_committed_with_its_step() {
    let backend = backend();
    let handler = |call: Invocation, _: Value| async move {
        assert_eq!((call.flow_id(), call.flow_version(), call.step_id()), ("f", "1.0.0", "s"));
        assert_eq!((call.attempt(), call.tenant(), call.get("in")), (1, "acme", Some(json!(1))));
        call.set("made", json!({"n": 2}))?;
        call.remove("in");
        assert_eq!((call.get("made"), call.get("in")), (Some(json!({"n": 2})), None));
        assert_eq!(call.context()["in"], 1);
        call.emit("mine.happened", json!({"n": 3}));
        call.push(mainspring_core::NewMessage::new("mail", "welcome", json!(4)));
        call.resume_token(mainspring_core::TokenOptions::default())?;
        Ok(Outcome::success(json!(5)))
    };
    let engine = builder(&backend).handle_fn("mine", handler).flow(single("mine")).build().unwrap();
    let done = engine.create("f", json!({"in": 1})).tenant("acme").run().await.unwrap();
    assert_eq!(Value::Object(done.context.clone()), json!({"made": {"n": 2}, "out": 5}));
    assert!(types(&backend, &done.id).await.contains(&"mine.happened".to_owned()));
    assert_eq!(dynamic(&backend).queue().stats("mail").await.unwrap().ready, 1);
    assert_eq!(dynamic(&backend).tokens().get_by_execution(&done.id).await.unwrap().len(), 1);
}

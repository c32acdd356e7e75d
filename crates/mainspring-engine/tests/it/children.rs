//! Executions that start executions.

use mainspring_core::{Backend, ExecutionStatus, Flow, flow::Step};
use mainspring_engine::{ChildFlow, Engine, HandlerError, Invocation, Outcome};
use mainspring_testing::MemoryBackend;
use serde_json::{Map, Value, json};

use crate::{backend, builder, drain, stored, types};

fn engine(backend: &MemoryBackend, config: Value) -> Engine {
    let parent = Flow::builder("parent", "1.0.0")
        .step(
            Step::new("call", "sub-flow")
                .config(config)
                .input(json!({"keys": ["n"]}))
                .output_key("child")
                .on_success("after"),
        )
        .step(Step::new("after", "transform").input(json!({"static": true})).output_key("after"))
        .build()
        .unwrap();
    let child =
        Flow::builder("child", "1.0.0").step(Step::new("work", "work").output_key("done")).build().unwrap();
    let looping = Flow::builder("deep", "1.0.0").step(Step::new("s", "deeper")).build().unwrap();
    let work = |call: Invocation, input: Value| async move {
        assert!(call.parent().is_some());
        match input["n"].as_u64() {
            Some(0) => Err(HandlerError::new("ZERO", "is zero")),
            Some(n) => Ok(Outcome::success(json!(n + 1))),
            None => Ok(Outcome::wait_for_signal("asked")),
        }
    };
    let deeper =
        |_: Invocation, _: Value| async { Ok(Outcome::<Value>::child(ChildFlow::new("deep", Map::new()))) };
    builder(backend)
        .handle_fn("work", work)
        .handle_fn("deeper", deeper)
        .flow(parent)
        .flow(child)
        .flow(looping)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_child_is_the_outcome_of_the_step() {
    // scenario F43: by workers, one slot is enough (nothing waits in it), and by the process itself.
    for here in [false, true] {
        for (n, expected) in [(1, Ok(2)), (0, Err("CHILD_FAILED"))] {
            let backend = backend();
            let engine = engine(&backend, json!({"flowId": "child"}));
            let id = if here {
                engine.create("parent", json!({"n": n})).run().await.unwrap().id
            } else {
                let id = engine.create("parent", json!({"n": n})).tenant("acme").await.unwrap().execution.id;
                assert_eq!(engine.worker().concurrency(1).drain().await.unwrap(), 3);
                id
            };
            let parent = stored(&backend, &id).await;
            let children = backend.executions().find_children(&id).await.unwrap();
            assert_eq!(children.len(), 1);
            let child = &children[0];
            assert_eq!((&child.parent, &child.root, &child.tenant), (&Some(id.clone()), &id, &parent.tenant));
            match expected {
                Ok(done) => {
                    assert_eq!(parent.status, ExecutionStatus::Completed);
                    let output = json!({
                        "childExecutionId": child.id, "flowId": "child", "status": "completed",
                        "context": {"n": n, "done": done},
                    });
                    assert_eq!((&parent.context["child"], &parent.context["after"]), (&output, &json!(true)));
                }
                Err(code) => {
                    let error = parent.error.unwrap();
                    assert_eq!((parent.status, error.code.as_str()), (ExecutionStatus::Failed, code));
                    assert_eq!(error.details["code"], "ZERO");
                }
            }
            let types = types(&backend, &id).await;
            assert!(types.contains(&"child.started".into()) && types.contains(&"child.finished".into()));
            drain(&engine).await;
            assert_eq!(
                stored(&backend, &id).await.revision,
                parent.revision,
                "what is left in the queue is stale"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_not_waited_for_only_leaves_its_id() {
    // scenario F43
    let backend = backend();
    let engine =
        engine(&backend, json!({"flowId": "child", "waitForCompletion": false, "metadata": {"who": "ada"}}));
    let id = engine.create("parent", json!({"n": 0})).await.unwrap().execution.id;
    assert_eq!(drain(&engine).await, 2);
    let parent = stored(&backend, &id).await;
    let child = backend.executions().find_children(&id).await.unwrap().remove(0);
    assert_eq!((parent.status, child.status), (ExecutionStatus::Completed, ExecutionStatus::Failed));
    assert_eq!(parent.context["child"], json!({"childExecutionId": child.id}));
    assert_eq!(child.metadata["who"], "ada");
}

#[tokio::test(start_paused = true)]
async fn a_parked_parent_is_woken_by_its_child_and_by_nobody_else() {
    let backend = backend();
    let engine = engine(&backend, json!({"flowId": "child"}));
    let id = engine.create("parent", json!({})).await.unwrap().execution.id;
    drain(&engine).await;
    let child = backend.executions().find_children(&id).await.unwrap().remove(0);
    assert_eq!(child.status, ExecutionStatus::Waiting);
    let error = engine.resume_execution(&id, json!(1)).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("waits for child"), "{error}");
    let run = engine.run(&child.id).await.unwrap();
    assert_eq!(run.status, ExecutionStatus::Waiting);
    assert_eq!(engine.tick(&id).await.unwrap().status, ExecutionStatus::Waiting);
    // A cancelled child is a failed one.
    engine.cancel(&child.id, "no").await.unwrap();
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.error.unwrap().code, "CHILD_FAILED");
}

#[tokio::test(start_paused = true)]
async fn executions_start_each_other_only_so_deep() {
    // fault F89
    let backend = backend();
    let engine = engine(&backend, json!({"flowId": "child"}));
    let id = engine.create("deep", json!({})).await.unwrap().execution.id;
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.error.unwrap().code, "CHILD_FAILED");
    let all = backend.executions().find_by_status(ExecutionStatus::Failed, 100).await.unwrap();
    assert_eq!(all.len(), 32);

    let missing = crate::backend();
    let engine = self::engine(&missing, json!({"flowId": "nowhere"}));
    let error = engine.create("parent", json!({})).run().await.unwrap().error.unwrap();
    assert_eq!(error.code, "FLOW_NOT_FOUND");
}

//! Messages that are given up: whoever waits for them fails in the commit that ends them.

use std::time::Duration;

use mainspring_core::{
    Backend, ExecutionStatus, Flow, QueueOptions,
    flow::Step,
    queue::{MessageQuery, MessageUpdate, Target},
};
use mainspring_engine::{Cx, Engine, Invocation, JobRun, Workflow, WorkflowResult};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{backend, builder, drain, stored};

const NAP: Workflow<bool, (), String> = Workflow::new("nap");

/// What takes for ever: a flow's step, the code of a workflow, or a step that a workflow calls.
fn engine(backend: &MemoryBackend) -> (Engine, mpsc::UnboundedReceiver<()>) {
    let (started, starts) = mpsc::unbounded_channel();
    let (in_flow, in_code) = (started.clone(), started.clone());
    let built = builder(backend)
        .flow(Flow::builder("nap flow", "1.0.0").step(Step::new("s", "nap")).build().unwrap())
        .handle_fn("nap", move |_: Invocation, _: Value| {
            in_flow.send(()).unwrap();
            std::future::pending::<Result<Value, _>>()
        })
        .register(NAP, move |cx: Cx, calls: bool| {
            let started = in_code.clone();
            async move {
                if calls {
                    return Ok(cx.call("nap step", &()).await?);
                }
                started.send(()).unwrap();
                std::future::pending::<WorkflowResult<(), String>>().await
            }
        })
        .step_fn("nap step", move |_: JobRun, (): ()| {
            started.send(()).unwrap();
            std::future::pending::<Result<(), _>>()
        })
        .build()
        .unwrap();
    (built, starts)
}

/// The next try of whatever waits is its last.
async fn last_try(backend: &MemoryBackend) {
    let waiting = backend.queues().find_messages("default", MessageQuery::default()).await.unwrap();
    for message in waiting {
        let update = MessageUpdate { max_attempts: Some(1), ..MessageUpdate::default() };
        backend.queues().update_messages("default", Target::Id(message.message.id), update).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_whose_message_is_given_up_fails() {
    // R06: here because its queue takes back what takes too long.
    for id in ["flow", "code", "calls"] {
        let backend = backend();
        let options = QueueOptions { timeout: Some(Duration::from_secs(8)), ..QueueOptions::default() };
        backend.queues().create_queue("default", options).await.unwrap();
        let (engine, mut starts) = engine(&backend);
        let id = match id {
            "flow" => engine.create("nap flow", json!({})).await.unwrap().execution.id,
            id => engine.start(NAP, &(id == "calls")).id(id).await.unwrap().id().clone(),
        };
        let worker = engine.worker().grace(Duration::ZERO).start().unwrap();
        starts.recv().await.unwrap();
        worker.stop().await.unwrap();
        last_try(&backend).await;
        tokio::time::timeout(Duration::from_secs(60), drain(&engine)).await.expect("it is given up");
        let failed = stored(&backend, &id).await;
        assert_eq!(failed.status, ExecutionStatus::Failed, "{id}: {failed:?}");
        assert_eq!(failed.error.unwrap().code, "TIMEOUT");
        assert!(backend.queue().dead_letters("default", 10).await.unwrap().is_empty());
        let stats = backend.queue().stats("default").await.unwrap();
        assert_eq!((stats.ready, stats.claimed, stats.deferred), (0, 0, 0));
    }
}

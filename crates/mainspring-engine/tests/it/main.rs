//! The engine on the memory backend: what FlowMonkey's users were promised (scenarios F01 to F54 of the specification), and what holds
//! when handlers, workers and databases misbehave.
//!
//! The backend's time stands still until a test moves it; Tokio's clock is paused, so it jumps to the next timer whenever
//! every task is idle. Nothing here takes time, and nothing waits for it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests are tests too")]

mod basics;
mod branches;
mod cancels;
mod catalogue;
mod children;
mod faults;
mod flaky;
mod fleet;
mod given_up;
#[cfg(feature = "http")]
mod http;
mod jobs;
mod listeners;
mod resumes;
mod retries;
mod waits;
mod workflow;

use std::sync::Arc;

use mainspring_core::{Backend, Execution, ExecutionId, Flow, RecordedEvent, flow::Step};
use mainspring_engine::{Engine, EngineBuilder, Invocation};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};

fn backend() -> MemoryBackend {
    MemoryBackend::new()
}

fn dynamic(backend: &MemoryBackend) -> Arc<dyn Backend> {
    Arc::new(backend.clone())
}

fn builder(backend: &MemoryBackend) -> EngineBuilder {
    Engine::builder(dynamic(backend))
}

/// `a`, `b`, … one after the other, all done by the handler `note`.
fn line(id: &str, steps: usize) -> Flow {
    let name = |n: usize| char::from(b'a' + u8::try_from(n).unwrap()).to_string();
    let mut flow = Flow::builder(id, "1.0.0");
    for n in 0..steps {
        let step = Step::new(name(n), "note").output_key(format!("by_{}", name(n)));
        flow = flow.step(if n + 1 < steps { step.on_success(name(n + 1)) } else { step });
    }
    flow.build().unwrap()
}

/// The handler `note`: its output is the step's idempotency key.
async fn note(call: Invocation, _input: Value) -> Result<Value, mainspring_engine::HandlerError> {
    Ok(json!(call.idempotency_key()))
}

/// A flow of one step.
fn single(handler: &str) -> Flow {
    Flow::builder("f", "1.0.0").step(Step::new("s", handler).output_key("out")).build().unwrap()
}

async fn history(backend: &MemoryBackend, id: &ExecutionId) -> Vec<RecordedEvent> {
    backend.events().get_by_execution(id).await.unwrap()
}

async fn types(backend: &MemoryBackend, id: &ExecutionId) -> Vec<String> {
    history(backend, id).await.into_iter().map(|recorded| recorded.event.event_type).collect()
}

async fn stored(backend: &MemoryBackend, id: &ExecutionId) -> Execution {
    backend.executions().get(id).await.unwrap().unwrap()
}

/// What one worker does until nothing is ready: the number of deliveries.
async fn drain(engine: &Engine) -> u64 {
    engine.worker().drain().await.unwrap()
}

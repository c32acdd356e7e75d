//! The Mainspring flow engine: versioned flows, durable steps, one commit a step.
//!
//! ```text
//! create ──► row · first event · wake-up message                                        one commit
//!                     │
//!   a worker claims it, or this process holds it
//!                     ▼
//!            the handler of the step runs        nothing is held: no transaction, no lock, no connection
//!                     ▼
//!            row · history · messages · tokens · jobs · settlement                      one commit a step
//!                     ▼
//!     next step · wait (nothing is held) · over (whoever waits is woken in the same commit)
//! ```
//!
//! A crash between two commits loses nothing but the run of one step, which is run again: handlers run at least once, what
//! they return takes effect once. [`Invocation::idempotency_key`] is the same for every run of one visit of a step.
//!
//! ```
//! use std::sync::Arc;
//! use mainspring_core::{Backend, ExecutionStatus, Flow, flow::Step};
//! use mainspring_engine::{Engine, Invocation};
//! use mainspring_testing::MemoryBackend;
//! use serde_json::{Value, json};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! let flow = Flow::builder("greet", "1.0.0")
//!     .step(Step::new("hello", "greeting").output_key("text").on_success("nap"))
//!     .step(Step::new("nap", "delay").config(json!({"ms": 10})).on_success("shout"))
//!     .step(Step::new("shout", "transform").input(json!({"template": "${text}!"})).output_key("text"))
//!     .build()?;
//! let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::realtime());
//! let engine = Engine::builder(backend)
//!     .handle_fn("greeting", |_call: Invocation, input: Value| async move {
//!         let name = input["name"].as_str().ok_or("who?")?;
//!         Ok(json!(format!("hello {name}")))
//!     })
//!     .flow(flow)
//!     .build()?;
//!
//! // Driven here …
//! let done = engine.create("greet", json!({"name": "Ada"})).run().await?;
//! assert_eq!((done.status, &done.context["text"]), (ExecutionStatus::Completed, &json!("hello Ada!")));
//!
//! // … or by workers, of which there may be any number in any number of processes.
//! let worker = engine.worker().concurrency(16).start()?;
//! let created = engine.create("greet", json!({"name": "Bob"})).idempotency_key("bob").await?;
//! assert!(created.created);
//! assert_eq!(engine.run(&created.execution.id).await?.context["text"], "hello Bob!"); // waits for the worker
//! worker.stop().await?;
//! # Ok(()) }
//! ```

mod again;
mod builder;
mod builtin;
mod call;
mod cancel;
mod commit;
mod create;
mod deliver;
mod drive;
mod ends;
mod engine;
mod error;
mod flows;
mod handler;
mod here;
mod invocation;
mod job;
mod job_run;
mod left;
mod listener;
mod local;
mod meter;
mod outcome;
mod place;
mod registry;
mod remote_run;
mod resume;
mod retention;
mod running;
mod spans;
mod sweep;
mod workflow;

pub use builder::EngineBuilder;
#[cfg(feature = "http")]
pub use builtin::HttpAccess;
pub use cancel::{CancelRequest, CancelResult};
pub use create::{Create, Created};
pub use engine::Engine;
pub use error::HandlerError;
pub use handler::{Handler, JobHandler};
pub use here::Tick;
pub use invocation::Invocation;
pub use job::JobRun;
pub use listener::{Lifecycle, Subscription};
pub use outcome::{ChildFlow, Outcome};
pub use registry::{HandlerInfo, HandlerRegistry};
pub use workflow::*;

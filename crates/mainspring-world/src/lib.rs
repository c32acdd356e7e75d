//! The World of Mainspring: runs of workflows whose code may be anywhere, with everything that happens to them behind one
//! write.
//!
//! ```text
//! events.create(run, event) ──► decide (pure) ──► Changes ──► one commit ──► {event, run?, step?, hook?, wait?}
//!                                  ▲
//!      history of the execution ──fold
//! ```
//!
//! A run is an execution, its log is the execution's history, and what may happen when is decided from that history alone:
//! a step has one owner, a token one hook, a run one end.
//!
//! ```
//! use mainspring_testing::MemoryBackend;
//! use mainspring_world::{Fact, NewRun, NewStep, Resolve, RunEvent, Storage};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! let storage = Storage::new(MemoryBackend::new());
//! let run = storage.runs().create(NewRun::new("add", json!([1, 2]))).await?;
//! let events = storage.events();
//! events.create(Some(&run.run_id), Fact::RunStarted { run_input: None }).await?;
//!
//! // Beginning a step that nobody has created yet is the claim to it: whoever comes second gets a conflict.
//! let plus = NewStep { step_name: "plus".into(), input: Some(json!([1, 2])) };
//! let claim = RunEvent::about("step_1", Fact::StepStarted { create: Some(plus) });
//! assert_eq!(events.create(Some(&run.run_id), claim.clone()).await?.step.unwrap().attempt, 1);
//! assert!(events.create(Some(&run.run_id), claim).await.unwrap_err().is_conflict());
//!
//! let done = Fact::StepCompleted { result: Some(json!(3)) };
//! events.create(Some(&run.run_id), RunEvent::about("step_1", done)).await?;
//! events.create(Some(&run.run_id), Fact::RunCompleted { output: Some(json!(3)) }).await?;
//! assert_eq!(storage.runs().get(&run.run_id, Resolve::All).await?.output, Some(json!(3)));
//! # Ok(()) }
//! ```
//!
//! [`World`] is this storage with an engine, workers and whoever they call: workflows whose code is here are durable functions,
//! their steps are done here or elsewhere.
//!
//! | feature | brings |
//! |---|---|
//! | none | storage, world, streams, calls within the process |
//! | `client` | calls over HTTP: `http::HttpInvoker` |
//! | `server` | `World::router`: endpoints, webhooks, streams, `/livez`, `/readyz` and `/startupz` |

mod decide;
mod entity;
mod event;
mod handlers;
mod ids;
mod names;
mod owed;
mod page;
mod settings;
mod state;
mod storage;
mod world;

pub use entity::{Event, Fault, Hook, Run, RunStatus, Step, StepStatus, Wait, WaitStatus};
pub use event::{Fact, MAX_ATTRIBUTES, NewRun, NewStep, RunEvent};
pub use handlers::{StepContext, StepFailure, StepHandlers};
pub use ids::{SPEC_VERSION, new_run_id};
pub use mainspring_http as http;
pub use names::EventType;
pub use page::{Order, Page, Paging, Resolve};
pub use settings::WorldSettings;
pub use storage::{Created, Events, Hooks, RunFilter, Runs, Steps, Storage, Waits};
pub use world::{CallOptions, Recovered, Transport, World, WorldBuilder};

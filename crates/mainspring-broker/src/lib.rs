//! The broker of Mainspring: CloudEvents that are routed to handlers and can neither be lost nor handled twice.
//!
//! ```
//! use mainspring_broker::{CloudEvent, Contract, Schema, Subject, Terms};
//! use serde_json::json;
//!
//! # fn main() -> mainspring_core::Result<()> {
//! let sum = Contract::new("#/services/sum", "cmd.total.sum")
//!     .version("1.0.0", Terms::accepting(Schema::any()).emitting("evt.total.summed", Schema::any()));
//! let event = sum.accept("1.0.0", "my.workflow")?.data(json!({"numbers": [1, 2]})).build()?;
//!
//! assert_eq!(event.to(), Some("cmd.total.sum"));
//! assert_eq!(Subject::parse(event.subject())?.execution.initiator, "my.workflow");
//! assert_eq!(CloudEvent::from_json(event.to_json())?, event);
//! # Ok(()) }
//! ```

mod backlog;
mod broker;
mod contract;
mod core;
mod deliver;
mod directory;
mod domain;
mod draft;
mod error;
mod event;
mod handler;
mod listener;
mod memory;
mod options;
mod parked;
mod process;
mod schema;
mod sending;
mod service;
mod subject;

pub use broker::{Broker, BrokerBuilder};
pub use contract::{Contract, Terms};
pub use deliver::Classify;
pub use domain::Domain;
pub use draft::Draft;
pub use error::{HandlerError, OnError, violation};
pub use event::{CloudEvent, EventBuilder, HttpEvent, PROFILE};
pub use handler::{Call, Emission, Handler, Reaction};
pub use memory::{MachineMemory, Memory, MemoryInfo, MemoryOptions, Metadata};
pub use options::HandlerOptions;
pub use process::{Collected, Machine, Next, Orchestrator, Resumable, Wake};
pub use schema::Schema;
pub use sending::{KeyBy, Sending};
pub use service::{Service, ServiceCall};
pub use subject::{Orchestration, Process, Subject};

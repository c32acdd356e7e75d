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

mod contract;
mod event;
mod schema;
mod subject;

pub use contract::{Contract, Terms};
pub use event::{CloudEvent, EventBuilder, HttpEvent, PROFILE};
pub use schema::Schema;
pub use subject::{Orchestrator, Process, Subject};

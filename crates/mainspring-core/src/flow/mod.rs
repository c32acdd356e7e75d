//! Flows: versioned definitions of steps and transitions, and the pure interpreter that advances an execution through one.
//!
//! ```text
//! JSON or builder ─► validate ─► Flow
//!
//!              ┌───────────── Then::Run ─────────────┐
//!              ▼                                     │
//! Execution ─► next_call ─► (the handler runs) ─► advance ─► Changes, to be committed
//!              ▲                                     │
//!              └── woken · resumed · replied ◄── Then::Parked      Then::Ended
//! ```
//!
//! Nothing here reads a clock, a store or a network: facts come in, a [`Changes`](crate::Changes) comes out. What a handler
//! does wrong becomes a [`Failure`](crate::Failure) of its step and never an error of the engine.

mod advance;
mod builder;
mod call;
mod cancel;
pub mod code;
mod definition;
mod edges;
mod lifecycle;
mod path;
mod reply;
mod result;
mod retry;
mod selector;
mod state;
mod validate;
mod version;

#[cfg(test)]
mod tests;

pub use advance::{Advance, Then, advance};
pub use builder::FlowBuilder;
pub use call::{StepCall, next_call};
pub use cancel::{cancelled, cancelling};
pub use definition::{Flow, FlowFilter, FlowStatus, Saved, Step, Transitions};
pub use edges::Edge;
pub use lifecycle::{Drive, created, failed, resumed, woken};
pub use path::lookup;
pub use reply::{Answer, replied};
pub use result::{NewChild, NewJob, Next, StepOutcome, StepResult};
pub use retry::RetryPolicy;
pub use selector::Selector;
pub use state::{JOB_RUN, RESUME, WAKE, reply_message, wake_message};
pub use version::{compare_versions, latest, parse_version};

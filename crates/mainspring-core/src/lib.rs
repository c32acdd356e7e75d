//! Words, states, traits and the pure flow interpreter of Mainspring: no IO, no clock, no runtime.
//!
//! A message is delivered to a handler; the handler decides; the decision is committed in one Postgres transaction. This
//! crate has the words of that sentence as types ([`Execution`], [`NewEvent`], [`NewMessage`], [`Job`], [`ResumeToken`],
//! [`Flow`]), the decision as a value ([`Changes`]) and the seam behind which it is stored ([`Backend`]).
//!
//! ```
//! use mainspring_core::{Flow, flow::Step};
//! use serde_json::json;
//!
//! let flow = Flow::builder("greet", "1.0.0")
//!     .step(Step::new("hello", "transform").input(json!({"full": true})).on_success("bye"))
//!     .step(Step::new("bye", "transform").input(json!({"full": true})))
//!     .build()?;
//! assert_eq!(flow.initial_step_id, "hello");
//! # Ok::<(), mainspring_core::Error>(())
//! ```

mod attribute;
mod attribute_bound;
mod backend;
mod changes;
mod context;
pub mod decider;
mod document;
mod error;
pub mod event;
pub mod event_workflow;
pub mod execution;
pub mod flow;
mod id;
mod job;
pub mod lease;
pub mod limits;
pub mod message;
pub mod metric;
#[path = "nul_text.rs"] // Windows has no files called nul.rs
pub mod nul;
pub mod output;
pub mod queue;
mod receipt;
pub mod span;
mod time;
mod token;
pub mod trace;

pub use attribute::{Attribute, Attributes, check_attributes};
pub use attribute_bound::{AttributeBound, Compare, sortable};
pub use backend::{
    Backend, ContextStore, EventStore, ExecutionStore, FlowStore, JobStore, QueueDriver, TokenStore,
    UpkeepTask,
};
pub use changes::{Changes, Committed, ExecutionWrite, Expect, JobWrite, TokenWrite};
pub use context::{ContextLimits, ContextRef};
pub use decider::{Decider, DomainEvent};
pub use document::DocumentRules;
pub use error::{Error, ErrorKind};
pub use event::{
    Append, Appended, Direction, EventQuery, ExecutionFact, ExpectedPosition, NewEvent, RecordedEvent,
    Snapshot, StreamHead, StreamId, StreamPage, StreamQuery,
};
pub use event_workflow::{Emit, EmitTo, EventWorkflow, Incoming};
pub use execution::{
    CancelSource, Cancellation, Execution, ExecutionFilter, ExecutionStatus, Failure, Reply, Timeouts,
};
pub use flow::{Flow, FlowFilter, Saved};
pub use id::{EventId, ExecutionId, JobId, MessageId, TokenId, WorkerId};
pub use job::{Job, JobFilter, JobLease, JobStatus, Progress};
pub use lease::{Lease, LeaseFilter, LeaseStore};
pub use message::{
    Available, ClaimRequest, Claimed, DEFAULT_QUEUE, DeadLetter, Delivery, MessageLease, NewMessage,
    QueueStats, SUSPECT_AFTER, Select, Settle, Settlement, Upkeep,
};
pub use output::{Chunk, ChunkPage, ChunkQuery, OutputInfo, OutputStore, OutputStream, OutputWrite};
pub use queue::{
    Backoff, BlockedKey, DeadLetterQuery, Group, GroupLimit, MessageOptions, MessageQuery, MessageRef,
    MessageStatus, MessageUpdate, Origin, ParentFailure, Policy, Pushed, Queue, QueueCreated, QueueFilter,
    QueueOptions, QueueStore, RateLimit, Redrive, Redriven, Retry, StoredMessage, Target, Unique, Which,
};
pub use receipt::Receipt;
pub use time::Timestamp;
pub use token::{NewToken, ResumeToken, TokenHash, TokenOptions, TokenSecret, TokenStatus};

/// The result of every call of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A future behind a pointer: what every network seam returns, so that it can be held as `dyn`.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

//! Durable functions: ordinary async code that survives a crash.
//!
//! ```text
//! start ──► row · execution.created · wake-up                                    one commit
//!   a worker claims it ──► the code runs from the top, recorded steps return what is recorded
//!                 body of a step ──► result, recorded          one commit, before the next body begins
//!                 sleep, hook, signal, child ──► parked        one commit; the future is dropped
//!                 return ──► output · the parent is told       with the last step: one commit
//! ```
//!
//! The journal is the execution's own history; its row is the fence: every commit names the revision the driver knows. What
//! comes from outside goes into the inbox, a stream of its own, and knocks: whoever drives the execution looks there before it
//! parks, and a parked one is woken by the knock.

mod body;
mod bulk;
mod child;
mod cleanup;
mod cx;
mod deliver;
mod drive;
mod emit;
mod end;
mod error;
mod export;
mod flag;
mod fork;
mod handle;
mod inbox;
mod journal;
mod kept;
mod key;
mod lend;
mod live;
mod look;
mod many;
mod outside;
mod park;
mod past;
mod recorded;
mod register;
mod remote;
mod rounds;
mod saga;
mod start;
mod start_deadline;
mod started;
mod state;
mod step;
mod tail;
mod taken;
mod tx;
mod verify;
mod wait;

pub use body::{Body, BodyOf, BodyWith};
pub use bulk::{Bulk, BulkCursor, BulkProgress};
pub use child::ChildCall;
pub use cleanup::OnCancel;
pub use cx::Cx;
pub use error::{Halt, ResultError, StepError, WorkflowError, WorkflowResult, fail};
pub use export::{ExportedEvent, ExportedExecution, ExportedHistory};
pub use fork::Fork;
pub use handle::{Drift, Workflow};
pub use many::{Either, MapItems};
pub use outside::Signal;
pub use past::Back;
pub use remote::RemoteStep;
pub use saga::Saga;
pub use start::{OnConflict, Start};
pub use started::WorkflowHandle;
pub use step::{Step, StepRun, exponential};
pub use tx::{Record, Together, TxError, abort};
pub use verify::Replay;
pub use wait::{Hook, SignalWait, Sleep};

pub(crate) use cleanup::{cleans_up, has_cleanups};
pub(crate) use emit::with_ends;
pub(crate) use handle::is_workflow;
pub(crate) use inbox::stream as inbox_of;
pub(crate) use kept::KeptLive;
pub(crate) use register::Workflows;
pub(crate) use wait::{Alarm, MANY};

use mainspring_core::Timeouts;

/// The failure code of a workflow that ended with an error of its own.
pub const WORKFLOW_ERROR: &str = "WORKFLOW_ERROR";
/// The failure code of an execution whose recorded steps are not those of the code.
pub const NON_DETERMINISM: &str = "NON_DETERMINISM";
/// The failure code of an execution whose code awaits what is not recorded, where that is
/// [looked for](crate::EngineBuilder::detect_foreign_awaits).
pub const FOREIGN_AWAIT: &str = "FOREIGN_AWAIT";
/// The failure code of a step with a name or an option that cannot be.
pub const INVALID_STEP: &str = "INVALID_STEP";
/// The failure code of a value that cannot be stored, or not be read back.
pub const UNSTORABLE: &str = "UNSTORABLE";
/// The failure code of a payload from outside that is not of the type waited for.
pub const PAYLOAD: &str = "PAYLOAD";
/// The failure code of a recorded result that is not of the type the code asks for. With [`Drift::Fail`] the execution is
/// parked until the code fits again.
pub const OTHER_TYPE: &str = "OTHER_TYPE";
/// The failure code of code that panicked.
pub const PANIC: &str = mainspring_worker::Panic::CODE;

/// In the row's context: what it was started with, until it first commits.
const INPUT: &str = "input";
/// In the row's context: what it returned.
const OUTPUT: &str = "output";
/// In the row's context: the execution it goes on as.
const CONTINUED: &str = "continuedAs";
/// In a failure's details: the application's own error.
const ERROR: &str = "error";

/// A workflow may sleep for years: it has no timeout unless it is given one.
pub(crate) fn no_timeouts() -> Timeouts {
    let ever = u64::try_from(mainspring_core::limits::MAX_DURATION.as_millis()).unwrap_or(u64::MAX);
    Timeouts { execution_timeout_ms: ever, wait_timeout_ms: ever }
}

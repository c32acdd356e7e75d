//! The failure codes the library itself writes; handlers are free to use others.

/// The definition of the execution's flow does not exist.
pub const FLOW_NOT_FOUND: &str = "FLOW_NOT_FOUND";
/// The execution stands at a step its flow does not have.
pub const STEP_NOT_FOUND: &str = "STEP_NOT_FOUND";
/// No handler is registered for the step's type.
pub const HANDLER_NOT_FOUND: &str = "HANDLER_NOT_FOUND";
/// The execution ran more steps than it may.
pub const MAX_STEPS: &str = "MAX_STEPS";
/// The step's input could not be made from the context.
pub const INPUT_ERROR: &str = "INPUT_ERROR";
/// The handler panicked, or returned what can never be stored.
pub const HANDLER_ERROR: &str = "HANDLER_ERROR";
/// The handler failed without a code.
pub const STEP_FAILED: &str = "STEP_FAILED";
/// The handler took longer than its step allows.
pub const TIMEOUT: &str = "TIMEOUT";
/// A handler chose a next step that does not exist.
pub const INVALID_TRANSITION: &str = "INVALID_TRANSITION";
/// What the step put into the context broke one of its limits.
pub const CONTEXT_LIMIT: &str = "CONTEXT_LIMIT";
/// The job of a step failed without a code.
pub const JOB_FAILED: &str = "JOB_FAILED";
/// The child execution of a step did not complete.
pub const CHILD_FAILED: &str = "CHILD_FAILED";
/// The execution was cancelled.
pub const CANCELLED: &str = "CANCELLED";

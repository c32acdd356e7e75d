//! What a workflow and its steps fail with.
//!
//! | what happened | what the code sees |
//! |---|---|
//! | the step's own error `E` | [`StepError::App`], the same again at every replay |
//! | timeout, panic, a value that cannot be stored | [`StepError::Halted`] |
//! | parked, cancelled, taken over by another worker | nothing: the future is dropped where it stands |

use std::fmt;

use mainspring_core::{Cancellation, Error, Failure};

/// What the code of a workflow returns.
pub type WorkflowResult<T, E> = Result<T, WorkflowError<E>>;

/// Something other than the application's own errors that keeps a step from having a result: it took too long, panicked, or
/// returned what cannot be stored. Not an error type itself, so that every error type can become a [`WorkflowError`].
#[derive(Clone, PartialEq)]
pub struct Halt(Box<Failure>);

impl Halt {
    pub(crate) fn new(failure: Failure) -> Self {
        Self(Box::new(failure))
    }

    /// What happened, as it is stored.
    pub fn failure(&self) -> &Failure {
        &self.0
    }

    /// `TIMEOUT`, `PANIC`, `UNSTORABLE`, `OTHER_TYPE`, `PAYLOAD`, `CHILD_FAILED`, `CANCELLED`.
    pub fn code(&self) -> &str {
        &self.0.code
    }
}

impl fmt::Debug for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a step has no result. `?` turns it into a [`WorkflowError`].
#[derive(Debug, Clone, PartialEq)]
pub enum StepError<E> {
    /// The step's own error.
    App(E),
    /// Something else.
    Halted(Halt),
}

impl<E> StepError<E> {
    /// The step's own error, when it is one.
    pub fn app(&self) -> Option<&E> {
        match self {
            Self::App(error) => Some(error),
            Self::Halted(_) => None,
        }
    }

    /// Whether the step took longer than it may.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Halted(halt) if halt.code() == mainspring_core::flow::code::TIMEOUT)
    }
}

impl<E> From<Halt> for StepError<E> {
    fn from(halt: Halt) -> Self {
        Self::Halted(halt)
    }
}

/// Why a workflow failed. Every `E` that is an [`Error`](std::error::Error) becomes one with `?`; [`fail`] is for those that
/// are not.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkflowError<E> {
    /// The workflow's own error: callers of [`result`](crate::WorkflowHandle::result) get it as it is.
    App(E),
    /// Something that stopped a step, and that the workflow did not handle.
    Halted(Halt),
}

/// `Err` with an error of the application's own: `return fail(CheckoutError::Declined)`.
///
/// # Errors
/// Always.
pub fn fail<T, E>(error: E) -> WorkflowResult<T, E> {
    Err(WorkflowError::App(error))
}

impl<E> From<Halt> for WorkflowError<E> {
    fn from(halt: Halt) -> Self {
        Self::Halted(halt)
    }
}

impl<E: std::error::Error> From<E> for WorkflowError<E> {
    fn from(error: E) -> Self {
        Self::App(error)
    }
}

impl<E: From<S>, S> From<StepError<S>> for WorkflowError<E> {
    fn from(error: StepError<S>) -> Self {
        match error {
            StepError::App(error) => Self::App(error.into()),
            StepError::Halted(halt) => Self::Halted(halt),
        }
    }
}

/// Why there is no result of a workflow.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResultError<E> {
    /// It ended with an error of its own.
    App(E),
    /// It ended because of something else; the failure says what.
    Failed(Failure),
    /// It was cancelled.
    Cancelled(Option<Cancellation>),
    /// The backend, or a result of another type than asked for.
    Backend(Error),
}

impl<E> From<Error> for ResultError<E> {
    fn from(error: Error) -> Self {
        Self::Backend(error)
    }
}

impl<E: fmt::Debug> fmt::Display for ResultError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(error) => write!(f, "the workflow failed: {error:?}"),
            Self::Failed(failure) => write!(f, "the workflow failed: {failure}"),
            Self::Cancelled(_) => f.write_str("the workflow was cancelled"),
            Self::Backend(_) => f.write_str("the result of the workflow cannot be read"),
        }
    }
}

impl<E: fmt::Debug> std::error::Error for ResultError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Backend(error) => Some(error),
            _ => None,
        }
    }
}

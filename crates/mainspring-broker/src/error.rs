//! Why a handler failed, and what becomes of the event.

use std::{error::Error as StdError, fmt, time::Duration};

use mainspring_core::Failure;

/// What becomes of an event whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// As the kind of handler says: a service is tried again, a process fails.
    #[default]
    AsUsual,
    /// It is handled again, as the queue says. When its attempts are used up it is dead-lettered, and whoever waits for the answer
    /// gets `sys.<type>.error`; a process has failed with it, unless it is a [violation](HandlerError::violation).
    Retry,
    /// The same, after this delay.
    RetryAfter(Duration),
    /// It is done, and whoever waits for the answer gets `sys.<type>.error`. A process has failed with it.
    Fail,
    /// It is dead-lettered at once. No state changes, and nobody is told.
    DeadLetter,
}

/// Codes of the violations: what is wrong around a handler, and not with it.
pub mod violation {
    /// The subject is not that of an orchestration.
    pub const INVALID_SUBJECT: &str = "INVALID_SUBJECT";
    /// No handler of this version, or a contract that is not known.
    pub const CONFIG: &str = "CONFIG_VIOLATION";
    /// Data, or a type, that the contract does not allow.
    pub const CONTRACT: &str = "CONTRACT_VIOLATION";
    /// What the handler asks for cannot be done.
    pub const EXECUTION: &str = "EXECUTION_VIOLATION";
}

/// The code of an error that says none.
const HANDLER_ERROR: &str = "HANDLER_ERROR";

/// Why a handler failed. Whatever is an error becomes one with `?`.
#[derive(Debug)]
pub struct HandlerError {
    code: String,
    message: String,
    on_error: OnError,
    violation: bool,
    passing: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl HandlerError {
    /// An error with what becomes of the event.
    pub fn new(on_error: OnError, message: impl Into<String>) -> Self {
        Self {
            code: HANDLER_ERROR.to_owned(),
            message: message.into(),
            on_error,
            violation: false,
            passing: false,
            source: None,
        }
    }

    /// The event is handled again.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(OnError::Retry, message)
    }

    /// No retry can help, and whoever waits is told.
    pub fn fail(message: impl Into<String>) -> Self {
        Self::new(OnError::Fail, message)
    }

    /// Nobody can do anything with this event.
    pub fn dead_letter(message: impl Into<String>) -> Self {
        Self::new(OnError::DeadLetter, message)
    }

    /// Something around the handler is wrong, which a later try may find mended.
    pub fn violation(code: &str, problem: impl fmt::Display) -> Self {
        Self { violation: true, ..Self::retry(problem.to_string()).with_code(code) }
    }

    /// The same under this code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Its code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What is wrong, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What it asks for.
    pub fn on_error(&self) -> OnError {
        self.on_error
    }

    /// What the database said. As long as it is away the event is not to blame, and uses up no attempt.
    pub(crate) fn of_database(code: &str, error: &mainspring_core::Error) -> Self {
        let passing = error.is_retryable() || error.is_commit_unknown();
        Self { passing, ..Self::violation(code, error.chain()) }
    }

    pub(crate) fn is_passing(&self) -> bool {
        self.passing
    }

    /// Whether something around the handler is wrong, and not the handler.
    pub fn is_violation(&self) -> bool {
        self.violation
    }

    /// What it came from.
    pub fn source(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    pub(crate) fn failure(&self) -> Failure {
        Failure::new(&self.code, &self.message)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let source = error.into();
        let mut message = source.to_string();
        let mut cause = source.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self { source: Some(source), ..Self::new(OnError::AsUsual, message) }
    }
}

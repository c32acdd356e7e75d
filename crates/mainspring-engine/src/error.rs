//! What a handler returns when it failed.
//!
//! Every error becomes one with `?`, and is tried again as the step's policy says. Giving up is said aloud:
//! [`HandlerError::terminal`].

use std::{error::Error as StdError, fmt, time::Duration};

use mainspring_core::{Failure, flow::code};
use serde_json::Value;

/// Any error of a handler.
type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a handler failed. Not an error type itself, so that every error type can become one.
#[derive(Clone, PartialEq)]
pub struct HandlerError {
    pub(crate) failure: Box<Failure>,
    pub(crate) terminal: bool,
    pub(crate) delay: Option<Duration>,
}

impl HandlerError {
    /// A failure with a code the step's policy and the flow's users know.
    pub fn new(code: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self { failure: Box::new(Failure::new(code, message)), terminal: false, delay: None }
    }

    /// A failure that no retry can help.
    pub fn terminal(code: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self { failure: Box::new(Failure::new(code, message)), terminal: true, delay: None }
    }

    /// The same, to be tried again after `delay`, whatever the policy says. Of effect for jobs only.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// The same with more, as JSON.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.failure.details = details.into();
        self
    }

    /// The failure as it is stored.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Whether no retry can help.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl<E: Into<BoxError>> From<E> for HandlerError {
    /// A failure with the code `HANDLER_ERROR`, the error and all its causes in one line.
    fn from(error: E) -> Self {
        let error: BoxError = error.into();
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::new(code::HANDLER_ERROR, message)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.failure, if self.terminal { " (terminal)" } else { "" })
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_one_with_its_causes() {
        fn fails() -> Result<(), HandlerError> {
            let inner = std::io::Error::other("disk full");
            Err(mainspring_core::Error::internal("cannot write").with_source(inner))?;
            Ok(())
        }
        let error = fails().unwrap_err();
        assert_eq!(error.to_string(), "HANDLER_ERROR: cannot write: disk full");
        assert!(!error.is_terminal());
        assert_eq!(HandlerError::from("text").to_string(), "HANDLER_ERROR: text");
    }
}

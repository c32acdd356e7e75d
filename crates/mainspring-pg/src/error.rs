//! From the driver's errors to ours.
//!
//! The driver prints only "db error", and its cause prints the DETAIL line, which holds values of rows. Our message has
//! the SQLSTATE, the server's message and the constraint; the driver's error stays reachable behind [`Driver`], which
//! prints neither.

use std::{error::Error as StdError, fmt};

use deadpool_postgres::{PoolError, TimeoutType};
use mainspring_core::{Error, ErrorKind};
use tokio_postgres::Error as PgError;

use crate::{
    db::Shared,
    sqlstate::{Class, classify},
};

/// The driver's error as the source of ours. Printing it shows no value of any row or parameter.
pub struct Driver(PgError);

impl Driver {
    /// The error as the driver made it. Its `Debug` may hold values of rows.
    pub fn error(&self) -> &PgError {
        &self.0
    }

    /// What it means.
    pub fn class(&self) -> Class {
        classify(&self.0)
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_db_error() {
            Some(answer) => write!(f, "{} from the server", answer.severity()),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({self})")
    }
}

impl StdError for Driver {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // With an answer of the server the source would print its DETAIL.
        if self.0.as_db_error().is_some() { None } else { self.0.source() }
    }
}

/// The COMMIT whose answer was lost did not happen: the whole transaction may run again.
#[derive(Debug, thiserror::Error)]
#[error("the transaction was rolled back")]
pub(crate) struct RolledBack;

/// `what` failed with this error of the driver.
pub(crate) fn failed(what: impl fmt::Display, error: PgError) -> Error {
    Error::new(classify(&error).kind(), describe(what, &error)).with_source(Driver(error))
}

/// SQLSTATE, message and constraint, without the values of rows and parameters.
pub(crate) fn describe(what: impl fmt::Display, error: &PgError) -> String {
    let Some(answer) = error.as_db_error() else { return format!("{what} failed{}", classify(error).hint()) };
    let code = answer.code().code();
    let text = if code.starts_with("22") { unquoted(answer.message()) } else { answer.message().to_owned() };
    let constraint = answer.constraint().filter(|name| !text.contains(name));
    let constraint = constraint.map(|name| format!(" (constraint \"{name}\")")).unwrap_or_default();
    format!("{what}: {code} {text}{constraint}{}", classify(error).hint())
}

/// Class 22 quotes the offending value in its message.
fn unquoted(message: &str) -> String {
    let mut out = String::new();
    for (i, part) in message.split('"').enumerate() {
        out.push_str(if i % 2 == 0 { part } else { "\"…\"" });
    }
    out
}

/// No connection could be had.
pub(crate) fn no_connection(error: PoolError, size: usize, shared: &Shared) -> Error {
    let deadlines = &shared.deadlines;
    let connecting = shared.hosts.as_ref().map(|hosts| format!("connecting to {hosts}"));
    let connecting = connecting.unwrap_or_else(|| "connecting".to_owned());
    match error {
        PoolError::Timeout(TimeoutType::Wait) => Error::new(
            ErrorKind::Busy,
            format!("no connection free within {:?}: all {size} of the pool are in use", deadlines.wait),
        ),
        PoolError::Timeout(TimeoutType::Create) => Error::new(
            ErrorKind::Unavailable,
            format!("{connecting} took longer than {:?}", deadlines.create),
        ),
        PoolError::Timeout(TimeoutType::Recycle) => Error::new(
            ErrorKind::Unavailable,
            format!("a pooled connection was silent for {:?}", deadlines.recycle),
        ),
        PoolError::Backend(error) => failed(connecting, error),
        PoolError::Closed => Error::new(ErrorKind::Unavailable, "the pool is closed"),
        other => {
            Error::new(ErrorKind::Unavailable, "the pool could not hand out a connection").with_source(other)
        }
    }
}

fn driver(error: &Error) -> Option<&PgError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(driver) = error.downcast_ref::<Driver>() {
            return Some(&driver.0);
        }
        if let Some(driver) = error.downcast_ref::<PgError>() {
            return Some(driver);
        }
        cause = error.source();
    }
    None
}

pub(crate) fn class(error: &Error) -> Option<Class> {
    driver(error).map(classify)
}

/// Nothing was changed, and the same transaction run again from its start may succeed: a serialization failure, a
/// deadlock, a prepared statement older than the tables, or a COMMIT known not to have happened.
pub fn is_transient(error: &Error) -> bool {
    matches!(class(error), Some(Class::Retry | Class::Stale)) || is_rolled_back(error)
}

pub(crate) fn is_rolled_back(error: &Error) -> bool {
    error.source().is_some_and(<dyn StdError>::is::<RolledBack>)
}

/// The constraint that refused the write, as the database names it.
pub fn constraint(error: &Error) -> Option<&str> {
    driver(error)?.as_db_error()?.constraint()
}

/// A template's beginning, to name the statement in a message. Templates hold no values.
pub(crate) fn label(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().take(12).collect();
    let mut text = words.join(" ");
    if let Some((end, _)) = text.char_indices().nth(60) {
        text.truncate(end);
        text.push('…');
    }
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_cut_out() {
        assert_eq!(unquoted("invalid input syntax for type json: \"hunter2\" here"), {
            "invalid input syntax for type json: \"…\" here"
        });
        assert_eq!(unquoted("integer out of range"), "integer out of range");
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(label("SELECT 1\n   FROM {x}"), "`SELECT 1 FROM {x}`");
        assert!(label(&"é".repeat(200)).chars().count() < 70);
    }
}

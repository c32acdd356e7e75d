//! One error for the whole library, typed by what the caller can do about it.
//!
//! | kind | what happened | what to do |
//! |---|---|---|
//! | [`NotFound`](ErrorKind::NotFound) | the named thing does not exist | stop, or create it |
//! | [`Conflict`](ErrorKind::Conflict) | it exists already, or someone else changed it first | reload and decide again |
//! | [`Expired`](ErrorKind::Expired) | it was there and its time is over | stop, or ask for a new one |
//! | [`TooEarly`](ErrorKind::TooEarly) | its time has not come | the same again, [`retry_after`](Error::retry_after) |
//! | [`Fenced`](ErrorKind::Fenced) | your lease was lost; nothing was changed | stop at once |
//! | [`Busy`](ErrorKind::Busy) | a limit or a deadline of the database or its pool | retry with backoff |
//! | [`CommitUnknown`](ErrorKind::CommitUnknown) | the connection died while COMMIT was under way | repeat with the same key, or read |
//! | [`Unavailable`](ErrorKind::Unavailable) | the database cannot be reached | retry with backoff |
//! | [`Invalid`](ErrorKind::Invalid) | the input can never be accepted | fix the input |
//! | [`Schema`](ErrorKind::Schema) | tables missing, old or changed, or a missing GRANT | migrate |
//! | [`Internal`](ErrorKind::Internal) | a defect, ours or in stored data | report it |

use std::{error::Error as StdError, fmt, time::Duration};

/// What a [`Result`](crate::Result) of this library holds on failure. One word wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    position: Option<i64>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// It exists already, or someone else changed it first.
    Conflict,
    /// It was there and its time is over.
    Expired,
    /// Its time has not come.
    TooEarly,
    /// The caller's lease was lost; nothing was changed.
    Fenced,
    /// A limit or a deadline of the database or its pool was reached.
    Busy,
    /// The connection died while COMMIT was under way: it may or may not have happened.
    CommitUnknown,
    /// The database cannot be reached.
    Unavailable,
    /// The input can never be accepted.
    Invalid,
    /// Tables are missing, old or changed, or a GRANT is missing.
    Schema,
    /// A defect, ours or in stored data.
    Internal,
}

impl ErrorKind {
    /// The stable code of this kind, as logs and metrics show it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Expired => "expired",
            Self::TooEarly => "too_early",
            Self::Fenced => "fenced",
            Self::Busy => "busy",
            Self::CommitUnknown => "commit_unknown",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::Schema => "schema",
            Self::Internal => "internal",
        }
    }
}

impl Error {
    /// An error of `kind`. The message starts in lower case, names the thing and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            position: None,
            retry_after: None,
            source: None,
        }))
    }

    /// The same error with its cause; `Display` never repeats the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// `what` of this name does not exist.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("{what} `{id}` does not exist"))
    }

    /// Someone else was first.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// Its time is over.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Expired, message)
    }

    /// Its time has not come: the same again after `wait`.
    pub fn too_early(wait: Duration, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::TooEarly, message);
        error.0.retry_after = Some(wait);
        error
    }

    /// An expected position did not hold: the stream is at `current`; 0 when it does not exist.
    pub fn conflict_at(current: i64, message: impl Into<String>) -> Self {
        let mut error = Self::conflict(message);
        error.0.position = Some(current);
        error
    }

    /// The lease behind this write was lost.
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// `field` can never be accepted, with the limit it broke.
    pub fn invalid(field: &str, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("{field}: {problem}"))
    }

    /// A defect, or stored data that cannot be read.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of [`kind`](Self::kind).
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// The named thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// It exists already, or someone else changed it first: reload and decide again.
    pub fn is_conflict(&self) -> bool {
        self.0.kind == ErrorKind::Conflict
    }

    /// It was there and its time is over.
    pub fn is_expired(&self) -> bool {
        self.0.kind == ErrorKind::Expired
    }

    /// Its time has not come.
    pub fn is_too_early(&self) -> bool {
        self.0.kind == ErrorKind::TooEarly
    }

    /// How long to wait before the same call; `None` for every error but [`TooEarly`](ErrorKind::TooEarly).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Where the stream stands whose expected position did not hold, 0 when it does not exist; `None` for every other error.
    pub fn current_position(&self) -> Option<i64> {
        self.0.position
    }

    /// The caller's lease was lost: stop at once.
    pub fn is_fenced(&self) -> bool {
        self.0.kind == ErrorKind::Fenced
    }

    /// COMMIT was under way when the connection died.
    pub fn is_commit_unknown(&self) -> bool {
        self.0.kind == ErrorKind::CommitUnknown
    }

    /// The input can never be accepted.
    pub fn is_invalid(&self) -> bool {
        self.0.kind == ErrorKind::Invalid
    }

    /// Nothing was changed and the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Busy | ErrorKind::Unavailable)
    }

    /// The message and every cause on one line, for logs and terminals.
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code(), self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

//! Receipts: what was handled once is not handled again.

use std::time::Duration;

use crate::{Error, Result, limits};

/// Proof that something was handled, committed with whatever came of it. As long as it is kept there is no second one, so of
/// two who handle the same one commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// For whom: the queue whose handler it was.
    pub queue: String,
    /// For what.
    pub key: String,
    /// How long it is kept.
    pub keep: Duration,
}

impl Receipt {
    /// The error of something that was handled before.
    pub fn conflict(&self) -> Error {
        Error::conflict(format!("`{}` was handled before in queue `{}`", self.key, self.queue))
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::check_name("receipt.queue", &self.queue)?;
        limits::check_id("receipt.key", &self.key)?;
        limits::check_duration("receipt.keep", self.keep)
    }
}

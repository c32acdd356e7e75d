//! Documents as events make them, whatever keeps them.

use serde_json::Value;

use crate::{RecordedEvent, Result};

/// The rules by which events become JSON documents. Pure: no clock, no IO.
pub trait DocumentRules: Send + Sync {
    /// Whether it takes in this event.
    fn wants(&self, event: &RecordedEvent) -> bool;

    /// The documents the event belongs to, by their ids within its tenant; none leaves it out.
    fn ids(&self, event: &RecordedEvent) -> Vec<String>;

    /// A document after the event; `None` when there is none any more.
    ///
    /// # Errors
    /// Internal, when the document cannot be read; invalid, when it cannot be written as JSON.
    fn evolve(&self, document: Option<Value>, event: &RecordedEvent) -> Result<Option<Value>>;
}

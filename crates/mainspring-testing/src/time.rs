//! Time as tests own it.

use std::time::Duration;

use mainspring_core::BoxFuture;

use crate::MemoryBackend;

/// Moves the clock of a backend, for every process that uses it.
pub trait TimeTravel: Send + Sync {
    /// Moves time forward.
    fn advance(&self, by: Duration) -> BoxFuture<'_, ()>;
}

impl TimeTravel for MemoryBackend {
    fn advance(&self, by: Duration) -> BoxFuture<'_, ()> {
        MemoryBackend::advance(self, by);
        Box::pin(std::future::ready(()))
    }
}

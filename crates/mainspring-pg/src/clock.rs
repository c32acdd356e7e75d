//! The database's clock, as far as this process has seen it.
//!
//! Rule 3: the database's clock is the clock. Where a decision needs the time and no statement is at hand, this is the last
//! time a statement brought, plus what the monotonic clock says has passed since; the wall clock of the host never counts.

use std::{
    sync::Mutex,
    time::{Instant, SystemTime},
};

use mainspring_core::Timestamp;

/// What the database's clock shows now, to within a round trip.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Option<(Instant, Timestamp)>>);

impl Clock {
    /// A statement brought the time.
    pub fn observe(&self, at: Timestamp) {
        if let Ok(mut seen) = self.0.lock() {
            *seen = Some((Instant::now(), at));
        }
    }

    /// The time now. Before the first statement it is the host's, which nothing depends on yet.
    pub fn now(&self) -> Timestamp {
        let seen = self.0.lock().ok().and_then(|seen| *seen);
        match seen {
            Some((when, at)) => at + when.elapsed(),
            None => host_time().into(),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "only until the first statement brings the database's time")]
fn host_time() -> SystemTime {
    SystemTime::now()
}

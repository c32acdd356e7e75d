//! How an application is called.

use std::time::Duration;

use mainspring_core::{Error, Result, limits};

/// How an application is called.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// For a connection; 10 ms at least. Defaults to 5 s.
    pub connect: Duration,
    /// For the whole reply, and so for a step; 10 ms at least. Defaults to 60 s.
    pub deadline: Duration,
    /// Most bytes of a reply; a reply with more is a failure that no attempt can help. Defaults to 2 MiB.
    pub most_bytes: usize,
    /// So many calls in a row that do not reach the application open the circuit: nothing is sent for a while. 1 at least.
    /// Defaults to 5.
    pub failures: u32,
    /// How long nothing is sent the first time; then one call tries, and each failure doubles it. Defaults to 1 s.
    pub pause: Duration,
    /// The longest that nothing is sent. Defaults to 60 s.
    pub longest_pause: Duration,
    /// Sends a secret to another machine without TLS: for networks where nobody else listens. Signatures need it not. Defaults
    /// to no.
    pub plaintext: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(5),
            deadline: seconds(60),
            most_bytes: 2 * limits::MAX_PAYLOAD,
            failures: 5,
            pause: seconds(1),
            longest_pause: seconds(60),
            plaintext: false,
        }
    }
}

impl HttpOptions {
    pub(super) fn check(&self) -> Result<()> {
        for (field, time) in [("http.connect", self.connect), ("http.deadline", self.deadline)] {
            limits::check_duration(field, time)?;
            if time < Duration::from_millis(10) {
                return Err(Error::invalid(field, "shorter than 10 ms"));
            }
        }
        if self.failures == 0 {
            return Err(Error::invalid("http.failures", "0, but one call must be let through"));
        }
        if self.pause.is_zero() || self.pause > self.longest_pause {
            return Err(Error::invalid("http.pause", "is 0 or longer than http.longest_pause"));
        }
        limits::check_duration("http.longest_pause", self.longest_pause)
    }
}

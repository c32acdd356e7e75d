//! How machine memory behaves.

use std::time::Duration;

use mainspring_core::{Error, Result, limits, message::check_lease};

/// How long locks last and are waited for, and whether anything is ever removed.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryOptions {
    /// How often a lock that is taken is asked for again; one more than that in all. At most 1,000. Defaults to 3.
    pub max_retries: u32,
    /// Before it is asked for the second time. Defaults to 100 ms.
    pub initial_delay: Duration,
    /// By what the delay grows each time, at least 1. Defaults to 1.5.
    pub backoff_exponent: f64,
    /// How long a lock lasts. 100 ms to 1 day, defaults to 2 minutes.
    pub lock_ttl: Duration,
    /// Whether [`cleanup`](super::MachineMemory::cleanup) does anything. Defaults to false.
    pub enable_cleanup: bool,
    /// Whether each call is a span, `PostgresMachineMemory.v1.<call>`. Defaults to false.
    pub enable_otel: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_delay: Duration::from_millis(100),
            backoff_exponent: 1.5,
            lock_ttl: Duration::from_secs(120),
            enable_cleanup: false,
            enable_otel: false,
        }
    }
}

impl MemoryOptions {
    /// How long is waited after each refusal but the last: `initial_delay · backoff_exponent^n`.
    pub fn delays(&self) -> impl Iterator<Item = Duration> {
        let (first, factor) = (self.initial_delay.as_secs_f64(), self.backoff_exponent);
        (0..self.max_retries).map(move |n| {
            let longest = limits::MAX_DURATION.as_secs_f64();
            Duration::from_secs_f64((first * factor.powf(f64::from(n))).clamp(0.0, longest))
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.max_retries > limits::MAX_ATTEMPTS {
            let problem = format!("{} is over {}", self.max_retries, limits::MAX_ATTEMPTS);
            return Err(Error::invalid("memory.max_retries", problem));
        }
        if !(1.0..=1_000.0).contains(&self.backoff_exponent) {
            let problem = format!("{} is not within 1 to 1000", self.backoff_exponent);
            return Err(Error::invalid("memory.backoff_exponent", problem));
        }
        limits::check_duration("memory.initial_delay", self.initial_delay)?;
        check_lease(self.lock_ttl)
    }
}

//! What can be set on a worker, and in which ranges.

use std::time::Duration;

use mainspring_core::{DEFAULT_QUEUE, Error, Result, limits, message::check_lease};

pub(crate) struct Options {
    pub(crate) queue: String,
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) maintenance_interval: Duration,
    pub(crate) grace: Duration,
    pub(crate) max_lost: u32,
    pub(crate) stuck_after: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE.to_owned(),
            concurrency: 16,
            lease: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
            maintenance_interval: Duration::from_secs(1),
            grace: Duration::from_secs(30),
            max_lost: 10,
            stuck_after: None,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<()> {
        limits::check_name("worker.queue", &self.queue)?;
        if !(1..=10_000).contains(&self.concurrency) {
            return Err(Error::invalid(
                "worker.concurrency",
                format!("{} is not within 1 to 10000", self.concurrency),
            ));
        }
        check_lease(self.lease).map_err(|e| Error::invalid("worker.lease", "out of range").with_source(e))?;
        check_between("worker.poll_interval", self.poll_interval, Duration::from_secs(3600))?;
        check_between("worker.maintenance_interval", self.maintenance_interval, Duration::from_secs(3600))?;
        limits::check_duration("worker.grace", self.grace)?;
        if !(1..=limits::MAX_ATTEMPTS).contains(&self.max_lost) {
            return Err(Error::invalid(
                "worker.max_lost",
                format!("{} is not within 1 to 1000", self.max_lost),
            ));
        }
        match self.stuck_after {
            Some(stuck_after) => check_between("worker.stuck_after", stuck_after, limits::MAX_DURATION),
            None => Ok(()),
        }
    }
}

fn check_between(field: &str, duration: Duration, most: Duration) -> Result<()> {
    if duration < Duration::from_millis(1) || duration > most {
        return Err(Error::invalid(field, format!("{duration:?} is not within 1 ms to {most:?}")));
    }
    Ok(())
}

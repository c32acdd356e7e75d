//! What can be set on a worker, and in which ranges.

use std::time::Duration;

use mainspring_core::{DEFAULT_QUEUE, Error, Result, limits, message::check_lease};

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) queue: String,
    pub(crate) concurrency: usize,
    pub(crate) batch_size: usize,
    pub(crate) prefetch: usize,
    pub(crate) group_concurrency: Option<usize>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) lease: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) maintenance_interval: Duration,
    pub(crate) grace: Duration,
    pub(crate) max_lost: u32,
    pub(crate) stuck_after: Option<Duration>,
    pub(crate) report_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE.to_owned(),
            concurrency: 16,
            batch_size: 1,
            prefetch: 0,
            group_concurrency: None,
            timeout: None,
            lease: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
            maintenance_interval: Duration::from_secs(1),
            grace: Duration::from_secs(30),
            max_lost: 10,
            stuck_after: None,
            report_after: Duration::from_secs(300),
        }
    }
}

impl Options {
    /// Places for what is claimed and not settled.
    pub(crate) fn room(&self) -> usize {
        self.concurrency * self.batch_size + self.prefetch
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::check_name("worker.queue", &self.queue)?;
        check_count("worker.concurrency", self.concurrency, 1, 10_000)?;
        check_count("worker.batch_size", self.batch_size, 1, 1_000)?;
        check_count("worker.prefetch", self.prefetch, 0, 100_000)?;
        check_count("worker.group_concurrency", self.group_concurrency.unwrap_or(1), 1, 10_000)?;
        check_lease(self.lease).map_err(|e| Error::invalid("worker.lease", "out of range").with_source(e))?;
        check_between("worker.poll_interval", self.poll_interval, Duration::from_secs(3600))?;
        check_between("worker.maintenance_interval", self.maintenance_interval, Duration::from_secs(3600))?;
        limits::check_duration("worker.grace", self.grace)?;
        let max_attempts = usize::try_from(limits::MAX_ATTEMPTS).unwrap_or(usize::MAX);
        check_count(
            "worker.max_lost",
            usize::try_from(self.max_lost).unwrap_or(usize::MAX),
            1,
            max_attempts,
        )?;
        check_between("worker.report_after", self.report_after, limits::MAX_DURATION)?;
        if let Some(timeout) = self.timeout {
            check_between("worker.timeout", timeout, limits::MAX_DURATION)?;
        }
        match self.stuck_after {
            Some(stuck_after) => check_between("worker.stuck_after", stuck_after, limits::MAX_DURATION),
            None => Ok(()),
        }
    }
}

fn check_count(field: &str, count: usize, least: usize, most: usize) -> Result<()> {
    if !(least..=most).contains(&count) {
        return Err(Error::invalid(field, format!("{count} is not within {least} to {most}")));
    }
    Ok(())
}

fn check_between(field: &str, duration: Duration, most: Duration) -> Result<()> {
    if duration < Duration::from_millis(1) || duration > most {
        return Err(Error::invalid(field, format!("{duration:?} is not within 1 ms to {most:?}")));
    }
    Ok(())
}

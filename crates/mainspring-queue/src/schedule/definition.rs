//! A schedule as its author writes it.

use std::time::Duration;

use mainspring_core::{Available, Error, NewMessage, Result, Timestamp, limits};

use super::{ticks::Missed, timing::Timing};

/// Most bytes of a schedule's key.
pub const MAX_KEY: usize = 64;
/// Longest jitter: a day.
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);

/// A message to be pushed again and again.
///
/// ```
/// use mainspring_core::NewMessage;
/// use mainspring_queue::schedule::{Missed, Schedule, Timing};
/// use serde_json::json;
///
/// let nightly = Schedule {
///     missed: Missed::All { limit: 24 },
///     ..Schedule::new(
///         "nightly",
///         Timing::cron("30 2 * * *").in_zone("Europe/Berlin"),
///         NewMessage::new("reports", "report", json!({"of": "yesterday"})),
///     )
/// };
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name among the schedules of its queue; 1 to [`MAX_KEY`] bytes.
    pub key: String,
    /// When it fires.
    pub timing: Timing,
    /// What it pushes, and where: at the tick, whatever delay its queue has. Each fire has an id of its own; that of this
    /// message does not matter. A policy of the queue may find it a duplicate of one that has not ended: that is how runs that
    /// take longer than an interval are kept from piling up. The message of a
    /// fire has a header `schedule` with the `key`, the tick it is for (`tick`) and how many were missed before (`missed`).
    pub message: NewMessage,
    /// What happens to ticks nobody fired in time. Defaults to one fire for all of them.
    pub missed: Missed,
    /// A fire's message becomes available so much later at most, by a part that is always the same for the same tick; up to
    /// [`MAX_JITTER`]. Defaults to none.
    pub jitter: Duration,
    /// No tick is before this. Defaults to none.
    pub starts_at: Option<Timestamp>,
    /// No tick is after this. Defaults to none.
    pub ends_at: Option<Timestamp>,
}

impl Schedule {
    /// A schedule with nothing optional set.
    pub fn new(key: impl Into<String>, timing: Timing, message: NewMessage) -> Self {
        let key = key.into();
        Self {
            key,
            timing,
            message,
            missed: Missed::default(),
            jitter: Duration::ZERO,
            starts_at: None,
            ends_at: None,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_key(&self.key)?;
        self.timing.check()?;
        self.message.check()?;
        self.missed.check()?;
        if !matches!(self.message.available, Available::Default | Available::Now) {
            let problem = "is when the schedule fires; use its jitter or another timing";
            return Err(Error::invalid("message.available", problem));
        }
        if self.message.headers.contains_key(HEADER) {
            return Err(Error::invalid("message.headers", "`schedule` is what a fire says about itself"));
        }
        if self.jitter > MAX_JITTER {
            return Err(Error::invalid("schedule.jitter", format!("{:?} is longer than a day", self.jitter)));
        }
        match (self.starts_at, self.ends_at) {
            (Some(start), Some(end)) if end < start => {
                Err(Error::invalid("schedule.ends_at", format!("{end} is before the start at {start}")))
            }
            _ => Ok(()),
        }
    }
}

/// The header in which a fire's message says where it comes from.
pub const HEADER: &str = "schedule";

pub(crate) fn check_key(key: &str) -> Result<()> {
    limits::check_name("schedule.key", key)?;
    if key.len() > MAX_KEY {
        return Err(Error::invalid(
            "schedule.key",
            format!("{} bytes, at most {MAX_KEY} are allowed", key.len()),
        ));
    }
    Ok(())
}

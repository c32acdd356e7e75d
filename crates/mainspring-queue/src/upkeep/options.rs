//! How upkeep is done, and what it tells.

use std::{fmt, sync::Arc, time::Duration};

use mainspring_core::{Error, Result, message::check_lease};
use mainspring_retention::RetentionPolicy;

use crate::stats::{Thresholds, Warning};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How upkeep is done.
#[derive(Clone)]
pub struct UpkeepOptions {
    /// How long nobody does the upkeep when the process that does it dies; 1 s to 1 day. Defaults to 15 s.
    pub lease: Duration,
    /// Longest sleep while nothing is due; 10 ms to a third of the lease. Defaults to 1 s.
    pub pause: Duration,
    /// How often messages are counted, at least: counting takes no more than a twentieth of the time, so it is less often
    /// where there are very many. 1 s to 1 day. Defaults to 1 min.
    pub count_every: Duration,
    /// How often what is old is forgotten; 1 s to 1 day. Defaults to 1 min.
    pub retain_every: Duration,
    /// What is kept for how long, of everything in the database.
    pub retention: RetentionPolicy,
    /// When to warn.
    pub thresholds: Thresholds,
    /// Told of everything worth telling, beside `tracing`. It must not block. Defaults to nobody.
    pub on_event: Option<OnEvent>,
}

/// Who is told; see [`UpkeepOptions::on_event`].
pub type OnEvent = Arc<dyn Fn(&UpkeepEvent) + Send + Sync>;

impl Default for UpkeepOptions {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            lease: Duration::from_secs(15),
            pause: Duration::from_secs(1),
            count_every: minute,
            retain_every: minute,
            retention: RetentionPolicy::default(),
            thresholds: Thresholds::default(),
            on_event: None,
        }
    }
}

impl UpkeepOptions {
    pub(crate) fn check(&self) -> Result<()> {
        check_lease(self.lease)?;
        if self.lease < Duration::from_secs(1) {
            return Err(Error::invalid("upkeep.lease", format!("{:?} is less than 1 s", self.lease)));
        }
        let most = self.lease / 3;
        if self.pause < Duration::from_millis(10) || self.pause > most {
            let problem = format!("{:?} is not within 10 ms to {most:?}, a third of the lease", self.pause);
            return Err(Error::invalid("upkeep.pause", problem));
        }
        for (field, every) in
            [("upkeep.count_every", self.count_every), ("upkeep.retain_every", self.retain_every)]
        {
            if !(Duration::from_secs(1)..=DAY).contains(&every) {
                return Err(Error::invalid(field, format!("{every:?} is not within 1 s to 1 day")));
            }
        }
        self.retention.check()?;
        self.thresholds.check()
    }
}

impl fmt::Debug for UpkeepOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpkeepOptions")
            .field("lease", &self.lease)
            .field("pause", &self.pause)
            .field("count_every", &self.count_every)
            .field("retain_every", &self.retain_every)
            .field("retention", &self.retention)
            .field("thresholds", &self.thresholds)
            .field("on_event", &self.on_event.is_some())
            .finish()
    }
}

/// A part of upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// Taking and renewing the lease on the upkeep.
    Election,
    /// Firing schedules.
    Schedules,
    /// Leases of dead workers, and messages that became due.
    Messages,
    /// Forgetting what is old.
    Retention,
    /// Counting, and warning.
    Stats,
}

impl Part {
    /// The name in warnings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Election => "election",
            Self::Schedules => "schedules",
            Self::Messages => "messages",
            Self::Retention => "retention",
            Self::Stats => "stats",
        }
    }
}

/// Something worth telling.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpkeepEvent {
    /// This process does the upkeep from now on, in this term.
    Elected(i64),
    /// It does it no longer.
    Deposed(i64),
    /// A part failed. The others went on, and it is tried again.
    Failed {
        /// Which.
        part: Part,
        /// Why.
        error: Error,
    },
    /// Something is not as it should be. It is stored too.
    Warning(Warning),
}

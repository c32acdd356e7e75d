//! A schedule's ticks as a sequence of times, and what is due of it: pure, with no clock of its own.

use std::time::Duration;

use mainspring_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{cron::Cron, timing::Timing};

/// Most missed ticks that are told apart; more count as so many.
pub const MAX_COUNTED: u32 = 1_000;
/// Most ticks of one schedule that [`Missed::All`] catches up with.
pub const MAX_CAUGHT_UP: u32 = 1_000;

const MICRO: Duration = Duration::from_micros(1);

/// What happens to ticks that were due while nobody was there to fire them: all processes down, the database away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Missed {
    /// They are lost. A tick is missed when it is later than `grace`; the latest one that is not fires.
    Skip {
        /// How late a tick may be; at most a day.
        grace: Duration,
    },
    /// One fire for all of them, with the time of the latest.
    Once,
    /// One fire for each, oldest first, but no more than the latest `limit`, which is 1 to [`MAX_CAUGHT_UP`].
    All {
        /// Most fires after one outage.
        limit: u32,
    },
}

/// [`Missed::Once`]
impl Default for Missed {
    fn default() -> Self {
        Self::Once
    }
}

impl Missed {
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Skip { grace } if *grace > Duration::from_secs(86_400) => {
                Err(Error::invalid("schedule.missed", format!("a grace of {grace:?} is longer than a day")))
            }
            Self::All { limit } if !(1..=MAX_CAUGHT_UP).contains(limit) => {
                Err(Error::invalid("schedule.missed", format!("{limit} is not within 1 to {MAX_CAUGHT_UP}")))
            }
            _ => Ok(()),
        }
    }
}

/// When a schedule fires, from its first tick to its last.
#[derive(Debug)]
pub(crate) struct Ticks {
    kind: Kind,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

#[derive(Debug)]
enum Kind {
    Cron(Box<Cron>),
    Every { anchor: Timestamp, every: Duration },
    Once(Timestamp),
}

/// What is to be done about a schedule that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// The ticks to fire, oldest first.
    pub(crate) fires: Vec<Timestamp>,
    /// How many ticks will never fire, up to [`MAX_COUNTED`].
    pub(crate) missed: u32,
    /// The latest tick, fired or not.
    pub(crate) last: Timestamp,
    /// The first tick after now; `None` when it was the last.
    pub(crate) next: Option<Timestamp>,
}

impl Ticks {
    /// `anchor` is what an interval without a start is counted from.
    ///
    /// # Errors
    /// Invalid, naming the field.
    pub(crate) fn new(
        timing: &Timing,
        anchor: Timestamp,
        starts_at: Option<Timestamp>,
        ends_at: Option<Timestamp>,
    ) -> Result<Self> {
        timing.check()?;
        let kind = match timing {
            Timing::Cron(cron) => Kind::Cron(Box::new(Cron::new(cron)?)),
            // a start is itself a tick
            Timing::Every(every) => {
                Kind::Every { anchor: starts_at.map_or(anchor, |start| start - *every), every: *every }
            }
            Timing::Once(at) => Kind::Once(*at),
        };
        Ok(Self { kind, starts_at, ends_at })
    }

    /// The first tick after `after`.
    pub(crate) fn after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = self.starts_at.map_or(after, |start| after.max(start - MICRO));
        let next = match &self.kind {
            Kind::Cron(cron) => {
                let seconds = after.as_micros().div_euclid(1_000_000);
                Some(Timestamp::from_micros(cron.after(seconds)?.checked_mul(1_000_000)?))
            }
            Kind::Every { anchor, every } => {
                let every = i64::try_from(every.as_micros()).ok().filter(|every| *every > 0)?;
                let passed = (after.as_micros() - anchor.as_micros()).div_euclid(every).max(0);
                anchor.as_micros().checked_add((passed + 1).checked_mul(every)?).map(Timestamp::from_micros)
            }
            Kind::Once(at) => Some(*at).filter(|at| *at > after),
        };
        next.filter(|next| self.ends_at.is_none_or(|end| *next <= end) && *next < Timestamp::MAX)
    }

    /// The first tick of a schedule put at `now`.
    pub(crate) fn first(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Once(at) => Some(*at),
            _ => self.after(now),
        }
    }

    /// What is to be done at `now` when the next tick to fire was `first`.
    pub(crate) fn due(&self, first: Timestamp, now: Timestamp, missed: Missed) -> Due {
        let next = self.after(now);
        let mut ticks = vec![first];
        let mut last = first;
        let mut all = false;
        while ticks.len() <= MAX_COUNTED as usize {
            match self.after(last).filter(|tick| *tick <= now) {
                Some(tick) => {
                    ticks.push(tick);
                    last = tick;
                }
                None => {
                    all = true;
                    break;
                }
            }
        }
        if !all {
            last = self.latest(last, now);
        }
        let count = u32::try_from(ticks.len()).unwrap_or(u32::MAX).min(MAX_COUNTED);
        let fires = match missed {
            Missed::Skip { grace } if now.since(last) > grace => Vec::new(),
            Missed::Skip { .. } | Missed::Once => vec![last],
            Missed::All { limit } => {
                let limit = limit.min(MAX_CAUGHT_UP) as usize;
                if all {
                    ticks.split_off(ticks.len().saturating_sub(limit))
                } else {
                    self.latest_ones(first, last, limit)
                }
            }
        };
        let missed = if all {
            count.saturating_sub(u32::try_from(fires.len()).unwrap_or(u32::MAX))
        } else {
            MAX_COUNTED
        };
        Due { fires, missed, last, next }
    }

    /// The latest tick up to `now`, when there is one at `known`: halving, since ticks are only known forwards.
    fn latest(&self, known: Timestamp, now: Timestamp) -> Timestamp {
        let (mut low, mut high, mut latest) = (known.as_micros(), now.as_micros(), known);
        // there is a tick after `low` and up to `now`, unless `latest` is the last; there is none after `high`
        while low < high {
            let middle = low + (high - low) / 2;
            match self.after(Timestamp::from_micros(middle)).filter(|tick| *tick <= now) {
                Some(tick) => {
                    latest = tick;
                    low = tick.as_micros().max(middle + 1);
                }
                None => high = middle,
            }
        }
        latest
    }

    /// The latest `n` ticks from `first` to `last`, which are ticks, oldest first.
    fn latest_ones(&self, first: Timestamp, last: Timestamp, n: usize) -> Vec<Timestamp> {
        let mut ticks = vec![last];
        let mut tick = last;
        while ticks.len() < n && tick > first {
            tick = self.latest(first, tick - MICRO);
            ticks.push(tick);
        }
        ticks.reverse();
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn seconds(ticks: &[Timestamp]) -> Vec<i64> {
        ticks.iter().map(|tick| tick.as_micros() / 1_000_000).collect()
    }

    fn minutely() -> Ticks {
        Ticks::new(&Timing::cron("* * * * *"), at(0), None, None).unwrap()
    }

    #[test]
    fn what_was_missed_is_skipped_coalesced_or_caught_up() {
        let ticks = minutely();
        let due = |missed| ticks.due(at(60), at(310), missed);
        let once = due(Missed::Once);
        assert_eq!((seconds(&once.fires), once.missed, once.next), (vec![300], 4, Some(at(360))));
        let all = due(Missed::All { limit: 3 });
        assert_eq!((seconds(&all.fires), all.missed), (vec![180, 240, 300], 2));
        let grace = |seconds| Missed::Skip { grace: Duration::from_secs(seconds) };
        assert_eq!((seconds(&due(grace(10)).fires), due(grace(10)).missed), (vec![300], 4));
        assert_eq!((due(grace(9)).fires, due(grace(9)).missed), (vec![], 5));
        // on time, nothing is missed
        let due = ticks.due(at(60), at(60), grace(0));
        assert_eq!((seconds(&due.fires), due.missed, due.next), (vec![60], 0, Some(at(120))));
    }

    #[test]
    fn after_a_long_outage_only_the_latest_are_looked_for() {
        let limit = 5;
        let nine = Ticks::new(&Timing::cron("0-30 0 9 * * MON"), at(0), None, None).unwrap();
        for (ticks, days) in [(minutely(), 2), (nine, 365), (every(7, None), 1)] {
            let (first, now) = (ticks.after(at(0)).unwrap(), at(days * 86_400));
            let due = ticks.due(first, now, Missed::All { limit });
            // the same found the slow way
            let mut all = vec![first];
            while let Some(tick) = ticks.after(*all.last().unwrap()).filter(|tick| *tick <= now) {
                all.push(tick);
            }
            assert!(all.len() > 1_000);
            assert_eq!(due.fires, all[all.len() - 5..]);
            assert_eq!((due.last, due.missed), (all[all.len() - 1], 1_000));
            assert_eq!(ticks.due(first, now, Missed::Once).fires, all[all.len() - 1..]);
        }
    }

    fn every(seconds: u64, starts_at: Option<Timestamp>) -> Ticks {
        Ticks::new(&Timing::Every(Duration::from_secs(seconds)), at(1_000), starts_at, None).unwrap()
    }

    #[test]
    fn an_interval_counts_from_its_start_or_its_anchor() {
        assert_eq!(every(60, None).first(at(1_000)), Some(at(1_060)));
        assert_eq!(every(60, None).after(at(1_060)), Some(at(1_120)));
        assert_eq!(every(60, Some(at(5_000))).first(at(1_000)), Some(at(5_000)));
        assert_eq!(every(60, Some(at(5_000))).after(at(5_000)), Some(at(5_060)));
    }

    #[test]
    fn ticks_stay_between_start_and_end() {
        let cron = Timing::cron("* * * * *");
        let ticks = Ticks::new(&cron, at(0), Some(at(600)), Some(at(720))).unwrap();
        assert_eq!([ticks.first(at(5)), ticks.after(at(600)), ticks.after(at(660)), ticks.after(at(720))], {
            [Some(at(600)), Some(at(660)), Some(at(720)), None]
        });
        let once = Ticks::new(&Timing::Once(at(50)), at(0), None, None).unwrap();
        assert_eq!((once.first(at(99)), once.after(at(50))), (Some(at(50)), None));
        assert_eq!(once.due(at(50), at(99), Missed::Once).fires, [at(50)]);
    }

    #[test]
    fn the_end_of_time_is_no_tick() {
        let far =
            Ticks::new(&Timing::Every(Duration::from_secs(86_400)), Timestamp::MAX, None, None).unwrap();
        assert_eq!(far.after(Timestamp::MAX), None);
        assert_eq!(minutely().after(Timestamp::MAX), None);
        let once = Timing::Once(Timestamp::MAX);
        assert_eq!(Ticks::new(&once, at(0), None, None).unwrap().after(at(0)), None);
    }
}

//! Options of a queue, and what a single message may ask for instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ParentFailure, Policy};
use crate::{Error, Result, limits, message::DEFAULT_MAX_ATTEMPTS};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a queue treats its messages. Stored as JSON beside its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueOptions {
    /// What may be there or at work at the same time. Never changes. Defaults to [`Policy::Standard`].
    pub policy: Policy,
    /// Runs of a message in all, the first included; 1 to 1,000. Defaults to 3.
    pub max_attempts: u32,
    /// Priority of a message that says none. Defaults to 0.
    pub priority: i16,
    /// How long after the push a message that says nothing may be claimed. Defaults to zero.
    #[serde(rename = "delay_us", with = "micros")]
    pub delay: Duration,
    /// How long a failed message waits. Defaults to [`Retry::default`].
    pub retry: Retry,
    /// How long one try may take; 100 ms to 1 day. One that takes longer counts as failed. Defaults to any length.
    #[serde(rename = "timeout_us", with = "some_micros", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long the worker that has a message may be silent about it, in whole seconds from 10 s to 1 day: then it is taken back
    /// as when its worker dies. Workers [touch](crate::QueueDriver::touch) what they hold by themselves. Defaults to none: it
    /// is enough that the worker is alive.
    #[serde(rename = "heartbeat_us", with = "some_micros", skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Duration>,
    /// How long a message that nobody claims is kept after it could be claimed. Defaults to 14 days.
    #[serde(rename = "keep_queued_us", with = "micros")]
    pub keep_queued: Duration,
    /// How long messages that are done, cancelled or given up are kept; zero keeps none that is done or cancelled. Defaults to
    /// 7 days.
    #[serde(rename = "keep_finished_us", with = "micros")]
    pub keep_finished: Duration,
    /// The queue that gets a copy of each message that is given up. It is created with the defaults when it does not exist.
    /// Defaults to none: they stay in the dead letters of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// What it means for a message that one it waits for has failed. Defaults to [`ParentFailure::Wait`].
    pub parent_failure: ParentFailure,
    /// How many messages of one group may be at work. Not together with a policy that limits work by key. Defaults to any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupLimit>,
    /// How many messages may be claimed in a time. Defaults to any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateLimit>,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            policy: Policy::Standard,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            priority: 0,
            delay: Duration::ZERO,
            retry: Retry::default(),
            timeout: None,
            heartbeat: None,
            keep_queued: 14 * DAY,
            keep_finished: 7 * DAY,
            dead_letter: None,
            parent_failure: ParentFailure::Wait,
            groups: None,
            rate: None,
        }
    }
}

impl QueueOptions {
    /// Checks the options of the queue `name`.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self, name: &str) -> Result<()> {
        limits::check_attempts("queue.max_attempts", self.max_attempts)?;
        limits::check_duration("queue.delay", self.delay)?;
        limits::check_duration("queue.keep_queued", self.keep_queued)?;
        limits::check_duration("queue.keep_finished", self.keep_finished)?;
        self.retry.check("queue.retry")?;
        check_timeout("queue.timeout", self.timeout)?;
        check_heartbeat("queue.heartbeat", self.heartbeat)?;
        if let Some(dead_letter) = &self.dead_letter {
            limits::check_name("queue.dead_letter", dead_letter)?;
            if dead_letter == name {
                return Err(Error::invalid("queue.dead_letter", "must be another queue"));
            }
        }
        if let Some(rate) = &self.rate {
            rate.check()?;
        }
        let Some(groups) = &self.groups else { return Ok(()) };
        if self.policy.limits_work() {
            let policy = self.policy.as_str();
            return Err(Error::invalid(
                "queue.groups",
                format!("the policy {policy} limits work by key already"),
            ));
        }
        groups.check()
    }

    /// In which options `asked` differs: name, asked for, here.
    pub fn differences(&self, asked: &Self) -> Vec<(String, Value, Value)> {
        let fields = |options: &Self| match serde_json::to_value(options) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let (here, asked) = (fields(self), fields(asked));
        let names: BTreeSet<&String> = here.keys().chain(asked.keys()).collect();
        let value = |of: &Map<String, Value>, name: &String| of.get(name).cloned().unwrap_or_default();
        names
            .into_iter()
            .filter(|name| here.get(*name) != asked.get(*name))
            .map(|name| (name.trim_end_matches("_us").to_owned(), value(&asked, name), value(&here, name)))
            .collect()
    }

    /// Whether messages of this queue may be held back.
    pub fn is_gated(&self) -> bool {
        self.policy.limits_work() || self.groups.is_some()
    }
}

/// What one message asks for instead of what its queue says. `None` is what the queue says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageOptions {
    /// When another message is the same as this one. Goes by the key.
    #[serde(skip)]
    pub unique: Option<Unique>,
    /// How long it waits after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long one try may take; 100 ms to 1 day.
    #[serde(rename = "timeout_us", with = "some_micros", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long the worker that has it may be silent about it, in whole seconds from 10 s to 1 day.
    #[serde(rename = "heartbeat_us", with = "some_micros", skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Duration>,
    /// How long it is kept when nobody claims it after it could be claimed.
    #[serde(rename = "keep_queued_us", with = "some_micros", skip_serializing_if = "Option::is_none")]
    pub keep_queued: Option<Duration>,
    /// How long it is kept when it is done, cancelled or given up; zero keeps none that is done or cancelled.
    #[serde(rename = "keep_finished_us", with = "some_micros", skip_serializing_if = "Option::is_none")]
    pub keep_finished: Option<Duration>,
    /// The queue that gets a copy when it is given up; created when it does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// What it means that one it waits for has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_failure: Option<ParentFailure>,
}

impl MessageOptions {
    /// Checks everything.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        if let Some(unique) = &self.unique {
            unique.check()?;
        }
        if let Some(retry) = &self.retry {
            retry.check("message.retry")?;
        }
        check_timeout("message.timeout", self.timeout)?;
        check_heartbeat("message.heartbeat", self.heartbeat)?;
        for (field, duration) in
            [("message.keep_queued", self.keep_queued), ("message.keep_finished", self.keep_finished)]
        {
            limits::check_duration(field, duration.unwrap_or_default())?;
        }
        self.dead_letter.as_deref().map_or(Ok(()), |name| limits::check_name("message.dead_letter", name))
    }
}

fn check_timeout(field: &str, timeout: Option<Duration>) -> Result<()> {
    match timeout {
        Some(timeout) if timeout < Duration::from_millis(100) || timeout > DAY => {
            Err(Error::invalid(field, format!("{timeout:?} is not within 100 ms to 1 day")))
        }
        _ => Ok(()),
    }
}

fn check_heartbeat(field: &str, heartbeat: Option<Duration>) -> Result<()> {
    match heartbeat {
        Some(every) if every < Duration::from_secs(10) || every > DAY || every.subsec_nanos() > 0 => {
            Err(Error::invalid(field, format!("{every:?} is not whole seconds within 10 s to 1 day")))
        }
        _ => Ok(()),
    }
}

/// When a message with the same key is a duplicate. A message without a key is compared with others without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unique {
    /// As long as the first has not ended.
    Unfinished,
    /// For so long after the first was pushed, whatever became of it: an idempotency key.
    For(Duration),
    /// One for each slot of this length; slots begin at multiples of it since 1970. One that was cancelled does not count.
    Throttle(Duration),
    /// One for each slot, as [`Throttle`](Self::Throttle), but a second one is put off to the next slot. A third is a
    /// duplicate.
    Debounce(Duration),
}

impl Unique {
    fn check(&self) -> Result<()> {
        let (Self::For(time) | Self::Throttle(time) | Self::Debounce(time)) = self else { return Ok(()) };
        limits::check_duration("message.unique", *time)?;
        if *time < Duration::from_millis(1) {
            return Err(Error::invalid("message.unique", format!("{time:?} is less than 1 ms")));
        }
        Ok(())
    }
}

/// Whose share of a queue a message takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// The group.
    pub id: String,
    /// Which limit counts for it, of those the queue names.
    pub tier: Option<String>,
}

impl Group {
    /// A group under the queue's limit for all.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), tier: None }
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::check_id("message.group.id", &self.id)?;
        self.tier.as_deref().map_or(Ok(()), |tier| limits::check_name("message.group.tier", tier))
    }
}

/// How many messages of one group may be at work at the same time. Messages without a group are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLimit {
    /// For a group whose message names no tier, or one that is not listed; at least 1.
    pub limit: u32,
    /// For a group whose message names a tier; each at least 1.
    #[serde(default)]
    pub tiers: BTreeMap<String, u32>,
}

impl GroupLimit {
    /// The same limit for all groups.
    pub fn new(limit: u32) -> Self {
        Self { limit, tiers: BTreeMap::new() }
    }

    /// What counts for `group`.
    pub fn of(&self, group: &Group) -> u32 {
        group.tier.as_ref().and_then(|tier| self.tiers.get(tier)).copied().unwrap_or(self.limit)
    }

    fn check(&self) -> Result<()> {
        let allowed = 1..=1_000_000;
        let limits = std::iter::once(&self.limit).chain(self.tiers.values());
        for limit in limits {
            if !allowed.contains(limit) {
                return Err(Error::invalid("queue.groups", format!("{limit} is not within 1 to 1000000")));
            }
        }
        self.tiers.keys().try_for_each(|tier| limits::check_name("queue.groups.tiers", tier))
    }
}

/// How many messages may be claimed: `count` in any `per` on average, and as many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// How many; 1 to 1,000,000.
    pub count: u32,
    /// In how long; 1 ms to 1 day.
    #[serde(rename = "per_us", with = "micros")]
    pub per: Duration,
}

impl RateLimit {
    fn check(&self) -> Result<()> {
        if !(1..=1_000_000).contains(&self.count) {
            return Err(Error::invalid(
                "queue.rate.count",
                format!("{} is not within 1 to 1000000", self.count),
            ));
        }
        if self.per < Duration::from_millis(1) || self.per > DAY {
            return Err(Error::invalid(
                "queue.rate.per",
                format!("{:?} is not within 1 ms to 1 day", self.per),
            ));
        }
        Ok(())
    }
}

/// How long a failed message waits before it may run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// After the first failure. Defaults to 1 s.
    #[serde(rename = "delay_us", with = "micros")]
    pub delay: Duration,
    /// After the next ones. Defaults to [`Backoff::Exponential`].
    pub backoff: Backoff,
    /// At most so long. Defaults to 1 h.
    #[serde(rename = "longest_us", with = "micros")]
    pub longest: Duration,
    /// Anything from nothing to that delay, so that what failed together does not come back together. Defaults to true.
    pub jitter: bool,
}

/// How the delay grows with every failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always the same.
    Fixed,
    /// Doubled.
    #[default]
    Exponential,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(1),
            backoff: Backoff::Exponential,
            longest: Duration::from_secs(3600),
            jitter: true,
        }
    }
}

impl Retry {
    /// Always after `delay`.
    pub fn fixed(delay: Duration) -> Self {
        Self { delay, backoff: Backoff::Fixed, longest: delay, jitter: false }
    }

    /// The longest wait after a failure, when `failures` came before it. With jitter it may be anything down to nothing.
    pub fn delay_after(&self, failures: u32) -> Duration {
        let factor = match self.backoff {
            Backoff::Fixed => 1,
            Backoff::Exponential => 2_u32.saturating_pow(failures.min(30)),
        };
        self.delay.saturating_mul(factor).min(self.longest)
    }

    fn check(&self, field: &str) -> Result<()> {
        limits::check_duration(field, self.delay)?;
        limits::check_duration(field, self.longest)?;
        if self.backoff == Backoff::Exponential && self.delay.is_zero() {
            return Err(Error::invalid(field, "an exponential delay cannot begin with zero"));
        }
        Ok(())
    }
}

mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

mod some_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::micros::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_micros))
    }
}

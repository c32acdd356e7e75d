//! Messages: what is to be delivered once to one consumer.
//!
//! ```text
//!          ┌─► held ──room──┐
//! push ─► deferred ──time──► ready ──claim──► claimed ──Done──► gone, or kept as finished
//!            ▲                 ▲                 │
//!            │                 ├── lease lost ◄──┤
//!            │                 └── PutBack ◄─────┤
//!            └─ Retry · RetryAfter · SnoozeUntil ┤
//!                                                └─ DeadLetter, or attempts used up ─► dead letters
//! ```
//! *Held* are messages whose key or group has as many at work as its queue allows. Before all this a message may be *blocked*:
//! it waits for other messages to be done.
//!
//! Three counters say what happened to a message: `failures` (its handler failed), `lost` (its worker died) and `delays`
//! (it was put off). Only failures use up attempts.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::{Map, Value};

use crate::{
    Error, Failure, MessageId, Result, Timestamp, WorkerId, limits,
    queue::{Group, MessageOptions, MessageRef, Origin, check_parents},
    trace::TraceContext,
};

/// The queue used when none is named.
pub const DEFAULT_QUEUE: &str = "default";

/// When a message may first be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Available {
    /// After the delay of its queue; at once when that has none.
    #[default]
    Default,
    /// At once.
    Now,
    /// So long after the commit, by the database's clock.
    After(Duration),
    /// At this time. A time in the past is as soon as a claim comes back short or upkeep runs.
    At(Timestamp),
}

/// A message to push.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// The queue.
    pub queue: String,
    /// Isolation key; empty for none.
    pub tenant: String,
    /// What it is, such as `execution.wake`.
    pub message_type: String,
    /// Who sent it.
    pub source: Option<String>,
    /// What it is about: for the engine, the execution.
    pub subject: Option<String>,
    /// Whom it is for.
    pub to: Option<String>,
    /// The payload.
    pub data: Value,
    /// Beside the payload: trace context and the like.
    pub headers: Map<String, Value>,
    /// Higher goes first. Defaults to what its queue says, else 0.
    pub priority: Option<i16>,
    /// When it may first be claimed.
    pub available: Available,
    /// Runs in all, the first included, before it is dead-lettered; 1 to 1,000. Defaults to what its queue says, else 3.
    pub max_attempts: Option<u32>,
    /// What the policy of its queue goes by, and what [`unique`](MessageOptions::unique) compares. Needs a queue that was
    /// created, as do the next two.
    pub key: Option<String>,
    /// Whose share of the queue it takes, where the queue limits [groups](crate::QueueOptions::groups).
    pub group: Option<Group>,
    /// Messages that must be done before it may be claimed: of the same push, or there already. They cannot begin or end before
    /// its push is committed, so such a transaction should be short. One that was done and is kept counts, one that is gone is
    /// not found; one of the same push that is a duplicate stands for the message that is there. Needs queues that were
    /// created.
    pub depends_on: Vec<MessageRef>,
    /// What it asks for instead of what its queue says.
    pub options: MessageOptions,
}

/// The priority of a message where neither it nor its queue says one.
pub const DEFAULT_PRIORITY: i16 = 0;

/// The runs of a message where neither it nor its queue says how many.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

impl NewMessage {
    /// A message with a fresh id and nothing optional set.
    pub fn new(queue: impl Into<String>, message_type: impl Into<String>, data: Value) -> Self {
        Self {
            id: MessageId::generate(),
            queue: queue.into(),
            tenant: String::new(),
            message_type: message_type.into(),
            source: None,
            subject: None,
            to: None,
            data,
            headers: Map::new(),
            priority: None,
            available: Available::Default,
            max_attempts: None,
            key: None,
            group: None,
            depends_on: Vec::new(),
            options: MessageOptions::default(),
        }
    }

    /// The same message, waiting for these too.
    #[must_use]
    pub fn after<'m>(mut self, parents: impl IntoIterator<Item = &'m Self>) -> Self {
        self.depends_on.extend(parents.into_iter().map(MessageRef::from));
        self
    }

    /// Whether it has something only a queue that was created can look after: a key, a group, others to wait for or options of
    /// its own.
    pub fn is_special(&self) -> bool {
        self.key.is_some()
            || self.group.is_some()
            || !self.depends_on.is_empty()
            || self.options != MessageOptions::default()
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_id("message.id", self.id.as_str())?;
        limits::check_name("message.queue", &self.queue)?;
        limits::check_name("message.type", &self.message_type)?;
        for (field, text) in
            [("message.source", &self.source), ("message.subject", &self.subject), ("message.to", &self.to)]
        {
            if let Some(text) = text {
                limits::check_id(field, text)?;
            }
        }
        if !self.tenant.is_empty() {
            limits::check_id("message.tenant", &self.tenant)?;
        }
        if let Some(attempts) = self.max_attempts {
            limits::check_attempts("message.max_attempts", attempts)?;
        }
        if let Some(key) = &self.key {
            limits::check_id("message.key", key)?;
        }
        if let Some(group) = &self.group {
            group.check()?;
        }
        check_parents(self)?;
        self.options.check()?;
        if let Available::After(delay) = self.available {
            limits::check_duration("message.available", delay)?;
        }
        limits::check_json("message.data", &self.data)?;
        limits::check_map("message.headers", &self.headers, limits::MAX_METADATA)
    }
}

/// The right to settle one claimed message: its place in the queue and the fencing token of the claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageLease {
    /// The queue.
    pub queue: String,
    /// The message's priority, part of its place.
    pub priority: i16,
    /// The message's number in its queue, part of its place.
    pub seq: i64,
    /// Grows with every claim; a settle with an older one changes nothing.
    pub token: i64,
    /// Whether its queue had been created when it was pushed, so that there is more to its end than that it goes away.
    pub managed: bool,
}

impl MessageLease {
    /// The error of a lost lease.
    pub fn fenced(&self) -> Error {
        Error::fenced(format!("lease on message {} of queue `{}` was lost", self.seq, self.queue))
    }
}

/// A claimed message.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What was pushed.
    pub message: NewMessage,
    /// The right to settle it.
    pub lease: MessageLease,
    /// Times its handler failed before.
    pub failures: u32,
    /// Times its worker died before.
    pub lost: u32,
    /// Times it was put off.
    pub delays: u32,
    /// When it was pushed.
    pub created_at: Timestamp,
    /// How long this try may take; when that is over it counts as failed and its lease is gone. `None` for any length.
    pub timeout: Option<Duration>,
    /// How long its holder may be silent about it; see [`QueueOptions::heartbeat`](crate::QueueOptions::heartbeat).
    pub heartbeat: Option<Duration>,
    /// Where it came from, when it is a dead letter of another queue.
    pub origin: Option<Origin>,
}

impl Delivery {
    /// Whether it may be what kills its workers.
    pub fn is_suspect(&self) -> bool {
        self.lost >= SUSPECT_AFTER
    }

    /// Whether it is dead-lettered if its handler fails once more.
    pub fn is_last_try(&self) -> bool {
        self.message.max_attempts.is_some_and(|attempts| self.failures + 1 >= attempts)
    }

    /// Which run this is: 1 for the first.
    pub fn attempt(&self) -> u32 {
        self.failures + self.lost + 1
    }
}

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// It is done and goes away, or is kept for as long as its queue says.
    Done,
    /// The same, and this is what came of it. Stored only where the queue keeps what is finished.
    DoneWith(Value),
    /// Its handler failed: again after the delay its queue or itself says (else a second, doubled with every failure, at most
    /// an hour), or dead-lettered when its attempts are used up.
    Retry {
        /// Why.
        error: Failure,
    },
    /// Its handler failed: again after this delay, or dead-lettered when its attempts are used up.
    RetryAfter {
        /// How long to wait.
        delay: Duration,
        /// Why.
        error: Failure,
    },
    /// Again at this time; uses up no attempt and forgets earlier failures.
    SnoozeUntil(Timestamp),
    /// It will never succeed.
    DeadLetter(Failure),
    /// It was not begun: ready again at once and in its old place, as if it had not been claimed. No counter changes.
    PutBack,
}

/// A settlement of one delivery, refused when its lease was lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Settle {
    /// The right to settle.
    pub lease: MessageLease,
    /// What becomes of it.
    pub settlement: Settlement,
    /// The span of this try, for the next one to refer to.
    pub tried: Option<TraceContext>,
}

impl Settle {
    /// A settlement that says nothing of a span.
    pub fn new(lease: MessageLease, settlement: Settlement) -> Self {
        Self { lease, settlement, tried: None }
    }

    /// What the message is to say of this try in its header [`TRIED`](crate::trace::TRIED), when there will be another one.
    pub fn mark(&self) -> Option<&TraceContext> {
        match self.settlement {
            Settlement::Retry { .. } | Settlement::RetryAfter { .. } | Settlement::SnoozeUntil(_) => {
                self.tried.as_ref()
            }
            Settlement::Done | Settlement::DoneWith(_) | Settlement::DeadLetter(_) | Settlement::PutBack => {
                None
            }
        }
    }

    /// Checks what a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        match &self.settlement {
            Settlement::DoneWith(output) => limits::check_json("settlement.output", output),
            Settlement::Retry { error } | Settlement::DeadLetter(error) => error.check("settlement.error"),
            Settlement::RetryAfter { delay, error } => {
                limits::check_duration("settlement.delay", *delay)?;
                error.check("settlement.error")
            }
            Settlement::Done | Settlement::SnoozeUntil(_) | Settlement::PutBack => Ok(()),
        }
    }

    /// The error of a lost lease.
    pub fn fenced(&self) -> Error {
        self.lease.fenced()
    }
}

/// Who wants to claim, and how much.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequest {
    /// The queue.
    pub queue: String,
    /// Who will hold the leases.
    pub holder: WorkerId,
    /// How long the holder counts as alive from now, unless it extends; at least 100 ms.
    pub lease: Duration,
    /// At most so many, 1 to 1,000.
    pub max: u32,
    /// At most so many of them suspects: messages that have cost [`SUSPECT_AFTER`] workers already. One that kills its
    /// worker takes down whatever runs beside it, so a worker takes one at a time; the others are then not blamed. They may
    /// come before messages in front of them.
    pub suspects: u32,
    /// Which messages, and in what order. Defaults to all that are due, by priority, then age.
    pub select: Select,
}

/// Which messages a claim may bring, and in what order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Only of these priorities. Defaults to all.
    pub priorities: RangeInclusive<i16>,
    /// By age alone, whatever the priority. Defaults to false.
    pub by_age: bool,
    /// Also those that are not yet due. Defaults to false.
    pub ignore_delay: bool,
    /// None of these groups. Defaults to no group.
    pub but_groups: Vec<String>,
}

impl Default for Select {
    fn default() -> Self {
        Self { priorities: i16::MIN..=i16::MAX, by_age: false, ignore_delay: false, but_groups: Vec::new() }
    }
}

/// How many workers a message has cost when it becomes a suspect.
pub const SUSPECT_AFTER: u32 = 2;

impl ClaimRequest {
    /// Whatever is due, suspects and all.
    pub fn new(queue: impl Into<String>, holder: WorkerId, lease: Duration, max: u32) -> Self {
        Self { queue: queue.into(), holder, lease, max, suspects: max, select: Select::default() }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_name("claim.queue", &self.queue)?;
        if !(1..=1_000).contains(&self.max) {
            return Err(Error::invalid("claim.max", format!("{} is not within 1 to 1000", self.max)));
        }
        if self.select.priorities.is_empty() {
            return Err(Error::invalid("claim.select.priorities", "no priority is within them"));
        }
        check_lease(self.lease)
    }
}

/// Checks the length of a lease: 100 ms to 1 day.
///
/// # Errors
/// Invalid, naming the field and the limit.
pub fn check_lease(lease: Duration) -> Result<()> {
    if lease < Duration::from_millis(100) || lease > Duration::from_secs(24 * 3600) {
        return Err(Error::invalid("lease", format!("{lease:?} is not within 100 ms to 1 day")));
    }
    Ok(())
}

/// What a claim brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claimed {
    /// The deliveries, best first.
    pub deliveries: Vec<Delivery>,
    /// When to look again: the next deferred message of any queue is due, or the rate limit allows another one. Only looked
    /// up when the claim came back short.
    pub next_due: Option<Timestamp>,
}

/// What a round of upkeep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Deferred messages whose time had come.
    pub promoted: u64,
    /// Messages taken back from dead holders, and from those that were silent about them for too long.
    pub reclaimed: u64,
    /// Holders found dead.
    pub dead_holders: u64,
    /// Tries that took longer than they may and were taken back as failed.
    pub timed_out: u64,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Ready to be claimed.
    pub ready: u64,
    /// Claimed and not settled.
    pub claimed: u64,
    /// Not yet due.
    pub deferred: u64,
    /// Due, and held back because their key or group has as many at work as may be.
    pub held: u64,
    /// Waiting for other messages to be done.
    pub blocked: u64,
    /// In the dead letters.
    pub dead: u64,
}

/// A message that will not be delivered again.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The message as it was pushed.
    pub message: NewMessage,
    /// Times its handler failed.
    pub failures: u32,
    /// Times its worker died.
    pub lost: u32,
    /// Why it is here.
    pub reason: Failure,
    /// Since when.
    pub dead_at: Timestamp,
    /// Its place in the order of all pushes.
    pub seq: i64,
}

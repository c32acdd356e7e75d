//! The queue in memory: where a message is says what state it is in, as in Postgres. Here nothing is counted beforehand: how
//! many of a key or group are admitted is looked up each time.

mod driver;
mod end;
mod keys;
mod messages;
mod parents;
mod place;
mod receipts;
mod store;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use mainspring_core::{
    Failure, MessageRef, MessageStatus, NewMessage, Origin, Queue as QueueRow, Timestamp, WorkerId,
    message::{DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY},
};
use serde_json::Value;
use tokio::sync::Notify;

/// Queue, priority downwards, number: the order of claims.
type Place = (String, Reverse<i16>, i64);

#[derive(Default)]
pub(super) struct Queue {
    rows: BTreeMap<String, QueueRow>,
    pub(super) ready: BTreeMap<Place, Message>,
    pub(super) claimed: BTreeMap<Place, Claim>,
    pub(super) deferred: BTreeMap<(Timestamp, i64), Message>,
    held: BTreeMap<Place, Message>,
    /// By number.
    blocked: BTreeMap<i64, parents::Blocked>,
    /// Who is waited for by whom, by number, and what the former is called.
    waits: BTreeMap<(i64, i64), MessageRef>,
    dead: Vec<Ended>,
    finished: Vec<Ended>,
    keys: HashMap<(String, String, String), keys::Key>,
    /// Messages that could still be claimed, as of a time.
    tokens: HashMap<String, (f64, Timestamp)>,
    /// Holders of leases and until when they count as alive.
    pub(super) workers: HashMap<WorkerId, Timestamp>,
    /// By queue and key: until when.
    receipts: HashMap<(String, String), Timestamp>,
    bells: HashMap<String, Arc<Notify>>,
    last_seq: i64,
    last_token: i64,
}

pub(super) struct Claim {
    pub(super) holder: WorkerId,
    token: i64,
    /// When the try has taken longer than it may.
    expires: Option<Timestamp>,
    /// How long its holder may be silent about it, and since when it is.
    heartbeat: Option<(Duration, Timestamp)>,
    pub(super) message: Message,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) pushed: NewMessage,
    pub(super) seq: i64,
    pub(super) failures: u32,
    pub(super) lost: u32,
    pub(super) delays: u32,
    created_at: Timestamp,
    /// Whose count it is in while it is admitted.
    pub(super) gate: Option<String>,
    /// Admitted although it waits for a retry or was given up: it keeps its place.
    pub(super) placed: bool,
    keep_until: Option<Timestamp>,
    managed: bool,
    origin: Option<Origin>,
}

/// A message that has ended and is kept.
struct Ended {
    message: Message,
    status: MessageStatus,
    at: Timestamp,
    keep_until: Option<Timestamp>,
    output: Option<Value>,
    reason: Option<Failure>,
}

impl Message {
    fn priority(&self) -> i16 {
        self.pushed.priority.unwrap_or(DEFAULT_PRIORITY)
    }

    fn max_attempts(&self) -> u32 {
        self.pushed.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS)
    }

    fn key(&self) -> &str {
        self.pushed.key.as_deref().unwrap_or_default()
    }

    pub(super) fn place(&self) -> Place {
        (self.pushed.queue.clone(), Reverse(self.priority()), self.seq)
    }

    /// Never run, never put off.
    fn is_new(&self) -> bool {
        self.failures + self.lost + self.delays == 0
    }
}

impl Queue {
    /// Ready or held when due, else deferred.
    pub(super) fn put(&mut self, message: Message, due: Timestamp, at: Timestamp) {
        if due > at {
            self.deferred.insert((due, message.seq), message);
            return;
        }
        self.arrive(message);
    }

    /// Looks at the tries that take too long; how many were taken back.
    pub(super) fn expire(&mut self, at: Timestamp) -> u64 {
        let late: Vec<Place> = self
            .claimed
            .iter()
            .filter(|(_, claim)| claim.expires.is_some_and(|expires| expires <= at))
            .map(|(place, _)| place.clone())
            .collect();
        let count = late.len() as u64;
        for place in late {
            if let Some(claim) = self.claimed.remove(&place) {
                let error = Failure::new("TIMEOUT", "the try took longer than it may");
                self.end(claim.message, mainspring_core::Settlement::Retry { error }, at);
            }
        }
        count
    }

    /// Takes back what holders were silent about for too long; how many.
    pub(super) fn expire_beats(&mut self, at: Timestamp) -> u64 {
        let silent =
            |_: &Place, claim: &mut Claim| claim.heartbeat.is_some_and(|(every, since)| since + every <= at);
        let late: Vec<Message> =
            self.claimed.extract_if(.., silent).map(|(_, claim)| claim.message).collect();
        let count = late.len() as u64;
        for mut message in late {
            message.lost += 1;
            self.give_back(message);
        }
        count
    }

    pub(super) fn bell(&mut self, queue: &str) -> Arc<Notify> {
        self.bells.entry(queue.to_owned()).or_default().clone()
    }

    /// Lets everyone look again: time has moved.
    pub(super) fn ring_all(&self) {
        self.bells.values().for_each(|bell| bell.notify_waiters());
    }

    /// Everything that waits to be claimed.
    fn waiting(&self) -> impl Iterator<Item = &Message> {
        let blocked = self.blocked.values().map(|blocked| &blocked.message);
        self.ready.values().chain(self.deferred.values()).chain(self.held.values()).chain(blocked)
    }

    /// Every gate of a queue that someone waits at.
    fn gates(&self, queue: &str) -> BTreeSet<String> {
        let held = self.held.values().filter(|message| message.pushed.queue == queue);
        held.filter_map(|message| message.gate.clone()).collect()
    }
}

/// How much longer than `at`.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    at + by
}

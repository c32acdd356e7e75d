//! The queue in memory: where a message is says what state it is in, as in Postgres.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use mainspring_core::{
    Available, BoxFuture, ClaimRequest, Claimed, DeadLetter, Delivery, Failure, MessageLease, NewMessage,
    QueueDriver, QueueStats, Result, SUSPECT_AFTER, Settle, Settlement, Timestamp, Upkeep, WorkerId,
    execution::page_size, message::check_lease,
};
use tokio::sync::Notify;

use super::MemoryBackend;

/// Queue, priority downwards, number: the order of claims.
type Place = (String, Reverse<i16>, i64);

#[derive(Default)]
pub(super) struct Queue {
    pub(super) ready: BTreeMap<Place, Message>,
    pub(super) claimed: BTreeMap<Place, (WorkerId, i64, Message)>,
    pub(super) deferred: BTreeMap<(Timestamp, i64), Message>,
    dead: Vec<(i64, DeadLetter)>,
    /// Holders of leases and until when they count as alive.
    pub(super) workers: HashMap<WorkerId, Timestamp>,
    bells: HashMap<String, Arc<Notify>>,
    last_seq: i64,
    last_token: i64,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) pushed: NewMessage,
    pub(super) seq: i64,
    pub(super) failures: u32,
    pub(super) lost: u32,
    pub(super) delays: u32,
    created_at: Timestamp,
}

impl Message {
    pub(super) fn place(&self) -> Place {
        (self.pushed.queue.clone(), Reverse(self.pushed.priority), self.seq)
    }
}

fn place_of(lease: &MessageLease) -> Place {
    (lease.queue.clone(), Reverse(lease.priority), lease.seq)
}

impl Queue {
    pub(super) fn push(&mut self, messages: Vec<NewMessage>, at: Timestamp) {
        for mut pushed in messages {
            let due = match std::mem::take(&mut pushed.available) {
                Available::Now => at,
                Available::After(delay) => at + delay,
                Available::At(time) => time,
            };
            self.last_seq += 1;
            let message =
                Message { pushed, seq: self.last_seq, failures: 0, lost: 0, delays: 0, created_at: at };
            self.put(message, due, at);
        }
    }

    /// Ready when due, else deferred.
    pub(super) fn put(&mut self, message: Message, due: Timestamp, at: Timestamp) {
        if due > at {
            self.deferred.insert((due, message.seq), message);
            return;
        }
        self.bell(&message.pushed.queue).notify_waiters();
        self.ready.insert(message.place(), message);
    }

    fn claim(&mut self, request: &ClaimRequest, at: Timestamp) -> Claimed {
        let mut claimed = Claimed::default();
        while claimed.deliveries.len() < request.max as usize {
            let suspects = claimed.deliveries.iter().filter(|d| d.is_suspect()).count();
            let Some(place) = self.first_ready(&request.queue, suspects < request.suspects as usize) else {
                if self.promote(at) > 0 {
                    continue;
                }
                claimed.next_due = self.next_due(&request.queue);
                break;
            };
            if let Some(message) = self.ready.remove(&place) {
                self.last_token += 1;
                claimed.deliveries.push(delivery(&message, self.last_token));
                self.claimed.insert(place, (request.holder.clone(), self.last_token, message));
            }
        }
        if !claimed.deliveries.is_empty() {
            self.workers.insert(request.holder.clone(), at + request.lease);
        }
        claimed
    }

    fn first_ready(&self, queue: &str, suspects: bool) -> Option<Place> {
        let from = (queue.to_owned(), Reverse(i16::MAX), i64::MIN);
        let ready = self.ready.range(from..).take_while(|((name, ..), _)| name == queue);
        ready
            .filter(|(_, message)| suspects || message.lost < SUSPECT_AFTER)
            .map(|(place, _)| place.clone())
            .next()
    }

    fn next_due(&self, queue: &str) -> Option<Timestamp> {
        self.deferred.iter().find(|(_, message)| message.pushed.queue == queue).map(|((due, _), _)| *due)
    }

    /// Whether the lease behind a settlement still holds.
    pub(super) fn check(&self, settle: &Settle) -> Result<()> {
        match self.claimed.get(&place_of(&settle.lease)) {
            Some((_, token, _)) if *token == settle.lease.token => Ok(()),
            _ => Err(settle.fenced()),
        }
    }

    /// Applies a checked settlement.
    pub(super) fn settle(&mut self, settle: Settle, at: Timestamp) {
        let Some((_, _, mut message)) = self.claimed.remove(&place_of(&settle.lease)) else { return };
        match settle.settlement {
            Settlement::Done => {}
            Settlement::RetryAfter { delay, error } => {
                message.failures += 1;
                if message.failures >= message.pushed.max_attempts {
                    self.bury(message, error, at);
                } else {
                    self.put(message, at + delay, at);
                }
            }
            Settlement::SnoozeUntil(due) => {
                message.delays += 1;
                message.failures = 0;
                message.lost = 0;
                self.put(message, due, at);
            }
            Settlement::DeadLetter(reason) => self.bury(message, reason, at),
            Settlement::PutBack => self.put(message, at, at),
        }
    }

    fn bury(&mut self, message: Message, reason: Failure, at: Timestamp) {
        let Message { pushed, seq, failures, lost, .. } = message;
        self.dead.push((seq, DeadLetter { message: pushed, failures, lost, reason, dead_at: at }));
    }

    fn stats(&self, queue: &str) -> QueueStats {
        let count =
            |names: &mut dyn Iterator<Item = &str>| names.filter(|name| *name == queue).count() as u64;
        QueueStats {
            ready: count(&mut self.ready.keys().map(|place| place.0.as_str())),
            claimed: count(&mut self.claimed.keys().map(|place| place.0.as_str())),
            deferred: count(&mut self.deferred.values().map(|message| message.pushed.queue.as_str())),
            dead: count(&mut self.dead.iter().map(|(_, dead)| dead.message.queue.as_str())),
        }
    }

    fn dead_letters(&self, queue: &str, limit: usize) -> Vec<DeadLetter> {
        let mut found: Vec<&(i64, DeadLetter)> =
            self.dead.iter().filter(|(_, d)| d.message.queue == queue).collect();
        found.sort_by_key(|(seq, dead)| Reverse((dead.dead_at, *seq)));
        found.into_iter().take(limit).map(|(_, dead)| dead.clone()).collect()
    }

    pub(super) fn bell(&mut self, queue: &str) -> Arc<Notify> {
        self.bells.entry(queue.to_owned()).or_default().clone()
    }

    /// Lets everyone look again: time has moved.
    pub(super) fn ring_all(&self) {
        self.bells.values().for_each(|bell| bell.notify_waiters());
    }
}

fn delivery(message: &Message, token: i64) -> Delivery {
    let pushed = message.pushed.clone();
    let lease =
        MessageLease { queue: pushed.queue.clone(), priority: pushed.priority, seq: message.seq, token };
    let Message { failures, lost, delays, created_at, .. } = *message;
    Delivery { message: pushed, lease, failures, lost, delays, created_at }
}

impl QueueDriver for MemoryBackend {
    fn push(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<()>> {
        self.run(move |state, at| {
            messages.iter().try_for_each(NewMessage::check)?;
            state.queue.push(messages, at);
            Ok(())
        })
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<Claimed>> {
        self.run(move |state, at| {
            request.check()?;
            Ok(state.queue.claim(&request, at))
        })
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        self.run(move |state, at| {
            let settle_one = |settle: Settle| {
                state.queue.check(&settle)?;
                state.queue.settle(settle, at);
                Ok(())
            };
            Ok(settles.into_iter().map(settle_one).collect())
        })
    }

    fn register<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        self.run(move |state, at| {
            check_lease(lease)?;
            state.queue.workers.insert(holder.clone(), at + lease);
            Ok(())
        })
    }

    fn extend<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        self.run(move |state, at| {
            check_lease(lease)?;
            state.queue.extend(holder, at + lease)
        })
    }

    fn release<'a>(&'a self, holder: &'a WorkerId) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, _| Ok(state.queue.release(holder)))
    }

    fn maintain(&self) -> BoxFuture<'_, Result<Upkeep>> {
        self.run(move |state, at| Ok(state.queue.maintain(at)))
    }

    fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<QueueStats>> {
        self.run(move |state, _| Ok(state.queue.stats(queue)))
    }

    fn dead_letters<'a>(&'a self, queue: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        self.run(move |state, _| {
            let limit = usize::try_from(page_size(limit)?).unwrap_or(usize::MAX);
            Ok(state.queue.dead_letters(queue, limit))
        })
    }

    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let bell = self.lock().queue.bell(queue);
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable(); // from here on no ring is missed
            if self.lock().queue.first_ready(queue, true).is_none() {
                let _ = tokio::time::timeout(timeout, rung).await;
            }
        })
    }
}

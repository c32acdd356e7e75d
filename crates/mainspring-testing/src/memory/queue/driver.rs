//! The driver: claims and what is around them.

use std::{cmp::Reverse, time::Duration};

use mainspring_core::{
    BoxFuture, ClaimRequest, Claimed, DeadLetter, DeadLetterQuery, Delivery, MessageLease, NewMessage,
    QueueDriver, QueueStats, QueueStore, RateLimit, Result, SUSPECT_AFTER, Settle, Timestamp, Upkeep,
    WorkerId, message::check_lease, queue::check_messages, trace,
};

use super::{Claim, Message, Place, Queue};
use crate::MemoryBackend;

pub(super) fn place_of(lease: &MessageLease) -> Place {
    (lease.queue.clone(), Reverse(lease.priority), lease.seq)
}

impl Queue {
    fn claim(&mut self, request: &ClaimRequest, at: Timestamp) -> Claimed {
        let mut claimed = Claimed::default();
        if request.select.ignore_delay {
            self.hasten(&request.queue, request.max as usize, at);
        }
        let room = self.room(&request.queue, at);
        while claimed.deliveries.len() < request.max as usize {
            let suspects = claimed.deliveries.iter().filter(|d| d.is_suspect()).count();
            let has_room = room.is_none_or(|(room, _)| claimed.deliveries.len() < room as usize);
            let next = self.first_ready(request, suspects < request.suspects as usize).filter(|_| has_room);
            let Some(place) = next else {
                if self.promote(at) > 0 {
                    continue;
                }
                claimed.next_due = self.deferred.keys().next().map(|(due, _)| *due);
                if let Some((room, next)) = room.filter(|(room, _)| *room <= claimed.deliveries.len() as u64)
                {
                    debug_assert!(room <= claimed.deliveries.len() as u64);
                    claimed.next_due = Some(claimed.next_due.map_or(next, |due| due.min(next)));
                }
                break;
            };
            if let Some(message) = self.ready.remove(&place) {
                self.last_token += 1;
                let row = self.rows.get(&request.queue).filter(|_| message.managed);
                let timeout = message.pushed.options.timeout.or(row.and_then(|row| row.options.timeout));
                let heartbeat =
                    message.pushed.options.heartbeat.or(row.and_then(|row| row.options.heartbeat));
                claimed.deliveries.push(delivery(&message, self.last_token, timeout, heartbeat));
                let expires = timeout.map(|timeout| at + timeout);
                let heartbeat = heartbeat.map(|every| (every, at));
                let claim = Claim {
                    holder: request.holder.clone(),
                    token: self.last_token,
                    expires,
                    heartbeat,
                    message,
                };
                self.claimed.insert(place, claim);
            }
        }
        if !claimed.deliveries.is_empty() {
            self.workers.insert(request.holder.clone(), at + request.lease);
            if let Some(tokens) = self.tokens.get_mut(&request.queue) {
                tokens.0 -= claimed.deliveries.len() as f64;
            }
        }
        claimed
    }

    /// How many messages may be claimed now, and when there is one more; `None` for any.
    fn room(&mut self, queue: &str, at: Timestamp) -> Option<(u64, Timestamp)> {
        let row = self.rows.get(queue)?;
        if row.paused {
            return Some((0, Timestamp::MAX));
        }
        let RateLimit { count, per } = row.options.rate?;
        let rate = f64::from(count) / per.as_secs_f64();
        let full = (f64::from(count), at);
        let (tokens, since) = *self.tokens.get(queue).unwrap_or(&full);
        let tokens = (tokens + at.since(since).as_secs_f64() * rate).min(f64::from(count));
        self.tokens.insert(queue.to_owned(), (tokens, at));
        let next = at + Duration::from_secs_f64(((1.0 - tokens).max(0.0) / rate).max(0.0));
        Some((tokens.floor() as u64, next))
    }

    fn hasten(&mut self, queue: &str, max: usize, at: Timestamp) {
        let of_queue = self.deferred.iter().filter(|(_, message)| message.pushed.queue == queue);
        let mut places: Vec<_> = of_queue.map(|(place, m)| (Reverse(m.priority()), *place)).collect();
        places.sort();
        for (_, place) in places.into_iter().take(max) {
            if let Some(message) = self.deferred.remove(&place) {
                self.put(message, at, at);
            }
        }
    }

    fn first_ready(&self, request: &ClaimRequest, suspects: bool) -> Option<Place> {
        let from = (request.queue.clone(), Reverse(i16::MAX), i64::MIN);
        let ready = self.ready.range(from..).take_while(|((name, ..), _)| *name == request.queue);
        let mut fit = ready.filter(|((_, priority, _), message)| {
            (suspects || message.lost < SUSPECT_AFTER)
                && request.select.priorities.contains(&priority.0)
                && message
                    .pushed
                    .group
                    .as_ref()
                    .is_none_or(|group| !request.select.but_groups.contains(&group.id))
        });
        match request.select.by_age {
            true => fit.min_by_key(|((.., seq), _)| *seq).map(|(place, _)| place.clone()),
            false => fit.next().map(|(place, _)| place.clone()),
        }
    }

    fn stats(&self, queue: &str) -> QueueStats {
        let count =
            |names: &mut dyn Iterator<Item = &str>| names.filter(|name| *name == queue).count() as u64;
        QueueStats {
            ready: count(&mut self.ready.keys().map(|place| place.0.as_str())),
            claimed: count(&mut self.claimed.keys().map(|place| place.0.as_str())),
            deferred: count(&mut self.deferred.values().map(|message| message.pushed.queue.as_str())),
            held: count(&mut self.held.keys().map(|place| place.0.as_str())),
            blocked: count(&mut self.blocked.values().map(|blocked| blocked.message.pushed.queue.as_str())),
            dead: count(&mut self.dead.iter().map(|ended| ended.message.pushed.queue.as_str())),
        }
    }

    pub(super) fn dead_letters(&self, queue: &str, query: &DeadLetterQuery, limit: usize) -> Vec<DeadLetter> {
        let mut found: Vec<_> =
            self.dead.iter().filter(|ended| ended.message.pushed.queue == queue).collect();
        found.sort_by_key(|ended| Reverse((ended.at, ended.message.seq)));
        let letter = |ended: &super::Ended| {
            Some(DeadLetter {
                message: ended.message.pushed.clone(),
                failures: ended.message.failures,
                lost: ended.message.lost,
                reason: ended.reason.clone()?,
                dead_at: ended.at,
                seq: ended.message.seq,
            })
        };
        let fits = |letter: &DeadLetter| {
            query.reason.as_ref().is_none_or(|code| letter.reason.code == *code)
                && query.before.is_none_or(|before| (letter.dead_at, letter.seq) < before)
        };
        found.into_iter().filter_map(letter).filter(fits).take(limit).collect()
    }

    fn has_ready(&self, queue: &str) -> bool {
        let paused = self.rows.get(queue).is_some_and(|row| row.paused);
        !paused && self.ready.keys().any(|(name, ..)| name == queue)
    }
}

fn delivery(
    message: &Message,
    token: i64,
    timeout: Option<Duration>,
    heartbeat: Option<Duration>,
) -> Delivery {
    let pushed = message.pushed.clone();
    let lease = MessageLease {
        queue: pushed.queue.clone(),
        priority: message.priority(),
        seq: message.seq,
        token,
        managed: message.managed,
    };
    let Message { failures, lost, delays, created_at, .. } = *message;
    let origin = message.origin.clone();
    Delivery { message: pushed, lease, failures, lost, delays, created_at, timeout, heartbeat, origin }
}

impl QueueDriver for MemoryBackend {
    fn push(&self, mut messages: Vec<NewMessage>) -> BoxFuture<'_, Result<()>> {
        self.run(move |state, at| {
            check_messages(&messages)?;
            trace::stamp(messages.iter_mut().map(|message| &mut message.headers));
            state.queue.push(messages, at).map(drop)
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

    fn touch(&self, leases: Vec<MessageLease>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        self.run(move |state, at| {
            let touch_one = |lease: &MessageLease| match state.queue.claimed.get_mut(&place_of(lease)) {
                Some(claim) if claim.token == lease.token => {
                    claim.heartbeat = claim.heartbeat.map(|(every, _)| (every, at));
                    Ok(())
                }
                _ => Err(lease.fenced()),
            };
            Ok(leases.iter().map(touch_one).collect())
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
        self.find_dead_letters(queue, DeadLetterQuery { limit, ..DeadLetterQuery::default() })
    }

    fn hint(&self, name: &str) {
        self.lock().queue.bell(name).notify_waiters();
    }

    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let bell = self.lock().queue.bell(queue);
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable(); // from here on no ring is missed
            if !self.lock().queue.has_ready(queue) {
                let _ = tokio::time::timeout(timeout, rung).await;
            }
        })
    }
}

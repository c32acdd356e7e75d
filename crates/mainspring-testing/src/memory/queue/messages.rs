//! Messages found, changed, called off, brought back.

use std::cmp::Reverse;

use mainspring_core::{
    Error, MessageId, MessageOptions, MessageQuery, MessageStatus, MessageUpdate, NewMessage, Pushed,
    Redrive, Redriven, Result, StoredMessage, Target, Timestamp, Which,
};
use serde_json::Value;

use super::{Ended, Message, Queue, end::gate, keys};

impl Queue {
    /// Every managed message of a queue, the newest first.
    pub(super) fn all(&self, queue: &str) -> Vec<StoredMessage> {
        let mut found: Vec<(i64, StoredMessage)> = Vec::new();
        let mut add = |message: &Message, status, available_at, ended: Option<&Ended>| {
            if message.pushed.queue == queue && message.managed {
                found.push((message.seq, stored(message, status, available_at, ended)));
            }
        };
        self.ready.values().for_each(|m| add(m, MessageStatus::Ready, None, None));
        self.claimed.values().for_each(|claim| add(&claim.message, MessageStatus::Claimed, None, None));
        self.deferred.iter().for_each(|((due, _), m)| add(m, MessageStatus::Deferred, Some(*due), None));
        self.held.values().for_each(|m| add(m, MessageStatus::Held, None, None));
        self.blocked.values().for_each(|blocked| add(&blocked.message, MessageStatus::Blocked, None, None));
        let ended = self.dead.iter().chain(&self.finished);
        ended.for_each(|ended| add(&ended.message, ended.status, None, Some(ended)));
        found.sort_by_key(|(seq, _)| Reverse(*seq));
        let with_parents = |(seq, mut stored): (i64, StoredMessage)| {
            stored.message.depends_on = self.parents_of(seq);
            stored
        };
        found.into_iter().map(with_parents).collect()
    }

    pub(super) fn find(&self, queue: &str, query: &MessageQuery) -> Vec<StoredMessage> {
        let fits = |stored: &StoredMessage| {
            (query.ids.is_empty() || query.ids.contains(&stored.message.id))
                && (query.statuses.is_empty() || query.statuses.contains(&stored.status))
                && query.before.is_none_or(|seq| stored.seq < seq)
                && query.key.as_ref().is_none_or(|key| stored.message.key.as_ref() == Some(key))
                && query.data.as_ref().is_none_or(|part| contains(&stored.message.data, part, true))
        };
        let limit = if query.limit == 0 { 100 } else { query.limit as usize };
        self.all(queue).into_iter().filter(fits).take(limit).collect()
    }

    /// Takes a message out of wherever it waits, or out of its worker's hands too.
    fn take(&mut self, queue: &str, id: &MessageId, claimed: bool) -> Option<(Message, Option<Timestamp>)> {
        self.take_where(claimed, |m| m.managed && m.pushed.queue == queue && m.pushed.id == *id)
    }

    /// With the time it is deferred to.
    pub(super) fn take_where(
        &mut self,
        claimed: bool,
        is: impl Fn(&Message) -> bool,
    ) -> Option<(Message, Option<Timestamp>)> {
        if let Some(place) = self.ready.iter().find(|(_, m)| is(m)).map(|(place, _)| place.clone()) {
            return self.ready.remove(&place).map(|message| (message, None));
        }
        if let Some(place) = self.held.iter().find(|(_, m)| is(m)).map(|(place, _)| place.clone()) {
            return self.held.remove(&place).map(|message| (message, None));
        }
        if let Some(place) = self.deferred.iter().find(|(_, m)| is(m)).map(|(place, _)| *place) {
            return self.deferred.remove(&place).map(|message| (message, Some(place.0)));
        }
        if let Some(seq) = self.blocked.iter().find(|(_, b)| is(&b.message)).map(|(seq, _)| *seq) {
            self.waits.retain(|(_, child), _| *child != seq);
            return self.blocked.remove(&seq).map(|blocked| (blocked.message, None));
        }
        let mut held = self.claimed.iter().filter(|(_, claim)| claimed && is(&claim.message));
        let place = held.next().map(|(place, _)| place.clone())?;
        self.claimed.remove(&place).map(|claim| (claim.message, None))
    }

    /// Ends messages as cancelled, or as done when nobody has claimed them.
    pub(super) fn end_now(
        &mut self,
        queue: &str,
        ids: &[MessageId],
        status: MessageStatus,
        output: Option<Value>,
        at: Timestamp,
    ) -> Vec<MessageId> {
        let mut ended = Vec::new();
        for id in ids {
            if let Some((mut message, _)) = self.take(queue, id, status == MessageStatus::Cancelled) {
                message.placed = false;
                self.finish(message, status, output.clone(), at);
                ended.push(id.clone());
            }
        }
        ended
    }

    /// Brings back what ended as `from`.
    pub(super) fn revive(
        &mut self,
        queue: &str,
        ids: &[MessageId],
        from: MessageStatus,
        at: Timestamp,
    ) -> Vec<MessageId> {
        let Some(options) = self.rows.get(queue).map(|row| row.options.clone()) else { return Vec::new() };
        let mut revived = Vec::new();
        for id in ids {
            let list = if from == MessageStatus::Dead { &self.dead } else { &self.finished };
            let found = list.iter().position(|ended| {
                let message = &ended.message;
                ended.status == from
                    && message.managed
                    && message.pushed.queue == queue
                    && message.pushed.id == *id
            });
            let Some(index) = found else { continue };
            if let (Some(scope), Some(ended)) = (keys::scope_of(options.policy), list.get(index)) {
                let (key, seq) = (ended.message.key().to_owned(), ended.message.seq);
                if self.free(queue, &key, scope, at).is_err() {
                    continue;
                }
                let taken = keys::Key { seq, id: id.clone(), until: None };
                self.keys.insert((queue.to_owned(), key, scope.to_owned()), taken);
            }
            let list = if from == MessageStatus::Dead { &mut self.dead } else { &mut self.finished };
            let mut message = list.remove(index).message;
            message.pushed.max_attempts = Some(message.max_attempts().max(message.failures + 1));
            message.lost = 0;
            let keep = message.pushed.options.keep_queued.unwrap_or(options.keep_queued);
            message.keep_until = Some(at + keep);
            self.arrive(message);
            revived.push(id.clone());
        }
        revived
    }

    pub(super) fn remove(&mut self, queue: &str, which: &Which, at: Timestamp) -> u64 {
        let of = |m: &Message| m.pushed.queue == queue;
        let ids = match which {
            Which::Ids(ids) => Some(ids.clone()),
            _ => None,
        };
        let picked =
            |m: &Message| of(m) && ids.as_ref().is_none_or(|ids| m.managed && ids.contains(&m.pushed.id));
        let queued = matches!(which, Which::Queued | Which::All | Which::Ids(_));
        let claimed = matches!(which, Which::All | Which::Ids(_));
        let stored = matches!(which, Which::Stored | Which::All | Which::Ids(_));
        let mut gone: Vec<Message> = Vec::new();
        if queued {
            gone.extend(self.ready.extract_if(.., |_, m| picked(m)).map(|(_, m)| m));
            gone.extend(self.deferred.extract_if(.., |_, m| picked(m)).map(|(_, m)| m));
            gone.extend(self.held.extract_if(.., |_, m| picked(m)).map(|(_, m)| m));
            gone.extend(self.blocked.extract_if(.., |_, b| picked(&b.message)).map(|(_, b)| b.message));
            self.waits.retain(|(_, child), _| gone.iter().all(|message| message.seq != *child));
        }
        if claimed {
            gone.extend(self.claimed.extract_if(.., |_, c| picked(&c.message)).map(|(_, c)| c.message));
        }
        if stored {
            gone.extend(self.dead.extract_if(.., |ended| picked(&ended.message)).map(|ended| ended.message));
            gone.extend(
                self.finished.extract_if(.., |ended| picked(&ended.message)).map(|ended| ended.message),
            );
        }
        for message in &gone {
            self.forget(message, true);
            self.resolve(message.seq, true, at);
            self.free_gate(gate(message));
        }
        gone.len() as u64
    }

    pub(super) fn change_messages(
        &mut self,
        queue: &str,
        target: &Target,
        update: &MessageUpdate,
        at: Timestamp,
    ) -> u64 {
        let of_key = |key: &str| self.next_place_of_key(queue, key).into_iter().map(|(_, id)| id);
        let ids: Vec<MessageId> = match target {
            Target::Id(id) => vec![id.clone()],
            Target::Newest(key) => of_key(key).take(1).collect(),
            Target::Oldest(key) => of_key(key).next_back().into_iter().collect(),
            Target::Key(key) => of_key(key).collect(),
        };
        let Some(options) = self.rows.get(queue).map(|row| row.options.clone()) else { return 0 };
        let mut changed = 0;
        for id in ids {
            if let Some(blocked) = self
                .blocked
                .values_mut()
                .find(|b| b.message.pushed.id == id && b.message.pushed.queue == queue)
            {
                apply(&mut blocked.message.pushed, update);
                if let Some(available) = update.available {
                    blocked.due = super::place::due(available, Some(&options), at);
                }
                changed += 1;
                continue;
            }
            let was_ready = self.ready.values().any(|m| m.pushed.id == id && m.pushed.queue == queue);
            let Some((mut message, due)) = self.take(queue, &id, false) else { continue };
            changed += 1;
            let was = gate(&message);
            apply(&mut message.pushed, update);
            let due = match update.available {
                Some(available) => {
                    let due = super::place::due(available, Some(&options), at);
                    let keep = message.pushed.options.keep_queued.unwrap_or(options.keep_queued);
                    message.keep_until = Some(due.max(at) + keep);
                    due
                }
                None => due.unwrap_or(at),
            };
            // One that was admitted keeps its place, unless it is put off; with the strict policy even then.
            let strict = options.policy == mainspring_core::Policy::KeyStrictFifo;
            message.placed |= was_ready && message.gate.is_some() && (due <= at || strict);
            self.put(message, due, at);
            self.free_gate(was);
        }
        changed
    }

    pub(super) fn upsert(&mut self, message: NewMessage, at: Timestamp) -> Result<Pushed> {
        message.check()?;
        self.row(&message.queue)?;
        self.check_push(&message)?;
        let Some(key) = message.key.clone() else {
            return Err(Error::invalid("message.key", "an upsert needs one"));
        };
        if !message.depends_on.is_empty() {
            return Err(Error::invalid("message.depends_on", "an upsert waits for nothing"));
        }
        let queue = message.queue.clone();
        let oldest = self.next_place_of_key(&queue, &key).last().map(|(_, id)| id.clone());
        let Some(id) = oldest else { return Ok(self.place(message, None, at)) };
        let update = MessageUpdate {
            data: Some(message.data),
            headers: Some(message.headers),
            priority: message.priority,
            available: (message.available != mainspring_core::Available::Default)
                .then_some(message.available),
            max_attempts: message.max_attempts,
            options: MessageOptions { unique: None, ..message.options },
        };
        self.change_messages(&queue, &Target::Id(id.clone()), &update, at);
        Ok(Pushed { duplicate: id != message.id, id })
    }

    pub(super) fn redrive(&mut self, queue: &str, redrive: &Redrive, at: Timestamp) -> Result<Redriven> {
        let limit = redrive.limit()?;
        self.row(queue)?;
        let waiting = self.ready.values().chain(self.deferred.values());
        let mut candidates: Vec<Message> = waiting
            .filter(|m| m.pushed.queue == queue)
            .filter(|m| {
                m.origin.as_ref().is_some_and(|o| redrive.from.as_ref().is_none_or(|from| o.queue == *from))
            })
            .cloned()
            .collect();
        candidates.sort_by_key(|message| message.seq);
        let mut done = Redriven::default();
        for message in candidates.into_iter().take(limit as usize) {
            let Some(origin) = message.origin.clone() else { continue };
            let target = redrive.to.clone().unwrap_or(origin.queue);
            let fresh = NewMessage {
                id: MessageId::generate(),
                queue: target.clone(),
                max_attempts: None,
                options: origin.options,
                ..message.pushed.clone()
            };
            let fits = self.rows.contains_key(&target) && self.check_push(&fresh).is_ok();
            if fits && !self.place(fresh, None, at).duplicate {
                self.remove(queue, &Which::Ids(vec![message.pushed.id.clone()]), at);
                done.moved += 1;
            } else {
                done.skipped += 1;
            }
        }
        Ok(done)
    }

    pub(super) fn sweep(&mut self, at: Timestamp) -> u64 {
        let over =
            |ended: &mut Ended| !ended.message.placed && ended.keep_until.is_some_and(|until| until <= at);
        let mut gone = self.dead.extract_if(.., over).count() as u64;
        gone += self.finished.extract_if(.., over).count() as u64;
        self.keys.retain(|_, key| key.until.is_none_or(|until| until > at));
        self.receipts.retain(|_, until| *until > at);
        let rows = &self.rows;
        let too_old = |m: &Message| {
            let keep = rows.get(&m.pushed.queue).filter(|_| m.managed).map(|row| row.options.keep_queued);
            keep.is_some_and(|keep| m.keep_until.unwrap_or_else(|| super::later(m.created_at, keep)) <= at)
        };
        let mut old: Vec<Message> = self.ready.extract_if(.., |_, m| too_old(m)).map(|(_, m)| m).collect();
        old.extend(self.held.extract_if(.., |_, m| too_old(m)).map(|(_, m)| m));
        let stuck =
            |_: &i64, b: &mut super::parents::Blocked| b.message.keep_until.is_some_and(|until| until <= at);
        old.extend(self.blocked.extract_if(.., stuck).map(|(_, b)| b.message));
        self.waits.retain(|(_, child), _| old.iter().all(|message| message.seq != *child));
        for message in &old {
            self.resolve(message.seq, true, at);
            self.forget(message, true);
            self.free_gate(gate(message));
        }
        gone + old.len() as u64
    }

    /// Nothing is counted here, so only the limits themselves can be off.
    pub(super) fn problems(&self) -> Vec<String> {
        let keyed = self.ready.values().chain(self.claimed.values().map(|claim| &claim.message));
        let keyed = keyed.filter(|m| m.gate.as_deref().is_some_and(|gate| gate.starts_with('k')));
        let over = keyed.filter_map(gate).filter(|(queue, gate)| self.admitted(queue, gate) > 1);
        over.map(|(queue, gate)| format!("gate `{gate}` of queue `{queue}` has admitted more than one"))
            .collect()
    }
}

fn apply(message: &mut NewMessage, update: &MessageUpdate) {
    if let Some(data) = &update.data {
        message.data = data.clone();
    }
    if let Some(headers) = &update.headers {
        message.headers = headers.clone();
    }
    message.priority = update.priority.or(message.priority);
    message.max_attempts = update.max_attempts.or(message.max_attempts);
    let (own, new) = (&mut message.options, &update.options);
    own.retry = new.retry.or(own.retry);
    own.timeout = new.timeout.or(own.timeout);
    own.heartbeat = new.heartbeat.or(own.heartbeat);
    own.keep_queued = new.keep_queued.or(own.keep_queued);
    own.keep_finished = new.keep_finished.or(own.keep_finished);
    own.dead_letter = new.dead_letter.clone().or(own.dead_letter.take());
    own.parent_failure = new.parent_failure.or(own.parent_failure);
}

fn stored(
    message: &Message,
    status: MessageStatus,
    available_at: Option<Timestamp>,
    ended: Option<&Ended>,
) -> StoredMessage {
    StoredMessage {
        message: message.pushed.clone(),
        status,
        seq: message.seq,
        failures: message.failures,
        lost: message.lost,
        delays: message.delays,
        created_at: message.created_at,
        available_at,
        finished_at: ended.map(|ended| ended.at),
        output: ended.and_then(|ended| ended.output.clone()),
        reason: ended.and_then(|ended| ended.reason.clone()),
        origin: message.origin.clone(),
    }
}

/// As `jsonb @>`: objects by their keys, arrays as sets; a scalar is in an array only at the top.
fn contains(whole: &Value, part: &Value, top: bool) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|w| contains(w, value, false)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|value| whole.iter().any(|w| contains(w, value, false)))
        }
        (Value::Array(whole), scalar) if top && !scalar.is_object() => whole.contains(scalar),
        (whole, part) => whole == part,
    }
}

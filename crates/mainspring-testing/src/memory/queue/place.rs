//! Pushing: what the queue says is filled in, duplicates are left out, and who has no room is held back.

use std::{cmp::Reverse, collections::HashMap};

use mainspring_core::{
    Available, Error, Group, MessageId, MessageRef, NewMessage, Origin, Policy, Pushed, QueueOptions, Result,
    Timestamp,
};

use super::{Message, Queue};

impl Queue {
    /// Pushes all or none; what became of each.
    pub(crate) fn push(&mut self, messages: Vec<NewMessage>, at: Timestamp) -> Result<Vec<Pushed>> {
        messages.iter().try_for_each(|message| self.check_push(message))?;
        self.check_parents(&messages)?;
        let (mut all, mut children, mut stand_ins) = (Vec::new(), Vec::new(), HashMap::new());
        for mut message in messages {
            let (name, parents) = (MessageRef::from(&message), std::mem::take(&mut message.depends_on));
            let pushed = self.place(message, None, at);
            if pushed.duplicate {
                stand_ins.insert(name, pushed.id.clone());
            } else if !parents.is_empty() {
                children.push((self.last_seq, parents));
            }
            all.push(pushed);
        }
        self.block(children, &stand_ins, at);
        Ok(all)
    }

    /// What only the queue knows about a message that was checked by itself.
    pub(crate) fn check_push(&self, message: &NewMessage) -> Result<()> {
        match self.rows.get(&message.queue) {
            None if message.is_special() => Err(Error::invalid(
                "message.queue",
                format!(
                    "a key, a group or options need a queue that was created, and `{}` was not",
                    message.queue
                ),
            )),
            Some(row) if row.options.policy == Policy::KeyStrictFifo && message.key.is_none() => {
                Err(Error::invalid(
                    "message.key",
                    format!("the policy of the queue `{}` needs one", message.queue),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Stores a checked message, or says of which one it is a duplicate.
    pub(super) fn place(&mut self, mut pushed: NewMessage, origin: Option<Origin>, at: Timestamp) -> Pushed {
        if let Some(name) = pushed.options.dead_letter.clone() {
            self.ensure(&name, at);
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        let options = self.rows.get(&pushed.queue).map(|row| row.options.clone());
        let mut due = due(pushed.available, options.as_ref(), at);
        if let Some(options) = &options {
            match self.take_keys(&pushed, seq, options.policy, at) {
                Ok(None) => {}
                Ok(Some(shifted)) => due = due.max(shifted),
                Err(there) => return Pushed { id: there, duplicate: true },
            }
            pushed.priority.get_or_insert(options.priority);
            pushed.max_attempts.get_or_insert(options.max_attempts);
        }
        pushed.priority.get_or_insert(mainspring_core::message::DEFAULT_PRIORITY);
        pushed.max_attempts.get_or_insert(mainspring_core::message::DEFAULT_MAX_ATTEMPTS);
        pushed.available = Available::Default;
        let keep = pushed.options.keep_queued;
        let own_time = options.as_ref().filter(|_| due > at || keep.is_some());
        let keep_until = own_time.map(|options| due.max(at) + keep.unwrap_or(options.keep_queued));
        pushed.options.unique = None;
        let id = pushed.id.clone();
        let message = Message {
            seq,
            failures: 0,
            lost: 0,
            delays: 0,
            created_at: at,
            gate: options.as_ref().and_then(|options| gate_of(options, &pushed)),
            placed: false,
            keep_until,
            managed: options.is_some(),
            origin,
            pushed,
        };
        self.put(message, due, at);
        Pushed { id, duplicate: false }
    }

    /// A due message: ready, or held until its gate has room.
    pub(in crate::memory) fn arrive(&mut self, mut message: Message) {
        let queue = message.pushed.queue.clone();
        if message.gate.is_none() || std::mem::take(&mut message.placed) {
            self.bell(&queue).notify_waiters();
            self.ready.insert(message.place(), message);
            return;
        }
        let gate = message.gate.clone().unwrap_or_default();
        self.held.insert(message.place(), message);
        self.open(&queue, &gate);
    }

    /// Admits what waits at a gate, as far as there is room.
    pub(super) fn open(&mut self, queue: &str, gate: &str) {
        loop {
            let admitted = self.admitted(queue, gate);
            let waiting = self.held.iter().filter(|(_, message)| {
                message.pushed.queue == queue && message.gate.as_deref() == Some(gate)
            });
            let next = waiting
                .map(|(place, message)| (place.clone(), self.limit(queue, message)))
                .find(|(_, limit)| admitted < *limit as usize);
            let Some(message) = next.and_then(|(place, _)| self.held.remove(&place)) else { return };
            self.bell(queue).notify_waiters();
            self.ready.insert(message.place(), message);
        }
    }

    /// How many of a gate are ready, claimed, or keep their place.
    pub(super) fn admitted(&self, queue: &str, gate: &str) -> usize {
        let of = |message: &Message| message.pushed.queue == queue && message.gate.as_deref() == Some(gate);
        self.ready.values().filter(|m| of(m)).count()
            + self.claimed.values().filter(|claim| of(&claim.message)).count()
            + self.deferred.values().filter(|m| of(m) && m.placed).count()
            + self.dead.iter().filter(|ended| of(&ended.message) && ended.message.placed).count()
    }

    fn limit(&self, queue: &str, message: &Message) -> u32 {
        match (message.gate.as_deref(), self.rows.get(queue).map(|row| &row.options)) {
            (Some(gate), _) if gate.starts_with('k') => 1,
            (_, Some(QueueOptions { groups: Some(groups), .. })) => {
                let none = Group::new("");
                groups.of(message.pushed.group.as_ref().unwrap_or(&none))
            }
            _ => u32::MAX,
        }
    }

    pub(super) fn next_place_of_key(&self, queue: &str, key: &str) -> Vec<(Reverse<i64>, MessageId)> {
        let waiting = self.waiting();
        let of_key = waiting.filter(|m| m.pushed.queue == queue && m.pushed.key.as_deref() == Some(key));
        let mut found: Vec<_> = of_key.map(|m| (Reverse(m.seq), m.pushed.id.clone())).collect();
        found.sort();
        found
    }
}

pub(super) fn due(available: Available, options: Option<&QueueOptions>, at: Timestamp) -> Timestamp {
    match available {
        Available::Default => at + options.map(|options| options.delay).unwrap_or_default(),
        Available::Now => at,
        Available::After(delay) => at + delay,
        Available::At(time) => time,
    }
}

fn gate_of(options: &QueueOptions, message: &NewMessage) -> Option<String> {
    if options.policy.limits_work() {
        return Some(format!("k{}", message.key.as_deref().unwrap_or_default()));
    }
    let group = message.group.as_ref().filter(|_| options.groups.is_some())?;
    Some(format!("g{}", group.id))
}

//! What a message is the only one of.

use std::time::Duration;

use mainspring_core::{MessageId, NewMessage, Policy, Timestamp, Unique};

use super::Queue;

#[derive(Clone)]
pub(super) struct Key {
    pub(super) seq: i64,
    pub(super) id: MessageId,
    pub(super) until: Option<Timestamp>,
}

pub(super) const QUEUED: &str = "queued";
pub(super) const UNFINISHED: &str = "unfinished";
pub(super) const RETRY: &str = "retry";

pub(super) fn scope_of(policy: Policy) -> Option<&'static str> {
    match policy {
        Policy::Short | Policy::Stately => Some(QUEUED),
        Policy::Exclusive => Some(UNFINISHED),
        Policy::Standard | Policy::Singleton | Policy::KeyStrictFifo => None,
    }
}

impl Queue {
    /// Takes the keys of a new message; the time it was put off to, or the id of the message it is a duplicate of.
    pub(super) fn take_keys(
        &mut self,
        message: &NewMessage,
        seq: i64,
        policy: Policy,
        at: Timestamp,
    ) -> Result<Option<Timestamp>, MessageId> {
        let key = message.key.clone().unwrap_or_default();
        let queue = &message.queue;
        let mut wanted: Vec<(String, Option<Timestamp>)> = Vec::new();
        let mut shifted = None;
        if let Some(scope) = scope_of(policy) {
            self.free(queue, &key, scope, at)?;
            wanted.push((scope.to_owned(), None));
        }
        match message.options.unique {
            None => {}
            Some(Unique::Unfinished) => {
                self.free(queue, &key, UNFINISHED, at)?;
                wanted.push((UNFINISHED.to_owned(), None));
            }
            Some(Unique::For(time)) => {
                self.free(queue, &key, "for", at)?;
                wanted.push(("for".to_owned(), Some(at + time)));
            }
            Some(Unique::Throttle(slot)) => {
                let (scope, _, end) = slot_at(slot, at, 0);
                self.free(queue, &key, &scope, at)?;
                wanted.push((scope, Some(end)));
            }
            Some(Unique::Debounce(slot)) => {
                let (mut scope, _, mut end) = slot_at(slot, at, 0);
                if self.free(queue, &key, &scope, at).is_err() {
                    let start;
                    (scope, start, end) = slot_at(slot, at, 1);
                    self.free(queue, &key, &scope, at)?;
                    shifted = Some(start);
                }
                wanted.push((scope, Some(end)));
            }
        }
        for (scope, until) in wanted {
            let taken = Key { seq, id: message.id.clone(), until };
            self.keys.insert((queue.clone(), key.clone(), scope), taken);
        }
        Ok(shifted)
    }

    /// Whether nobody has this key.
    pub(super) fn free(&self, queue: &str, key: &str, scope: &str, at: Timestamp) -> Result<(), MessageId> {
        let name = (queue.to_owned(), key.to_owned(), scope.to_owned());
        match self.keys.get(&name) {
            Some(holder) if self.counts(holder, scope, at) => Err(holder.id.clone()),
            _ => Ok(()),
        }
    }

    fn counts(&self, key: &Key, scope: &str, at: Timestamp) -> bool {
        if let Some(until) = key.until {
            return until > at;
        }
        let waiting = self.waiting().find(|message| message.seq == key.seq);
        match scope {
            QUEUED => waiting.is_some_and(super::Message::is_new),
            RETRY => waiting.is_some_and(|message| message.failures > 0),
            _ => waiting.is_some() || self.claimed.values().any(|claim| claim.message.seq == key.seq),
        }
    }
}

/// A slot: its name, when it begins and when it ends.
fn slot_at(length: Duration, at: Timestamp, next: i64) -> (String, Timestamp, Timestamp) {
    let length = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    let number = at.as_micros() / length + next;
    let time = |number: i64| Timestamp::from_micros(number.saturating_mul(length));
    (format!("slot {length} {number}"), time(number), time(number + 1))
}

//! Settling: where a message goes from its claim.

use mainspring_core::{
    Available, Failure, MessageId, MessageStatus, NewMessage, Origin, Policy, QueueOptions, Result, Retry,
    Settle, Settlement, Timestamp, trace,
};
use serde_json::Value;

use super::{Ended, Message, Queue, driver::place_of, keys};

impl Queue {
    /// Whether the lease behind a settlement still holds.
    pub(crate) fn check(&self, settle: &Settle) -> Result<()> {
        settle.check()?;
        match self.claimed.get(&place_of(&settle.lease)) {
            Some(claim) if claim.token == settle.lease.token => Ok(()),
            _ => Err(settle.fenced()),
        }
    }

    /// Applies a checked settlement.
    pub(crate) fn settle(&mut self, settle: Settle, at: Timestamp) {
        if let Some(mut claim) = self.claimed.remove(&place_of(&settle.lease)) {
            if let Some(tried) = settle.mark() {
                claim.message.pushed.headers.insert(trace::TRIED.to_owned(), tried.to_string().into());
            }
            self.end(claim.message, settle.settlement, at);
        }
    }

    /// What becomes of a message that was taken out of the claimed ones.
    pub(super) fn end(&mut self, message: Message, settlement: Settlement, at: Timestamp) {
        match settlement {
            Settlement::Done => self.finish(message, MessageStatus::Done, None, at),
            Settlement::DoneWith(output) => self.finish(message, MessageStatus::Done, Some(output), at),
            Settlement::Retry { error } => {
                let delay = self.retry_of(&message).delay_after(message.failures);
                self.fail(message, delay, error, at);
            }
            Settlement::RetryAfter { delay, error } => self.fail(message, delay, error, at),
            Settlement::SnoozeUntil(due) => {
                let (failures, lost, delays) = (0, 0, message.delays + 1);
                self.defer(Message { failures, lost, delays, ..message }, due, at);
            }
            Settlement::DeadLetter(reason) => self.bury(message, reason, at),
            Settlement::PutBack => self.give_back(message),
        }
    }

    fn options(&self, message: &Message) -> Option<&QueueOptions> {
        self.rows.get(&message.pushed.queue).map(|row| &row.options).filter(|_| message.managed)
    }

    fn retry_of(&self, message: &Message) -> Retry {
        let queues = self.options(message).map(|options| options.retry);
        message.pushed.options.retry.or(queues).unwrap_or_default()
    }

    fn is_fifo(&self, message: &Message) -> bool {
        message.gate.is_some() && self.options(message).is_some_and(|o| o.policy == Policy::KeyStrictFifo)
    }

    fn fail(&mut self, mut message: Message, delay: std::time::Duration, error: Failure, at: Timestamp) {
        message.failures += 1;
        if message.failures >= message.max_attempts() {
            return self.bury(message, error, at);
        }
        if self.options(&message).is_some_and(|options| options.policy == Policy::Stately) {
            let (queue, key) = (message.pushed.queue.clone(), message.key().to_owned());
            if self.free(&queue, &key, keys::RETRY, at).is_err() {
                return self.bury(message, error, at);
            }
            let taken = keys::Key { seq: message.seq, id: message.pushed.id.clone(), until: None };
            self.keys.insert((queue, key, keys::RETRY.to_owned()), taken);
        }
        self.defer(message, at + delay, at);
    }

    fn defer(&mut self, mut message: Message, due: Timestamp, at: Timestamp) {
        if let Some(options) = self.options(&message) {
            let keep = message.pushed.options.keep_queued.unwrap_or(options.keep_queued);
            message.keep_until = Some(due.max(at) + keep);
        }
        message.placed = self.is_fifo(&message);
        let freed = (!message.placed).then(|| gate(&message)).flatten();
        // Postgres makes it ready again when somebody looks, so it lets others of its gate go first here too.
        self.deferred.insert((due, message.seq), message);
        self.free_gate(freed);
    }

    /// Ends it as done or cancelled, and keeps it as long as it should be.
    pub(super) fn finish(
        &mut self,
        message: Message,
        status: MessageStatus,
        output: Option<Value>,
        at: Timestamp,
    ) {
        let (freed, seq) = (gate(&message), message.seq);
        self.forget(&message, status == MessageStatus::Cancelled);
        if let Some(keep) = self.keep(&message).filter(|keep| !keep.is_zero()) {
            let keep_until = Some(at + keep);
            self.finished.push(Ended { message, status, at, keep_until, output, reason: None });
        }
        self.resolve(seq, status != MessageStatus::Done, at);
        self.free_gate(freed);
    }

    fn keep(&self, message: &Message) -> Option<std::time::Duration> {
        let options = self.options(message)?;
        Some(message.pushed.options.keep_finished.unwrap_or(options.keep_finished))
    }

    fn bury(&mut self, mut message: Message, reason: Failure, at: Timestamp) {
        message.placed = self.is_fifo(&message);
        self.give_up(message, reason, at);
    }

    /// [`Self::bury`] for one that may never have had a place.
    pub(super) fn give_up(&mut self, message: Message, reason: Failure, at: Timestamp) {
        let freed = (!message.placed).then(|| gate(&message)).flatten();
        let seq = message.seq;
        self.forget(&message, false);
        let keep = self.keep(&message).filter(|keep| !keep.is_zero());
        let queues = self.options(&message).and_then(|options| options.dead_letter.clone());
        let target = message.pushed.options.dead_letter.clone().filter(|_| message.managed).or(queues);
        let mut gone = false;
        if let Some(target) = target.filter(|name| self.rows.contains_key(name)) {
            let copied = self.copy_to(&target, &message, &reason, at);
            gone = copied && keep.is_none() && message.managed && !message.placed;
        }
        if !gone {
            let keep_until = keep.map(|keep| at + keep);
            let (status, reason) = (MessageStatus::Dead, Some(reason));
            self.dead.push(Ended { message, status, at, keep_until, output: None, reason });
        }
        self.resolve(seq, true, at);
        self.free_gate(freed);
    }

    /// Whether the copy was stored.
    fn copy_to(&mut self, target: &str, message: &Message, reason: &Failure, at: Timestamp) -> bool {
        let origin = Origin {
            queue: message.pushed.queue.clone(),
            id: message.pushed.id.clone(),
            failures: message.failures,
            lost: message.lost,
            reason: reason.clone(),
            created_us: message.created_at.as_micros(),
            options: message.pushed.options.clone(),
        };
        let copy = NewMessage {
            id: MessageId::generate(),
            queue: target.to_owned(),
            max_attempts: None,
            available: Available::Default,
            options: mainspring_core::MessageOptions::default(),
            ..message.pushed.clone()
        };
        self.check_push(&copy).is_ok() && !self.place(copy, Some(origin), at).duplicate
    }

    /// Gives up the keys of a message that ends. One that never counts (cancelled, deleted) frees its slots too.
    pub(super) fn forget(&mut self, message: &Message, void: bool) {
        let (queue, key, seq) = (&message.pushed.queue, message.key(), message.seq);
        self.keys.retain(|(of, name, scope), holder| {
            let timed = holder.until.is_some();
            of != queue
                || name != key
                || holder.seq != seq
                || (timed && !(void && scope.starts_with("slot ")))
        });
    }

    pub(super) fn free_gate(&mut self, freed: Option<(String, String)>) {
        if let Some((queue, gate)) = freed {
            self.open(&queue, &gate);
        }
    }
}

pub(super) fn gate(message: &Message) -> Option<(String, String)> {
    message.gate.clone().map(|gate| (message.pushed.queue.clone(), gate))
}

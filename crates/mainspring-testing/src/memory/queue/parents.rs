//! Messages that wait for others.

use std::collections::HashMap;

use mainspring_core::{
    Error, Failure, MessageId, MessageRef, MessageStatus, NewMessage, ParentFailure, Result, Timestamp,
};

use super::{Message, Queue, end::gate};

/// A message that waits for others.
pub(super) struct Blocked {
    pub(super) message: Message,
    /// Not before this even when nothing is left to wait for.
    pub(super) due: Timestamp,
}

/// Number of a message, and what it waits for.
pub(super) type Child = (i64, Vec<MessageRef>);

impl Queue {
    /// Whether everything the messages of one push wait for is there, or in the same push.
    pub(in crate::memory) fn check_parents(&self, messages: &[NewMessage]) -> Result<()> {
        for parent in messages.iter().flat_map(|message| &message.depends_on) {
            let with_it = messages.iter().any(|message| MessageRef::from(message) == *parent);
            if with_it && !self.rows.contains_key(&parent.queue) {
                let problem = format!(
                    "what is waited for needs a queue that was created, and `{}` was not",
                    parent.queue
                );
                return Err(Error::invalid("message.queue", problem));
            }
            if !with_it && self.locate(parent, None).is_none() {
                let problem = format!("there is no message `{}` in the queue `{}`", parent.id, parent.queue);
                return Err(Error::invalid("message.depends_on", problem));
            }
        }
        Ok(())
    }

    /// Takes those that wait for others out of where they were just placed. What was left out as a duplicate stands for the
    /// message that is there; when that is gone it has ended.
    pub(super) fn block(
        &mut self,
        children: Vec<Child>,
        stand_ins: &HashMap<MessageRef, MessageId>,
        at: Timestamp,
    ) {
        for (seq, _) in &children {
            let Some((message, due)) = self.take_where(false, |message| message.seq == *seq) else {
                continue;
            };
            let freed = gate(&message);
            self.blocked.insert(*seq, Blocked { message, due: due.unwrap_or(at) });
            self.free_gate(freed);
        }
        let mut over = Vec::new();
        for (seq, parents) in &children {
            for parent in parents {
                let id = stand_ins.get(parent).unwrap_or(&parent.id).clone();
                let parent = MessageRef { id, ..parent.clone() };
                let Some((of, status)) = self.locate(&parent, Some(*seq)) else { continue };
                self.waits.insert((of, *seq), parent);
                if status.is_stored() {
                    over.push((of, status != MessageStatus::Done));
                }
            }
        }
        for (parent, failed) in over {
            self.resolve(parent, failed, at);
        }
        for (seq, _) in children {
            self.unblock_when_free(seq, at);
        }
    }

    /// Tells those that wait for a message that has ended what became of it.
    pub(super) fn resolve(&mut self, parent: i64, failed: bool, at: Timestamp) {
        let children: Vec<i64> =
            self.waits.range((parent, i64::MIN)..=(parent, i64::MAX)).map(|((_, c), _)| *c).collect();
        for child in children {
            let Some(blocked) = self.blocked.get_mut(&child) else { continue };
            let message = &mut blocked.message;
            let options = self.rows.get(&message.pushed.queue).map(|row| &row.options);
            let verdict =
                message.pushed.options.parent_failure.or(options.map(|options| options.parent_failure));
            match verdict.unwrap_or_default() {
                ParentFailure::Wait if failed => {
                    let keep =
                        message.pushed.options.keep_queued.or(options.map(|options| options.keep_queued));
                    let until = at + keep.unwrap_or_default();
                    message.keep_until.get_or_insert(until);
                }
                ParentFailure::Fail if failed => self.fail_child(parent, child, at),
                _ => {
                    self.waits.remove(&(parent, child));
                    self.unblock_when_free(child, at);
                }
            }
        }
    }

    fn fail_child(&mut self, parent: i64, child: i64, at: Timestamp) {
        let Some(Blocked { message, .. }) = self.blocked.remove(&child) else { return };
        let problem = match self.waits.get(&(parent, child)) {
            Some(parent) => {
                format!(
                    "message `{}` of queue `{}`, which it waited for, has failed",
                    parent.id, parent.queue
                )
            }
            None => String::new(),
        };
        self.waits.retain(|(_, of), _| *of != child);
        self.give_up(message, Failure::new("PARENT_FAILED", problem), at);
    }

    fn unblock_when_free(&mut self, seq: i64, at: Timestamp) {
        if self.waits.keys().any(|(_, child)| *child == seq) {
            return;
        }
        let Some(Blocked { mut message, due }) = self.blocked.remove(&seq) else { return };
        let queues = self.rows.get(&message.pushed.queue).map(|row| row.options.keep_queued);
        message.keep_until = message.pushed.options.keep_queued.or(queues).map(|keep| due.max(at) + keep);
        self.put(message, due, at);
    }

    /// The newest message of this name, but this one.
    fn locate(&self, name: &MessageRef, but: Option<i64>) -> Option<(i64, MessageStatus)> {
        let is = |message: &&Message| {
            let pushed = &message.pushed;
            message.managed && pushed.queue == name.queue && pushed.id == name.id && but != Some(message.seq)
        };
        let claimed = self.claimed.values().map(|claim| &claim.message);
        let blocked = self.blocked.values().map(|blocked| &blocked.message);
        let unfinished = self
            .ready
            .values()
            .chain(self.deferred.values())
            .chain(self.held.values())
            .chain(claimed)
            .chain(blocked);
        let unfinished = unfinished.filter(is).map(|message| (message.seq, MessageStatus::Ready));
        let ended = self.finished.iter().chain(&self.dead).filter(|ended| is(&&ended.message));
        unfinished.chain(ended.map(|ended| (ended.message.seq, ended.status))).max_by_key(|(seq, _)| *seq)
    }

    /// What a blocked message still waits for, in the order of the pushes.
    pub(super) fn parents_of(&self, seq: i64) -> Vec<MessageRef> {
        self.waits.iter().filter(|((_, child), _)| *child == seq).map(|(_, parent)| parent.clone()).collect()
    }
}

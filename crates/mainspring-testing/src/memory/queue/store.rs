//! Queues that were created, and their messages seen from outside.

use mainspring_core::{
    BlockedKey, BoxFuture, DeadLetter, DeadLetterQuery, Error, MessageId, MessageQuery, MessageStatus,
    MessageUpdate, NewMessage, Policy, Pushed, Queue as QueueRow, QueueCreated, QueueFilter, QueueOptions,
    QueueStore, Redrive, Redriven, Result, StoredMessage, Target, Timestamp, Which, execution::page_size,
    limits, queue::check_messages, trace,
};
use serde_json::Value;

use super::Queue;
use crate::MemoryBackend;

impl Queue {
    /// Creates a queue with the defaults when it does not exist.
    pub(super) fn ensure(&mut self, name: &str, at: Timestamp) {
        let row = || QueueRow {
            name: name.to_owned(),
            options: QueueOptions::default(),
            paused: false,
            created_at: at,
            updated_at: at,
        };
        self.rows.entry(name.to_owned()).or_insert_with(row);
    }

    pub(super) fn row(&mut self, name: &str) -> Result<&mut QueueRow> {
        self.rows.get_mut(name).ok_or_else(|| Error::not_found("queue", name))
    }

    fn create(&mut self, name: &str, options: QueueOptions, at: Timestamp) -> Result<QueueCreated> {
        limits::check_name("queue.name", name)?;
        options.check(name)?;
        let created = !self.rows.contains_key(name);
        if created {
            self.ensure(name, at);
            self.change(name, options.clone(), at)?;
        }
        let queue = self.row(name)?.clone();
        let differences = queue.options.differences(&options);
        Ok(QueueCreated { queue, created, differences })
    }

    fn update(&mut self, name: &str, options: QueueOptions, at: Timestamp) -> Result<QueueRow> {
        options.check(name)?;
        let row = self.row(name)?;
        if row.options.policy != options.policy {
            let policy = row.options.policy.as_str();
            return Err(Error::invalid("queue.policy", format!("is {policy} and cannot change")));
        }
        self.change(name, options, at)
    }

    fn change(&mut self, name: &str, options: QueueOptions, at: Timestamp) -> Result<QueueRow> {
        if let Some(dead_letter) = &options.dead_letter {
            self.ensure(dead_letter, at);
        }
        self.tokens.remove(name);
        let row = self.row(name)?;
        row.options = options;
        row.updated_at = at;
        let row = row.clone();
        for gate in self.gates(name) {
            self.open(name, &gate);
        }
        Ok(row)
    }

    fn delete(&mut self, name: &str, at: Timestamp) -> Result<()> {
        self.row(name)?;
        let counts = self.count_where(|status| !status.is_stored(), name);
        if counts > 0 {
            return Err(Error::conflict(format!("queue `{name}` has {counts} messages that have not ended")));
        }
        let user = self.rows.values().find(|row| row.options.dead_letter.as_deref() == Some(name));
        if let Some(user) = user {
            return Err(Error::conflict(format!("queue `{}` sends its dead letters to `{name}`", user.name)));
        }
        self.remove(name, &Which::All, at);
        self.rows.remove(name);
        self.tokens.remove(name);
        self.forget_receipts(name);
        Ok(())
    }

    fn recreate(&mut self, name: &str, options: QueueOptions, at: Timestamp) -> Result<QueueRow> {
        options.check(name)?;
        self.row(name)?;
        self.remove(name, &Which::All, at);
        self.forget_receipts(name);
        self.change(name, options, at)
    }

    fn blocked(&mut self, name: &str) -> Result<Vec<BlockedKey>> {
        if self.row(name)?.options.policy != Policy::KeyStrictFifo {
            return Err(Error::invalid("queue.policy", "only key_strict_fifo blocks keys"));
        }
        let blocking =
            self.dead.iter().filter(|ended| ended.message.placed && ended.message.pushed.queue == name);
        let waits = |key: &str| {
            self.held.values().filter(|m| m.pushed.queue == name && m.key() == key).count() as u64
        };
        let mut blocked: Vec<_> = blocking
            .map(|ended| BlockedKey {
                key: ended.message.key().to_owned(),
                by: ended.message.pushed.id.clone(),
                since: ended.at,
                waiting: waits(ended.message.key()),
            })
            .collect();
        blocked.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(blocked)
    }

    fn count_where(&self, wanted: impl Fn(MessageStatus) -> bool, name: &str) -> usize {
        self.all(name).into_iter().filter(|stored| wanted(stored.status)).count()
    }
}

impl QueueStore for MemoryBackend {
    fn create_queue<'a>(
        &'a self,
        name: &'a str,
        options: QueueOptions,
    ) -> BoxFuture<'a, Result<QueueCreated>> {
        self.run(move |state, at| state.queue.create(name, options, at))
    }

    fn update_queue<'a>(&'a self, name: &'a str, options: QueueOptions) -> BoxFuture<'a, Result<QueueRow>> {
        self.run(move |state, at| state.queue.update(name, options, at))
    }

    fn recreate_queue<'a>(&'a self, name: &'a str, options: QueueOptions) -> BoxFuture<'a, Result<QueueRow>> {
        self.run(move |state, at| state.queue.recreate(name, options, at))
    }

    fn delete_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.run(move |state, at| state.queue.delete(name, at))
    }

    fn pause_queue<'a>(&'a self, name: &'a str, paused: bool) -> BoxFuture<'a, Result<QueueRow>> {
        self.run(move |state, _| {
            let row = state.queue.row(name)?;
            row.paused = paused;
            let row = row.clone();
            state.queue.bell(name).notify_waiters();
            Ok(row)
        })
    }

    fn get_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<QueueRow>>> {
        self.run(move |state, _| Ok(state.queue.rows.get(name).cloned()))
    }

    fn list_queues(&self, filter: QueueFilter) -> BoxFuture<'_, Result<Vec<QueueRow>>> {
        self.run(move |state, _| {
            let limit = usize::try_from(page_size(filter.limit)?).unwrap_or(usize::MAX);
            let matches = |row: &&QueueRow| {
                filter.after.as_ref().is_none_or(|after| row.name > *after)
                    && filter.prefix.as_ref().is_none_or(|prefix| row.name.starts_with(prefix))
                    && filter.policy.is_none_or(|policy| row.options.policy == policy)
                    && filter.paused.is_none_or(|paused| row.paused == paused)
                    && (filter.dead_letter.is_none() || filter.dead_letter == row.options.dead_letter)
            };
            Ok(state.queue.rows.values().filter(matches).take(limit).cloned().collect())
        })
    }

    fn push_each(&self, mut messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<Pushed>>> {
        self.run(move |state, at| {
            check_messages(&messages)?;
            messages.iter().try_for_each(|message| state.queue.row(&message.queue).map(drop))?;
            trace::stamp(messages.iter_mut().map(|message| &mut message.headers));
            state.queue.push(messages, at)
        })
    }

    fn upsert_message(&self, mut message: NewMessage) -> BoxFuture<'_, Result<Pushed>> {
        self.run(move |state, at| {
            trace::stamp([&mut message.headers]);
            state.queue.upsert(message, at)
        })
    }

    fn find_dead_letters<'a>(
        &'a self,
        queue: &'a str,
        query: DeadLetterQuery,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        self.run(move |state, _| {
            let limit = usize::try_from(page_size(query.limit)?).unwrap_or(usize::MAX);
            Ok(state.queue.dead_letters(queue, &query, limit))
        })
    }

    fn find_messages<'a>(
        &'a self,
        queue: &'a str,
        query: MessageQuery,
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>>> {
        self.run(move |state, _| {
            query.check()?;
            Ok(state.queue.find(queue, &query))
        })
    }

    fn update_messages<'a>(
        &'a self,
        queue: &'a str,
        target: Target,
        update: MessageUpdate,
    ) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, at| {
            update.check()?;
            state.queue.row(queue)?;
            Ok(state.queue.change_messages(queue, &target, &update, at))
        })
    }

    fn cancel_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>> {
        self.run(move |state, at| Ok(state.queue.end_now(queue, &ids, MessageStatus::Cancelled, None, at)))
    }

    fn resume_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>> {
        self.run(move |state, at| Ok(state.queue.revive(queue, &ids, MessageStatus::Cancelled, at)))
    }

    fn retry_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>> {
        self.run(move |state, at| Ok(state.queue.revive(queue, &ids, MessageStatus::Dead, at)))
    }

    fn finish_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
        output: Value,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>> {
        self.run(move |state, at| {
            limits::check_json("output", &output)?;
            Ok(state.queue.end_now(queue, &ids, MessageStatus::Done, Some(output), at))
        })
    }

    fn delete_messages<'a>(&'a self, queue: &'a str, which: Which) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, at| Ok(state.queue.remove(queue, &which, at)))
    }

    fn redrive<'a>(&'a self, queue: &'a str, redrive: Redrive) -> BoxFuture<'a, Result<Redriven>> {
        self.run(move |state, at| state.queue.redrive(queue, &redrive, at))
    }

    fn blocked_keys<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Vec<BlockedKey>>> {
        self.run(move |state, _| state.queue.blocked(queue))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64>> {
        self.run(move |state, at| Ok(state.queue.sweep(at)))
    }

    fn has_receipt<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| Ok(state.queue.has_receipt(queue, key, at)))
    }

    fn check_queues(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.run(move |state, _| Ok(state.queue.problems()))
    }
}

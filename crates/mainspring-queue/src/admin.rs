//! [`QueueStore`]: each verb, where it is done.

use mainspring_core::{
    BlockedKey, BoxFuture, DeadLetter, DeadLetterQuery, MessageId, MessageQuery, MessageUpdate, NewMessage,
    Pushed, Queue, QueueCreated, QueueFilter, QueueOptions, QueueStore, Redrive, Redriven, Result,
    StoredMessage, Target, Which,
};
use serde_json::Value;

use crate::PgQueue;

type Ids<'a> = BoxFuture<'a, Result<Vec<MessageId>>>;

impl QueueStore for PgQueue<'_> {
    fn create_queue<'a>(
        &'a self,
        name: &'a str,
        options: QueueOptions,
    ) -> BoxFuture<'a, Result<QueueCreated>> {
        Box::pin(self.create(name, options))
    }

    fn update_queue<'a>(&'a self, name: &'a str, options: QueueOptions) -> BoxFuture<'a, Result<Queue>> {
        Box::pin(self.update(name, options))
    }

    fn recreate_queue<'a>(&'a self, name: &'a str, options: QueueOptions) -> BoxFuture<'a, Result<Queue>> {
        Box::pin(self.recreate(name, options))
    }

    fn delete_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.delete(name))
    }

    fn pause_queue<'a>(&'a self, name: &'a str, paused: bool) -> BoxFuture<'a, Result<Queue>> {
        Box::pin(self.pause(name, paused))
    }

    fn get_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Queue>>> {
        Box::pin(self.get(name))
    }

    fn list_queues(&self, filter: QueueFilter) -> BoxFuture<'_, Result<Vec<Queue>>> {
        Box::pin(self.list(filter))
    }

    fn push_each(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<Pushed>>> {
        Box::pin(self.push_known(messages))
    }

    fn upsert_message(&self, message: NewMessage) -> BoxFuture<'_, Result<Pushed>> {
        Box::pin(self.upsert(message))
    }

    fn find_dead_letters<'a>(
        &'a self,
        queue: &'a str,
        query: DeadLetterQuery,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        Box::pin(self.dead(queue, query))
    }

    fn find_messages<'a>(
        &'a self,
        queue: &'a str,
        query: MessageQuery,
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>>> {
        Box::pin(self.find(queue, query))
    }

    fn update_messages<'a>(
        &'a self,
        queue: &'a str,
        target: Target,
        update: MessageUpdate,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.change(queue, target, update))
    }

    fn cancel_messages<'a>(&'a self, queue: &'a str, ids: Vec<MessageId>) -> Ids<'a> {
        Box::pin(async move { self.end(queue, &ids, "cancel", None).await })
    }

    fn resume_messages<'a>(&'a self, queue: &'a str, ids: Vec<MessageId>) -> Ids<'a> {
        Box::pin(async move { self.revive(queue, &ids, "cancelled").await })
    }

    fn retry_messages<'a>(&'a self, queue: &'a str, ids: Vec<MessageId>) -> Ids<'a> {
        Box::pin(async move { self.revive(queue, &ids, "dead").await })
    }

    fn finish_messages<'a>(&'a self, queue: &'a str, ids: Vec<MessageId>, output: Value) -> Ids<'a> {
        Box::pin(async move { self.end(queue, &ids, "done", Some(output)).await })
    }

    fn delete_messages<'a>(&'a self, queue: &'a str, which: Which) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.remove(queue, which))
    }

    fn redrive<'a>(&'a self, queue: &'a str, redrive: Redrive) -> BoxFuture<'a, Result<Redriven>> {
        Box::pin(self.redrive_now(queue, redrive))
    }

    fn blocked_keys<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Vec<BlockedKey>>> {
        Box::pin(self.blocked(queue))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.sweep_once())
    }

    fn has_receipt<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.receipt(queue, key))
    }

    fn check_queues(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(self.problems())
    }
}

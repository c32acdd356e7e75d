//! What can be done to queues and their messages beside claiming and settling.

use serde_json::Value;

use super::{
    BlockedKey, DeadLetterQuery, MessageQuery, MessageUpdate, Pushed, Queue, QueueCreated, QueueFilter,
    QueueOptions, Redrive, Redriven, StoredMessage, Target, Which,
};
#[cfg(doc)]
use crate::QueueDriver;
use crate::{BoxFuture, DeadLetter, MessageId, NewMessage, Result};

/// Queues that are created, and all that is done to their messages beside claiming and settling.
pub trait QueueStore: Send + Sync {
    /// Creates a queue, and the one its `dead_letter` names. When it exists nothing is changed, and the answer lists every
    /// option that differs.
    fn create_queue<'a>(
        &'a self,
        name: &'a str,
        options: QueueOptions,
    ) -> BoxFuture<'a, Result<QueueCreated>>;

    /// Replaces the options of a queue. What they say of new messages does not touch those that are there.
    ///
    /// # Errors
    /// Not found; invalid when it would change the policy.
    fn update_queue<'a>(&'a self, name: &'a str, options: QueueOptions) -> BoxFuture<'a, Result<Queue>>;

    /// Removes everything in a queue and gives it these options, which may have another policy.
    ///
    /// # Errors
    /// Not found.
    fn recreate_queue<'a>(&'a self, name: &'a str, options: QueueOptions) -> BoxFuture<'a, Result<Queue>>;

    /// Deletes a queue without messages that wait or are claimed; what has ended goes with it.
    ///
    /// # Errors
    /// Not found; conflict when it has such messages, or when another queue names it for its dead letters.
    fn delete_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Lets claims bring nothing, or something again. Pushes and settlements go on.
    ///
    /// # Errors
    /// Not found.
    fn pause_queue<'a>(&'a self, name: &'a str, paused: bool) -> BoxFuture<'a, Result<Queue>>;

    /// One queue.
    fn get_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Queue>>>;

    /// A page of those that match and were created, by name.
    ///
    /// # Errors
    /// Invalid for a bad limit.
    fn list_queues(&self, filter: QueueFilter) -> BoxFuture<'_, Result<Vec<Queue>>>;

    /// Pushes all of them or none and tells of each what became of it, in their order.
    ///
    /// # Errors
    /// Not found when a queue was never created; invalid when a message is, when two have the same id, when some wait for each
    /// other in a circle, or when one waits for a message that is not there.
    fn push_each(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<Pushed>>>;

    /// Pushes a message, or makes the oldest one of its key that waits to be claimed like it: payload, headers, and whatever
    /// else it says. Its id then says which one that was.
    ///
    /// # Errors
    /// Not found when the queue was never created; invalid without a key, or when it waits for others.
    fn upsert_message(&self, message: NewMessage) -> BoxFuture<'_, Result<Pushed>>;

    /// Messages of a queue that was created, newest first.
    fn find_messages<'a>(
        &'a self,
        queue: &'a str,
        query: MessageQuery,
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>>>;

    /// A page of the dead letters of a queue, whoever created it, the latest given up first.
    fn find_dead_letters<'a>(
        &'a self,
        queue: &'a str,
        query: DeadLetterQuery,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>>;

    /// Changes messages that wait to be claimed; how many.
    ///
    /// # Errors
    /// Not found when the queue was never created.
    fn update_messages<'a>(
        &'a self,
        queue: &'a str,
        target: Target,
        update: MessageUpdate,
    ) -> BoxFuture<'a, Result<u64>>;

    /// Cancels messages that have not ended, the claimed included: their workers find their leases gone. Those that were
    /// cancelled.
    fn cancel_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>>;

    /// Brings cancelled messages back; those that were.
    fn resume_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>>;

    /// Gives messages that were given up one more run, and forgets the workers they cost; those that get one.
    fn retry_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>>;

    /// Ends messages that wait to be claimed as done, with this output; those that were.
    fn finish_messages<'a>(
        &'a self,
        queue: &'a str,
        ids: Vec<MessageId>,
        output: Value,
    ) -> BoxFuture<'a, Result<Vec<MessageId>>>;

    /// Deletes messages without a trace; how many.
    fn delete_messages<'a>(&'a self, queue: &'a str, which: Which) -> BoxFuture<'a, Result<u64>>;

    /// Brings the dead letters that wait in `queue` back to where they failed, the oldest first.
    fn redrive<'a>(&'a self, queue: &'a str, redrive: Redrive) -> BoxFuture<'a, Result<Redriven>>;

    /// The keys of a queue with the policy `key_strict_fifo` that wait for a message that was given up.
    ///
    /// # Errors
    /// Not found; invalid for another policy.
    fn blocked_keys<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Vec<BlockedKey>>>;

    /// Whether there is a [receipt](crate::Receipt) for `key`: what it stands for was handled before. Recreating or deleting
    /// the queue forgets it.
    fn has_receipt<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Deletes what was kept as long as it should be, at most a thousand messages of each kind; how many.
    fn sweep(&self) -> BoxFuture<'_, Result<u64>>;

    /// What is not as it must be, in words: counts of admitted messages that are off, messages held although there is room.
    /// Empty when all is well and nothing is going on.
    fn check_queues(&self) -> BoxFuture<'_, Result<Vec<String>>>;
}

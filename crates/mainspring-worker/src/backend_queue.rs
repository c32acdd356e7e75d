//! The queue of a whole backend, for who has nothing else.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Backend, BoxFuture, ClaimRequest, Claimed, DeadLetter, MessageLease, NewMessage, QueueDriver, QueueStats,
    Result, Settle, Upkeep, WorkerId,
};

/// The queue of a backend, as a driver of its own.
#[derive(Clone)]
pub struct BackendQueue(pub Arc<dyn Backend>);

impl QueueDriver for BackendQueue {
    fn push(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<()>> {
        self.0.queue().push(messages)
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<Claimed>> {
        self.0.queue().claim(request)
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        self.0.queue().settle(settles)
    }

    fn register<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        self.0.queue().register(holder, lease)
    }

    fn extend<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        self.0.queue().extend(holder, lease)
    }

    fn touch(&self, leases: Vec<MessageLease>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        self.0.queue().touch(leases)
    }

    fn release<'a>(&'a self, holder: &'a WorkerId) -> BoxFuture<'a, Result<u64>> {
        self.0.queue().release(holder)
    }

    fn maintain(&self) -> BoxFuture<'_, Result<Upkeep>> {
        self.0.queue().maintain()
    }

    fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<QueueStats>> {
        self.0.queue().stats(queue)
    }

    fn dead_letters<'a>(&'a self, queue: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        self.0.queue().dead_letters(queue, limit)
    }

    fn hears_all(&self) -> bool {
        self.0.queue().hears_all()
    }

    fn hint(&self, name: &str) {
        self.0.queue().hint(name);
    }

    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()> {
        self.0.queue().wait(queue, timeout)
    }
}

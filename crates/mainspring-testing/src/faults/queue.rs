//! The queue of a backend that breaks.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Backend, BoxFuture, ClaimRequest, Claimed, DeadLetter, MessageLease, NewMessage, QueueDriver, QueueStats,
    Result, Settle, Upkeep, WorkerId,
};

use super::Faults;

#[derive(Debug)]
pub(super) struct FaultyQueue<B> {
    pub(super) inner: Arc<B>,
    pub(super) faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend> QueueDriver for FaultyQueue<B> {
    fn push(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.faults.around("push", self.inner.queue().push(messages)))
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<Claimed>> {
        Box::pin(self.faults.around("claim", self.inner.queue().claim(request)))
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        Box::pin(self.faults.around("settle", self.inner.queue().settle(settles)))
    }

    fn register<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.faults.around("register", self.inner.queue().register(holder, lease)))
    }

    fn extend<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.faults.around("extend", self.inner.queue().extend(holder, lease)))
    }

    fn touch(&self, leases: Vec<MessageLease>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        Box::pin(self.faults.around("touch", self.inner.queue().touch(leases)))
    }

    fn release<'a>(&'a self, holder: &'a WorkerId) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.faults.around("release", self.inner.queue().release(holder)))
    }

    fn maintain(&self) -> BoxFuture<'_, Result<Upkeep>> {
        Box::pin(self.faults.around("maintain", self.inner.queue().maintain()))
    }

    fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<QueueStats>> {
        self.inner.queue().stats(queue)
    }

    fn dead_letters<'a>(&'a self, queue: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        self.inner.queue().dead_letters(queue, limit)
    }

    fn hears_all(&self) -> bool {
        self.inner.queue().hears_all()
    }

    fn hint(&self, name: &str) {
        self.inner.queue().hint(name);
    }

    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()> {
        self.inner.queue().wait(queue, timeout)
    }
}

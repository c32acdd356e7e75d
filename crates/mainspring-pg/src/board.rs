//! Who waits for what in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

/// How often a name was called.
#[derive(Clone, Copy, Default)]
struct Calls {
    looks: u64,
    tickets: u64,
}

/// What a hint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// To look.
    Look,
    /// To take tickets first: there are new ones.
    Tickets,
}

#[derive(Default)]
pub(crate) struct Board(Mutex<HashMap<String, watch::Sender<Calls>>>);

impl Board {
    pub(crate) fn subscribe(self: &Arc<Self>, queue: &str) -> Subscription {
        let calls = locked(&self.0).entry(queue.to_owned()).or_default().subscribe();
        let looks = calls.borrow().looks;
        Subscription { queue: queue.to_owned(), calls, looks, board: self.clone() }
    }

    pub(crate) fn wake(&self, queue: &str) {
        if let Some(sender) = locked(&self.0).get(queue) {
            sender.send_modify(|calls| calls.looks = calls.looks.wrapping_add(1));
        }
    }

    pub(crate) fn wake_for_tickets(&self, queue: &str) {
        if let Some(sender) = locked(&self.0).get(queue) {
            sender.send_modify(|calls| calls.tickets = calls.tickets.wrapping_add(1));
        }
    }

    pub(crate) fn wake_all(&self) {
        for sender in locked(&self.0).values() {
            sender.send_modify(|calls| calls.looks = calls.looks.wrapping_add(1));
        }
    }
}

/// A standing request for the hints of one queue. A clone has seen as much as the first.
#[derive(Clone)]
pub struct Subscription {
    queue: String,
    calls: watch::Receiver<Calls>,
    /// Looks that were answered.
    looks: u64,
    board: Arc<Board>,
}

impl Subscription {
    /// Waits for a hint that came since the subscription or the last wait; `false` when `limit` is over first. Several hints
    /// count as one.
    pub async fn wait(&mut self, limit: Duration) -> bool {
        timeout(limit, self.call()).await.is_ok()
    }

    /// The same without a limit, and what is asked for.
    pub async fn call(&mut self) -> Call {
        // The sender stays on the board for as long as there is a subscription.
        drop(self.calls.changed().await);
        match self.mark_looks() {
            true => Call::Look,
            false => Call::Tickets,
        }
    }

    /// What came so far does not count.
    pub fn mark(&mut self) {
        self.calls.mark_unchanged();
        self.mark_looks();
    }

    /// The queue it is for.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Whether there was a call to look since the last time.
    fn mark_looks(&mut self) -> bool {
        let looks = self.calls.borrow().looks;
        std::mem::replace(&mut self.looks, looks) != looks
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut queues = locked(&self.board.0);
        if queues.get(&self.queue).is_some_and(|sender| sender.receiver_count() <= 1) {
            queues.remove(&self.queue);
        }
    }
}

/// What is guarded here is whole after every single statement, so a panic elsewhere cannot have left it half done.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! When a queue was last looked at, so that a hint that came since is not lost before somebody waits for it; and who looks
//! because of tickets, where a [carrier](mainspring_pg::Carrier) counts them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::Timestamp;
use mainspring_pg::{Call, Hints, Subscription};
use tokio::time::timeout;

/// A standing subscription for each queue that was claimed from.
#[derive(Clone, Default)]
pub(crate) struct Looks(Arc<Mutex<HashMap<String, Look>>>);

struct Look {
    hints: Subscription,
    /// Places the last claim left empty.
    room: u32,
    /// Tickets that were taken and not yet claimed for.
    tickets: u32,
    /// When something is due, as of the last claim that asked.
    next_due: Option<Timestamp>,
}

impl Looks {
    /// A claim begins: whatever was hinted at before is seen by it. Answers the tickets it was called by.
    pub(crate) fn begin(&self, hints: &Hints, queue: &str) -> u32 {
        let mut all = self.lock();
        match all.get_mut(queue) {
            Some(look) => {
                look.hints.mark();
                std::mem::take(&mut look.tickets)
            }
            None => {
                let look = Look { hints: hints.subscribe(queue), room: 1, tickets: 0, next_due: None };
                all.insert(queue.to_owned(), look);
                0
            }
        }
    }

    /// A claim came back with so many places left empty; what it found to be due next, if it asked.
    pub(crate) fn end(&self, queue: &str, room: u32, next_due: Option<Option<Timestamp>>) {
        if let Some(look) = self.lock().get_mut(queue) {
            look.room = room.max(1);
            look.next_due = next_due.unwrap_or(look.next_due);
        }
    }

    /// What a claim found to be due after `now`.
    pub(crate) fn next_due(&self, queue: &str, now: Timestamp) -> Option<Timestamp> {
        self.lock().get(queue).and_then(|look| look.next_due).filter(|due| *due > now)
    }

    /// Waits for a hint that came since the last claim began; where tickets are counted, until some were taken.
    pub(crate) async fn wait(&self, hints: &Hints, queue: &str, limit: Duration) {
        let since = self.lock().get(queue).map(|look| (look.hints.clone(), look.room));
        let (mut since, room) = since.unwrap_or_else(|| (hints.subscribe(queue), 1));
        let called = async {
            loop {
                match hints.take(queue, room).await {
                    Some(tickets @ 1..) => break tickets,
                    Some(0) if since.call().await == Call::Tickets => {}
                    Some(0) => break 0,
                    None => {
                        since.call().await;
                        break 0;
                    }
                }
            }
        };
        let tickets = timeout(limit, called).await.unwrap_or(0);
        if let Some(look) = self.lock().get_mut(queue).filter(|_| tickets > 0) {
            look.tickets += tickets;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

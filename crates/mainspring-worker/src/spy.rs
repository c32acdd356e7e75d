//! For tests of users: waiting until a message has come so far, also when it has been there for long.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainspring_core::{Delivery, MessageId};
use tokio::sync::Notify;

use crate::Event;

/// How far a message has come on one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Claimed.
    Claimed,
    /// Done.
    Completed,
    /// Settled in its handler's own commit.
    Committed,
    /// Failed, and to run again.
    Retried,
    /// Put off.
    Snoozed,
    /// Given up.
    DeadLettered,
    /// Given back.
    PutBack,
    /// Its lease was lost.
    Lost,
}

impl State {
    /// What an event says of its delivery.
    pub fn of(event: &Event<'_>) -> Option<Self> {
        match event {
            Event::Claimed(_) => Some(Self::Claimed),
            Event::Completed(_) => Some(Self::Completed),
            Event::Committed(_) => Some(Self::Committed),
            Event::Retried { .. } => Some(Self::Retried),
            Event::Snoozed { .. } => Some(Self::Snoozed),
            Event::DeadLettered { .. } => Some(Self::DeadLettered),
            Event::PutBack(_) => Some(Self::PutBack),
            Event::Lost(_) => Some(Self::Lost),
            _ => None,
        }
    }
}

/// Remembers everything the workers it was given to have done. A clone is the same spy. It never forgets, so it belongs into
/// tests.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use mainspring_core::{NewMessage, QueueDriver, Settlement};
/// # use mainspring_testing::MemoryBackend;
/// # use mainspring_worker::{Spy, State, Verdict, Worker, deliver_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let queue = Arc::new(MemoryBackend::new());
/// # let handler = Arc::new(deliver_fn(|_, _| async { Verdict::Settle(Settlement::Done) }));
/// let spy = Spy::new();
/// let worker = Worker::new(queue.clone(), handler).queue("mail").spy(&spy).start()?;
///
/// let message = NewMessage::new("mail", "welcome", serde_json::json!({"to": "ada"}));
/// let id = message.id.clone();
/// queue.push(vec![message]).await?;
/// let limit = Duration::from_secs(5);
/// tokio::time::timeout(limit, spy.wait_for(&id, State::Completed)).await?;
/// # worker.stop().await?; Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Spy(Arc<Inner>);

#[derive(Default)]
struct Inner {
    seen: Mutex<Vec<(State, Delivery)>>,
    more: Notify,
}

impl Spy {
    /// One that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes an event; [`Worker::spy`](crate::Worker::spy) arranges for that.
    pub fn note(&self, event: &Event<'_>) {
        if let (Some(state), Some(delivery)) = (State::of(event), event.delivery()) {
            self.seen().push((state, delivery.clone()));
            self.0.more.notify_waiters();
        }
    }

    /// Waits until this message has come to `state`, however long that takes; at once when it did before. Answers the
    /// delivery.
    pub async fn wait_for(&self, message: &MessageId, state: State) -> Delivery {
        self.wait_for_one(state, |delivery| delivery.message.id == *message).await
    }

    /// The same for the first delivery that `matches`.
    pub async fn wait_for_one(&self, state: State, matches: impl Fn(&Delivery) -> bool) -> Delivery {
        loop {
            let more = self.0.more.notified();
            tokio::pin!(more);
            more.as_mut().enable(); // from here on nothing is missed
            if let Some((_, delivery)) = self.seen().iter().find(|(s, d)| *s == state && matches(d)) {
                return delivery.clone();
            }
            more.await;
        }
    }

    /// What this message went through so far, in order.
    pub fn states(&self, message: &MessageId) -> Vec<State> {
        let of_it =
            |(state, delivery): &(State, Delivery)| (delivery.message.id == *message).then_some(*state);
        self.seen().iter().filter_map(of_it).collect()
    }

    /// Forgets what it has seen.
    pub fn clear(&self) {
        self.seen().clear();
    }

    fn seen(&self) -> MutexGuard<'_, Vec<(State, Delivery)>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Spy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spy({} seen)", self.seen().len())
    }
}

//! Signs of life for single messages: those whose queue, or who themselves, ask for one so often.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::{Delivery, Error, ErrorKind, MessageLease};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{event::Activity, shared::Shared};

/// What is to be touched, and when next.
#[derive(Default)]
pub(crate) struct Touches {
    table: Mutex<HashMap<MessageLease, Touch>>,
    added: Notify,
}

struct Touch {
    every: Duration,
    next: Instant,
}

/// Has its message touched for as long as it is there: from claim to settlement.
pub(crate) struct Beat {
    touches: Arc<Touches>,
    lease: MessageLease,
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.touches.table().remove(&self.lease);
    }
}

impl Touches {
    fn table(&self) -> MutexGuard<'_, HashMap<MessageLease, Touch>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to touch a message that was just claimed, if it asks for it.
    pub(crate) fn keep(self: &Arc<Self>, delivery: &Delivery) -> Option<Beat> {
        let every = delivery.heartbeat?;
        let lease = delivery.lease.clone();
        self.table().insert(lease.clone(), Touch { every, next: Instant::now() + every / 3 });
        self.added.notify_one();
        Some(Beat { touches: Arc::clone(self), lease })
    }

    fn next(&self) -> Option<Instant> {
        self.table().values().map(|touch| touch.next).min()
    }

    /// Those whose time has come, and how long the most impatient of them can wait for an answer.
    fn due(&self, now: Instant) -> (Vec<MessageLease>, Duration) {
        let table = self.table();
        let due: Vec<_> = table.iter().filter(|(_, touch)| touch.next <= now).collect();
        let patience = due.iter().map(|(_, touch)| touch.every / 3).min().unwrap_or_default();
        (due.into_iter().map(|(lease, _)| lease.clone()).collect(), patience)
    }

    /// The next time, a part of its heartbeat after `from`.
    fn again(&self, lease: &MessageLease, from: Instant, part: u32) {
        if let Some(touch) = self.table().get_mut(lease) {
            touch.next = from + touch.every / part;
        }
    }
}

/// Touches what is due, for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let touches = &shared.touches;
    loop {
        let added = touches.added.notified();
        match touches.next() {
            None => {
                added.await;
                continue;
            }
            Some(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = added => continue,
            },
        }
        let begin = Instant::now();
        let (due, patience) = touches.due(begin);
        let error = match timeout(patience, shared.queue.touch(due.clone())).await {
            Ok(Ok(results)) => {
                for (lease, result) in due.iter().zip(results) {
                    touches.again(lease, begin, 3);
                    if result.is_err_and(|error| error.is_fenced()) {
                        tracing::warn!(
                            queue = lease.queue,
                            seq = lease.seq,
                            "a message was taken back; cancels it"
                        );
                        touches.table().remove(lease);
                        shared.flights.cancel(lease);
                    }
                }
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => Error::new(ErrorKind::Busy, format!("no answer within {patience:?}")),
        };
        shared.failing(Activity::Heartbeat, &error);
        due.iter().for_each(|lease| touches.again(lease, Instant::now(), 20));
    }
}

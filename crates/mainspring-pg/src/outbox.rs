//! Hints on their way to other processes, gathered for as long as it takes to send the ones before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{Result, limits};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    board::locked,
    carrier::{Carrier, Hint},
    db::Db,
};

/// Least time between two NOTIFY statements of a process.
const NOTIFY_WINDOW: Duration = Duration::from_millis(10);
/// Least time between two messages to a carrier, which are cheaper.
const CARRIER_WINDOW: Duration = Duration::from_millis(1);
/// A hint older than this helps nobody.
const SEND_LIMIT: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Outbox {
    hints: Mutex<HashMap<String, Outgoing>>,
    filled: Notify,
}

#[derive(Default)]
struct Outgoing {
    look: bool,
    tickets: i64,
}

impl Outbox {
    /// Everybody who waits for `name` is to look.
    pub(crate) fn look(&self, name: &str) {
        self.with(name, |outgoing| outgoing.look = true);
    }

    /// So many messages more, or less, that nobody has claimed.
    pub(crate) fn tickets(&self, queue: &str, tickets: i64) {
        self.with(queue, |outgoing| outgoing.tickets = outgoing.tickets.saturating_add(tickets));
    }

    /// Takes tickets before they are sent.
    pub(crate) fn take(&self, queue: &str, most: u32) -> u32 {
        let mut hints = locked(&self.hints);
        let Some(outgoing) = hints.get_mut(queue) else { return 0 };
        let taken = u32::try_from(outgoing.tickets.max(0)).unwrap_or(u32::MAX).min(most);
        outgoing.tickets -= i64::from(taken);
        taken
    }

    /// Sends what there is.
    pub(crate) fn send(&self) {
        self.filled.notify_one();
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Outgoing)) {
        // A payload Postgres refuses would take the other hints of its window with it.
        if limits::check_name("queue", name).is_ok() {
            let mut hints = locked(&self.hints);
            match hints.get_mut(name) {
                Some(outgoing) => change(outgoing),
                None => change(hints.entry(name.to_owned()).or_default()),
            }
        }
    }

    /// Takes everything.
    pub(crate) fn drain(&self) -> Vec<Hint> {
        let drained = locked(&self.hints).drain().collect::<Vec<_>>().into_iter();
        let hints = drained.map(|(name, Outgoing { look, tickets })| Hint { name, look, tickets });
        hints.filter(|hint| hint.look || hint.tickets != 0).collect()
    }
}

/// How hints leave this process.
pub(crate) enum Way {
    Notify(Db<'static>),
    Carrier(Arc<dyn Carrier>),
}

/// Sends until it is aborted.
pub(crate) async fn run(way: Way, outbox: Arc<Outbox>) {
    loop {
        outbox.filled.notified().await;
        let hints = outbox.drain();
        if !hints.is_empty() {
            match timeout(SEND_LIMIT, way.send(hints)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(error = %error, "hints not sent"),
                Err(_) => tracing::debug!("hints not sent in time"),
            }
        }
        sleep(way.window()).await;
    }
}

const NOTIFY: &str = "SELECT pg_notify($1::text, queue) FROM unnest($2::text[]) AS queue";

impl Way {
    fn window(&self) -> Duration {
        match self {
            Self::Notify(_) => NOTIFY_WINDOW,
            Self::Carrier(_) => CARRIER_WINDOW,
        }
    }

    async fn send(&self, hints: Vec<Hint>) -> Result<()> {
        match self {
            Self::Notify(db) => {
                let names: Vec<String> = hints.into_iter().map(|hint| hint.name).collect();
                db.all(NOTIFY, &[&db.names().channel(), &names]).await.map(drop)
            }
            Self::Carrier(carrier) => carrier.send(hints).await,
        }
    }
}

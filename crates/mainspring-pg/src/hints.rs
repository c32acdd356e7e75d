//! Wake-up hints: "there may be something new in this queue". Poll is the truth; a lost hint costs time, never a message.
//!
//! ```text
//! notify(queue) ─┬─► waiters of this process, at once
//!                └─► pg_notify, at most one per queue in 10 ms ─► LISTEN connection of every other process ─► its waiters
//! ```
//! A [`Carrier`] may take the place of NOTIFY. A NOTIFY inside a data transaction is an order of magnitude slower than outside, so hints are sent after the commit,
//! through a pooled connection, and a failure to send one is dropped. The LISTEN connection is opened at the first
//! subscription; after each reconnect everybody is woken, since hints may have been missed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    board::{Board, Subscription, locked},
    carrier::{Carrier, Heard},
    db::Db,
    listener,
    names::{Names, fnv},
    outbox::{self, Outbox, Way},
    settings::Settings,
};

/// How often a silent LISTEN connection is asked whether it is alive.
const PING: Duration = Duration::from_secs(10);

/// What hints for a thing of `kind` go by whose own name is made of parts, and may be too long for a hint: the same in every
/// process. Two things may rarely share one; then the hint for one wakes those who wait for the other, too.
pub fn hint_name(kind: &str, parts: &[&str]) -> String {
    let text: Vec<String> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    format!("{kind}.{:016x}", fnv(&text.concat()))
}

/// Sends and receives hints. A clone shares everything; the background tasks end with the last clone.
#[derive(Clone)]
pub struct Hints(Arc<Inner>);

struct Inner {
    board: Arc<Board>,
    outbox: Arc<Outbox>,
    db: Option<Db<'static>>,
    settings: Option<Settings>,
    carrier: Option<Arc<dyn Carrier>>,
    /// Who gets what is kept back here.
    behind: Option<Hints>,
    names: Names,
    ping: Duration,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    sender: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<()>>,
    carrier: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut *locked(&self.tasks));
        for task in [tasks.sender, tasks.listener, tasks.carrier].into_iter().flatten() {
            task.abort();
        }
    }
}

impl Hints {
    /// Without `db` nothing is sent to other processes, without `settings` nothing is heard from them.
    pub fn new(db: Option<Db<'static>>, settings: Option<Settings>, names: Names) -> Self {
        Self::with_ping(db, settings, names, PING)
    }

    /// [`new`](Self::new), asking this often whether the LISTEN connection is alive. Defaults to 10 s.
    pub fn with_ping(
        db: Option<Db<'static>>,
        settings: Option<Settings>,
        names: Names,
        ping: Duration,
    ) -> Self {
        let (board, outbox, tasks) = Default::default();
        Self(Arc::new(Inner { board, outbox, db, settings, carrier: None, behind: None, names, ping, tasks }))
    }

    /// Hints within this process only.
    pub fn poll_only() -> Self {
        Self::new(None, None, Names::default())
    }

    /// The same, where a carrier takes the place of NOTIFY. What other clients say with NOTIFY is still heard.
    #[must_use]
    pub fn with_carrier(self, carrier: Arc<dyn Carrier>) -> Self {
        let Inner { db, settings, names, ping, .. } = &*self.0;
        let (db, settings, names, ping) = (db.clone(), settings.clone(), names.clone(), *ping);
        let (board, outbox, tasks) = Default::default();
        let (carrier, behind) = (Some(carrier), None);
        Self(Arc::new(Inner { board, outbox, db, settings, carrier, behind, names, ping, tasks }))
    }

    /// Hints about what is written in a transaction that somebody else commits: they are kept until
    /// [`AfterCommit::send`], and nothing is heard.
    #[must_use]
    pub fn kept_back(&self) -> Self {
        let (board, outbox, tasks) = Default::default();
        let (names, ping, behind) = (self.0.names.clone(), self.0.ping, Some(self.clone()));
        Self(Arc::new(Inner {
            board,
            outbox,
            db: None,
            settings: None,
            carrier: None,
            behind,
            names,
            ping,
            tasks,
        }))
    }

    /// Wakes whoever waits for these names: in this process at once, elsewhere within some milliseconds. Never fails and
    /// never waits; call it after the commit.
    pub fn notify<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut filled = false;
        for name in names {
            self.0.board.wake(name);
            if self.sends() {
                self.0.outbox.look(name);
                filled = true;
            }
        }
        self.send(filled);
    }

    /// The same for queues, each as often as it has new messages: where a carrier counts them, only as many processes look.
    pub fn offer<'a>(&self, queues: impl IntoIterator<Item = &'a str>) {
        let mut messages: HashMap<&str, i64> = HashMap::new();
        for queue in queues {
            *messages.entry(queue).or_default() += 1;
        }
        self.offer_counted(messages);
    }

    fn offer_counted(&self, messages: HashMap<&str, i64>) {
        if self.0.carrier.is_none() && self.0.behind.is_none() {
            return self.notify(messages.into_keys());
        }
        for (queue, count) in &messages {
            self.0.outbox.tickets(queue, *count);
            self.0.board.wake_for_tickets(queue);
        }
        self.send(!messages.is_empty());
    }

    /// Passes on what was kept back.
    fn pass_on(&self) {
        let Some(behind) = &self.0.behind else { return };
        let kept = self.0.outbox.drain();
        behind.notify(kept.iter().filter(|hint| hint.look).map(|hint| hint.name.as_str()));
        let offered = kept.iter().filter(|hint| hint.tickets > 0);
        behind.offer_counted(offered.map(|hint| (hint.name.as_str(), hint.tickets)).collect());
    }

    /// Takes tickets of a queue, at most `most`. `None` when nobody counts them, or the carrier is away: then every hint is one
    /// to look.
    pub async fn take(&self, queue: &str, most: u32) -> Option<u32> {
        let carrier = self.0.carrier.as_ref()?;
        let here = self.0.outbox.take(queue, most);
        if here > 0 {
            return Some(here);
        }
        let taken = carrier.take(queue, most).await;
        taken.inspect_err(|error| tracing::debug!(%error, queue, "no tickets can be taken")).ok()
    }

    /// A claim that had taken `tickets` brought so many messages.
    pub fn claimed(&self, queue: &str, tickets: u32, messages: u32) {
        let Some(carrier) = &self.0.carrier else { return };
        if tickets > messages {
            carrier.ghosts(tickets - messages);
        }
        if messages > tickets {
            self.0.outbox.tickets(queue, -i64::from(messages - tickets));
            self.send(true);
        }
    }

    /// Whether somebody counts what is [offered](Self::offer), and is there.
    pub fn counts(&self) -> bool {
        self.0.carrier.as_ref().is_some_and(|carrier| carrier.is_up())
    }

    /// Wakes whoever waits for `name` in this process at once. Other processes are told along with the next hint that is sent
    /// to them anyway: for what happens so often that a statement each time would cost more than a late look.
    pub fn mention(&self, name: &'static str) {
        self.0.board.wake(name);
        if self.sends() {
            self.0.outbox.look(name);
        }
    }

    fn sends(&self) -> bool {
        self.0.db.is_some() || self.0.carrier.is_some() || self.0.behind.is_some()
    }

    fn send(&self, filled: bool) {
        if filled {
            self.start_sender();
            self.0.outbox.send();
        }
    }

    /// Starts to collect hints for `queue`. Subscribe, then look at the queue, then wait: nothing is missed in between.
    pub fn subscribe(&self, queue: &str) -> Subscription {
        let subscription = self.0.board.subscribe(queue);
        self.start_listeners();
        subscription
    }

    /// Waits for the next hint for `queue`; `false` when `limit` is over first.
    pub async fn wait(&self, queue: &str, limit: Duration) -> bool {
        self.subscribe(queue).wait(limit).await
    }

    fn start_sender(&self) {
        let way = match (&self.0.carrier, &self.0.db) {
            (Some(carrier), _) => Way::Carrier(Arc::clone(carrier)),
            (None, Some(db)) => Way::Notify(db.clone()),
            (None, None) => return,
        };
        let outbox = Arc::clone(&self.0.outbox);
        start(&mut locked(&self.0.tasks).sender, || outbox::run(way, outbox));
    }

    fn start_listeners(&self) {
        let (inner, board) = (&self.0, &self.0.board);
        let mut tasks = locked(&inner.tasks);
        if let Some(carrier) = &inner.carrier {
            start(&mut tasks.carrier, || carrier.listen(Heard(board.clone())));
        }
        if let Some(settings) = &inner.settings {
            let channel = inner.names.channel();
            start(&mut tasks.listener, || {
                listener::run(settings.clone(), channel, board.clone(), inner.ping)
            });
        }
    }
}

/// Starts a task unless it runs.
fn start<F: Future<Output = ()> + Send + 'static>(
    task: &mut Option<JoinHandle<()>>,
    work: impl FnOnce() -> F,
) {
    if !is_running(task.as_ref()) {
        *task = Handle::try_current().ok().map(|runtime| runtime.spawn(work()));
    }
}

fn is_running(task: Option<&JoinHandle<()>>) -> bool {
    task.is_some_and(|task| !task.is_finished())
}

/// The hints about what was written in a transaction of the caller's: [send](Self::send) them when it is committed. Dropped
/// with one that is rolled back they do nothing.
#[derive(Debug)]
#[must_use = "workers find by polling what nobody tells them of"]
pub struct AfterCommit(Option<Hints>);

impl AfterCommit {
    /// Those that were kept back by `hints`.
    pub fn of(hints: Option<&Hints>) -> Self {
        Self(hints.cloned())
    }

    /// Wakes whoever waits for what was written, in this process at once and elsewhere within some milliseconds. Never fails
    /// and never waits.
    pub fn send(self) {
        if let Some(hints) = self.0 {
            hints.pass_on();
        }
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints")
            .field("sends", &self.0.db.is_some())
            .field("listens", &self.0.settings.is_some())
            .field("carrier", &self.0.carrier)
            .finish_non_exhaustive()
    }
}

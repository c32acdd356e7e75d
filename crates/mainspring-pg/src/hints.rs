//! Wake-up hints: "there may be something new in this queue". Poll is the truth; a lost hint costs time, never a message.
//!
//! ```text
//! notify(queue) ─┬─► waiters of this process, at once
//!                └─► pg_notify, at most one per queue in 10 ms ─► LISTEN connection of every other process ─► its waiters
//! ```
//! A NOTIFY inside a data transaction is an order of magnitude slower than outside, so hints are sent after the commit,
//! through a pooled connection, and a failure to send one is dropped. The LISTEN connection is opened at the first
//! subscription; after each reconnect everybody is woken, since hints may have been missed.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::limits;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    db::Db,
    listener,
    names::{Names, fnv},
    settings::Settings,
};

/// Least time between two NOTIFY statements of a process.
const WINDOW: Duration = Duration::from_millis(10);
/// How often a silent LISTEN connection is asked whether it is alive.
const PING: Duration = Duration::from_secs(10);
/// A hint older than this helps nobody.
const SEND_LIMIT: Duration = Duration::from_secs(5);

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
    names: Names,
    ping: Duration,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    sender: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut *locked(&self.tasks));
        for task in [tasks.sender, tasks.listener].into_iter().flatten() {
            task.abort();
        }
    }
}

#[derive(Default)]
struct Outbox {
    queues: Mutex<HashSet<String>>,
    filled: Notify,
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
        Self(Arc::new(Inner { board, outbox, db, settings, names, ping, tasks }))
    }

    /// Hints within this process only.
    pub fn poll_only() -> Self {
        Self::new(None, None, Names::default())
    }

    /// Wakes whoever waits for these queues: in this process at once, elsewhere within some milliseconds. Never fails and
    /// never waits; call it after the commit.
    pub fn notify<'a>(&self, queues: impl IntoIterator<Item = &'a str>) {
        let mut filled = false;
        for queue in queues {
            self.0.board.wake(queue);
            // A payload Postgres refuses would take the other hints of its window with it.
            if self.0.db.is_some() && limits::check_name("queue", queue).is_ok() {
                let mut waiting = locked(&self.0.outbox.queues);
                if !waiting.contains(queue) {
                    waiting.insert(queue.to_owned());
                }
                filled = true;
            }
        }
        if filled {
            self.start_sender();
            self.0.outbox.filled.notify_one();
        }
    }

    /// Wakes whoever waits for `name` in this process at once. Other processes are told along with the next hint that is sent
    /// to them anyway: for what happens so often that a statement each time would cost more than a late look.
    pub fn mention(&self, name: &'static str) {
        self.0.board.wake(name);
        if self.0.db.is_some() {
            let mut waiting = locked(&self.0.outbox.queues);
            if !waiting.contains(name) {
                waiting.insert(name.to_owned());
            }
        }
    }

    /// Starts to collect hints for `queue`. Subscribe, then look at the queue, then wait: nothing is missed in between.
    pub fn subscribe(&self, queue: &str) -> Subscription {
        let subscription = self.0.board.subscribe(queue);
        self.start_listener();
        subscription
    }

    /// Waits for the next hint for `queue`; `false` when `limit` is over first.
    pub async fn wait(&self, queue: &str, limit: Duration) -> bool {
        self.subscribe(queue).wait(limit).await
    }

    fn start_sender(&self) {
        let Some(db) = &self.0.db else { return };
        let mut tasks = locked(&self.0.tasks);
        if !is_running(tasks.sender.as_ref()) {
            let work = send(db.clone(), self.0.outbox.clone());
            tasks.sender = Handle::try_current().ok().map(|runtime| runtime.spawn(work));
        }
    }

    fn start_listener(&self) {
        let Some(settings) = &self.0.settings else { return };
        let mut tasks = locked(&self.0.tasks);
        if !is_running(tasks.listener.as_ref()) {
            let work =
                listener::run(settings.clone(), self.0.names.channel(), self.0.board.clone(), self.0.ping);
            tasks.listener = Handle::try_current().ok().map(|runtime| runtime.spawn(work));
        }
    }
}

fn is_running(task: Option<&JoinHandle<()>>) -> bool {
    task.is_some_and(|task| !task.is_finished())
}

const NOTIFY: &str = "SELECT pg_notify($1::text, queue) FROM unnest($2::text[]) AS queue";

async fn send(db: Db<'static>, outbox: Arc<Outbox>) {
    let channel = db.names().channel();
    loop {
        outbox.filled.notified().await;
        let queues: Vec<String> = locked(&outbox.queues).drain().collect();
        if !queues.is_empty() {
            match timeout(SEND_LIMIT, db.all(NOTIFY, &[&channel, &queues])).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(error = %error, "hints not sent"),
                Err(_) => tracing::debug!("hints not sent in time"),
            }
        }
        sleep(WINDOW).await;
    }
}

/// A standing request for the hints of one queue. A clone has seen as much as the first.
#[derive(Clone)]
pub struct Subscription {
    queue: String,
    hints: watch::Receiver<u64>,
    board: Arc<Board>,
}

impl Subscription {
    /// Waits for a hint that came since the subscription or the last wait; `false` when `limit` is over first. Several hints
    /// count as one.
    pub async fn wait(&mut self, limit: Duration) -> bool {
        // The sender stays on the board for as long as there is a subscription.
        matches!(timeout(limit, self.hints.changed()).await, Ok(Ok(())))
    }

    /// What came so far does not count.
    pub fn mark(&mut self) {
        self.hints.mark_unchanged();
    }

    /// The queue it is for.
    pub fn queue(&self) -> &str {
        &self.queue
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

/// Who waits for what in this process.
#[derive(Default)]
pub(crate) struct Board(Mutex<HashMap<String, watch::Sender<u64>>>);

impl Board {
    fn subscribe(self: &Arc<Self>, queue: &str) -> Subscription {
        let hints = locked(&self.0).entry(queue.to_owned()).or_default().subscribe();
        Subscription { queue: queue.to_owned(), hints, board: self.clone() }
    }

    pub(crate) fn wake(&self, queue: &str) {
        if let Some(sender) = locked(&self.0).get(queue) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    pub(crate) fn wake_all(&self) {
        for sender in locked(&self.0).values() {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

/// What is guarded here is whole after every single statement, so a panic elsewhere cannot have left it half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints")
            .field("sends", &self.0.db.is_some())
            .field("listens", &self.0.settings.is_some())
            .finish_non_exhaustive()
    }
}

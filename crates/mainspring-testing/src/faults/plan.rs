//! Where to break, how, and at which time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::{Error, ErrorKind, Result};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::Notify;

/// The environment variable a child process reads its faults from.
pub const VARIABLE: &str = "MAINSPRING_FAULTS";

/// How long a stop takes to reach all threads, generously.
const SPREADS: Duration = Duration::from_millis(50);

/// What happens at a point.
#[derive(Debug, Clone)]
pub enum Action {
    /// The process is gone at once: no destructor runs, nothing is flushed.
    Abort,
    /// The call fails. Before it, nothing happens and the caller hears that the database is unavailable; after it,
    /// everything has happened and the caller hears that nobody knows.
    Error,
    /// The call is carried out and the caller hears that nobody knows, whichever side of it the point is on.
    ExecuteThenError,
    /// The call waits here until it is notified.
    Pause(Arc<Notify>),
    /// The whole process stops, as if its machine hung, until someone lets it continue.
    StopSelf,
}

/// Armed points, shared by all clones. A point is a verb and a side, such as `commit.before` or `claim.after`; the verbs are
/// `commit`, `flow` for looking one up, and those of the queue: `push`, `claim`, `settle`, `register`, `extend`, `touch`, `release`,
/// `maintain`; code of one's own has points of its own, which it [passes](Self::pass).
#[derive(Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Default)]
struct Inner {
    points: Mutex<HashMap<String, Point>>,
    fired: Notify,
}

#[derive(Default)]
struct Point {
    hits: u64,
    fired: u64,
    armed: Vec<(When, Action)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Hit(u64),
    Always,
}

impl Faults {
    /// Nothing breaks until something is armed.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads `point=action`, separated by commas, each with `@n` for the nth hit only (the first, when absent) or `@*` for
    /// every hit: `commit.after=abort@3,claim.before=error@*`. Actions are `abort`, `error`, `execute-then-error`, `pause`
    /// (for ever) and `stop`.
    ///
    /// # Errors
    /// Invalid, naming the part.
    pub fn parse(text: &str) -> Result<Self> {
        let faults = Self::none();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (point, when, action) = parse(part)
                .ok_or_else(|| Error::invalid("faults", format!("`{part}` is not point=action@n")))?;
            faults.lock().entry(point.to_owned()).or_default().armed.push((when, action));
        }
        Ok(faults)
    }

    /// What [`VARIABLE`] says; nothing when it is not set.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_env() -> Result<Self> {
        Self::parse(&std::env::var(VARIABLE).unwrap_or_default())
    }

    /// Arms a point for its `nth` hit from now on; 1 is the next.
    pub fn arm(&self, point: &str, nth: u64, action: Action) {
        let mut points = self.lock();
        let point = points.entry(point.to_owned()).or_default();
        let at = point.hits + nth;
        point.armed.push((When::Hit(at), action));
    }

    /// Arms a point for every hit.
    pub fn arm_always(&self, point: &str, action: Action) {
        self.lock().entry(point.to_owned()).or_default().armed.push((When::Always, action));
    }

    /// Nothing breaks any more. Who pauses still pauses.
    pub fn disarm(&self) {
        self.lock().values_mut().for_each(|point| point.armed.clear());
    }

    /// How often a point was passed.
    pub fn hits(&self, point: &str) -> u64 {
        self.lock().get(point).map_or(0, |point| point.hits)
    }

    /// How often a point did what it was armed with.
    pub fn fired(&self, point: &str) -> u64 {
        self.lock().get(point).map_or(0, |point| point.fired)
    }

    /// Waits until a point has fired `times` in all.
    pub async fn wait_fired(&self, point: &str, times: u64) {
        loop {
            let bell = self.0.fired.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            if self.fired(point) >= times {
                return;
            }
            bell.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Point>> {
        self.0.points.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is armed for this hit. Says so on stdout first, for a parent that waits for it.
    fn hit(&self, name: &str) -> Option<Action> {
        let mut points = self.lock();
        let point = points.entry(name.to_owned()).or_default();
        point.hits += 1;
        let hits = point.hits;
        let index = point
            .armed
            .iter()
            .position(|(when, _)| matches!(when, When::Always) || *when == When::Hit(hits))?;
        let action = point.armed[index].1.clone();
        if point.armed[index].0 != When::Always {
            point.armed.remove(index);
        }
        point.fired += 1;
        drop(points);
        tell(name);
        self.0.fired.notify_waiters();
        Some(action)
    }

    /// Passes a point of one's own, such as `charge.before` in a handler: what is armed there happens.
    ///
    /// # Errors
    /// As armed.
    pub async fn pass(&self, point: &str) -> Result<()> {
        match self.hit(point) {
            Some(Action::Error | Action::ExecuteThenError) => {
                Err(Error::new(ErrorKind::Unavailable, format!("fault at {point}")))
            }
            Some(action) => {
                carry_out(action).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Runs a call between its two points.
    pub(super) async fn around<T>(&self, verb: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut told = None;
        match self.hit(&format!("{verb}.before")) {
            Some(Action::Error) => {
                return Err(Error::new(ErrorKind::Unavailable, format!("fault at {verb}.before")));
            }
            Some(Action::ExecuteThenError) => told = Some(unknown(verb, "before")),
            Some(action) => carry_out(action).await,
            None => {}
        }
        let answer = call.await?;
        match self.hit(&format!("{verb}.after")) {
            Some(Action::Error | Action::ExecuteThenError) => return Err(unknown(verb, "after")),
            Some(action) => carry_out(action).await,
            None => {}
        }
        told.map_or(Ok(answer), Err)
    }
}

#[allow(clippy::print_stdout, reason = "a parent process waits for this line")]
fn tell(point: &str) {
    println!("hit {point}");
}

fn unknown(verb: &str, side: &str) -> Error {
    Error::new(
        ErrorKind::CommitUnknown,
        format!("fault at {verb}.{side}: it happened, and the caller does not know"),
    )
}

async fn carry_out(action: Action) {
    match action {
        Action::Abort => std::process::abort(),
        Action::Pause(until) => until.notified().await,
        Action::StopSelf => {
            // That a process may not stop itself does not happen.
            let _ = kill_process(getpid(), Signal::STOP);
            // Another thread may take the signal, and this one would run on until it has spread.
            std::thread::sleep(SPREADS);
        }
        Action::Error | Action::ExecuteThenError => {}
    }
}

fn parse(part: &str) -> Option<(&str, When, Action)> {
    let (point, rest) = part.split_once('=')?;
    let (action, when) = match rest.split_once('@') {
        None => (rest, When::Hit(1)),
        Some((action, "*")) => (action, When::Always),
        Some((action, nth)) => (action, When::Hit(nth.parse().ok().filter(|nth| *nth > 0)?)),
    };
    let action = match action {
        "abort" => Action::Abort,
        "error" => Action::Error,
        "execute-then-error" => Action::ExecuteThenError,
        "pause" => Action::Pause(Arc::default()),
        "stop" => Action::StopSelf,
        _ => return None,
    };
    let (verb, side) = point.split_once('.')?;
    let known = !verb.is_empty() && matches!(side, "before" | "after");
    known.then_some((point, when, action))
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = self.lock();
        let armed = points.iter().filter(|(_, point)| !point.armed.is_empty());
        f.debug_map().entries(armed.map(|(name, point)| (name, &point.armed))).finish()
    }
}

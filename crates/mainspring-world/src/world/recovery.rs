//! Recovery: a run that nobody would call any more is called again.
//!
//! ```text
//! one message in the queue of the calls ──claimed by one worker──► a round ──► the same message, so long later
//! a round: runs of this world that were silent for so long ─► owed something ─► no message for it, queued or claimed ─► pushed
//!                                                                              └► its message was given up ─► failed
//! ```
//! As long as calls are pushed in the commit that needs them, nothing is found. What is found was pushed apart from its event
//! by a process that died in between. The message that drives the rounds is claimed by one worker at a time, whose death gives
//! it to another one; what a round pushes has a key of what it stands for, so that two rounds push it once.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    Execution, ExecutionFilter, ExecutionId, ExecutionStatus, Failure, MessageOptions, NewMessage, Result,
    Settlement, Timestamp, Unique,
    queue::{MessageQuery, MessageStatus, StoredMessage},
};
use serde_json::{Value, json};

use super::{World, called, calls::Calls, given_up};
use crate::{
    ids::{SPEC_VERSION, is_world, spec_of},
    owed::{Owed, owed},
    state::Keep,
    storage::{Known, Storage},
};

/// The type of the message that drives the rounds, and its key.
pub(super) const RECOVER: &str = "world.recover";
/// Runs of one page, and most pages of a round; the next one goes on behind them.
const PAGE: u32 = 500;
const MOST_PAGES: u32 = 20;
/// Most runs that are remembered as owed nothing.
const MOST_PARKED: usize = 100_000;
/// How long nothing is pushed twice for the same state of a run.
const ONCE_IN: Duration = Duration::from_secs(3600);
/// Before all calls.
const PRIORITY: i16 = 100;
/// A message of one of these stands for what is owed.
const COVERS: [MessageStatus; 6] = [
    MessageStatus::Deferred,
    MessageStatus::Held,
    MessageStatus::Blocked,
    MessageStatus::Ready,
    MessageStatus::Claimed,
    MessageStatus::Dead,
];

/// What recovery did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Runs that were owed something nobody would have brought. Those whose message was given up have failed.
    pub found: u64,
    /// Messages that were pushed for them.
    pub repaired: u64,
}

/// The recovery of one world in one process.
pub(super) struct Recovery {
    pub(super) storage: Storage,
    pub(super) calls: Calls,
    /// How often, and how long a run was silent before it is looked at.
    pub(super) every: Duration,
    found: AtomicU64,
    repaired: AtomicU64,
    memory: Mutex<Memory>,
}

/// What a run is to get.
enum Due {
    Messages(Vec<NewMessage>),
    /// The end, since this message was given up.
    Failure(Box<StoredMessage>),
}

impl Due {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Messages(missing) if missing.is_empty())
    }
}

/// What may be forgotten.
#[derive(Default)]
struct Memory {
    /// Where the next round begins, of each status.
    places: HashMap<ExecutionStatus, (Timestamp, ExecutionId)>,
    /// Runs that are owed nothing as of a revision, until a time.
    parked: HashMap<ExecutionId, (i64, Option<Timestamp>)>,
}

impl World {
    /// One round of recovery, now; rounds come by themselves as [`recovery`](super::WorldBuilder::recovery) says.
    ///
    /// # Errors
    /// Those of the backend; a run that cannot be looked at stops no other.
    pub async fn recover(&self) -> Result<Recovered> {
        self.ready().await?;
        self.0.recovery.round().await
    }

    /// What all rounds in this process did.
    pub fn recovered(&self) -> Recovered {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Recovered { found: read(&self.0.recovery.found), repaired: read(&self.0.recovery.repaired) }
    }
}

impl Recovery {
    pub(super) fn new(storage: Storage, calls: Calls, every: Duration) -> Self {
        let (found, repaired) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { storage, calls, every, found, repaired, memory: Mutex::default() }
    }

    /// The message that drives the rounds: there is never a second one.
    pub(super) fn message(&self) -> NewMessage {
        let mut message = NewMessage::new(&self.calls.queue, RECOVER, json!({}));
        message.key = Some(RECOVER.to_owned());
        message.options = MessageOptions { unique: Some(Unique::Unfinished), ..MessageOptions::default() };
        message.priority = Some(PRIORITY);
        message
    }

    /// A round that the message asks for, and when the next one is.
    pub(super) async fn asked(&self) -> Settlement {
        if let Err(error) = self.round().await {
            tracing::warn!(error = %error.chain(), "no recovery now");
        }
        Settlement::SnoozeUntil(self.storage.backend().now() + self.every)
    }

    async fn round(&self) -> Result<Recovered> {
        let mut done = Recovered::default();
        for status in [ExecutionStatus::Pending, ExecutionStatus::Running] {
            for _ in 0..MOST_PAGES {
                let after = self.remembered(|memory| memory.places.remove(&status));
                let filter = ExecutionFilter {
                    status: Some(status),
                    after,
                    limit: PAGE,
                    ..ExecutionFilter::default()
                };
                let rows = self.storage.backend().executions().list(filter).await?;
                let last = rows.last().map(|row| (row.created_at, row.id.clone()));
                let full = rows.len() >= PAGE as usize;
                for row in rows.into_iter().filter(|row| self.is_silent(row)) {
                    let id = row.id.clone();
                    match self.look_at(row).await {
                        Ok(Some(pushed)) => {
                            done.found += 1;
                            done.repaired += pushed;
                            tracing::warn!(run = %id, pushed, "a run was stranded");
                        }
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(run = %id, error = %error.chain(), "cannot be recovered now");
                        }
                    }
                }
                if !full {
                    break;
                }
                self.remembered(|memory| last.and_then(|last| memory.places.insert(status, last)));
            }
        }
        self.found.fetch_add(done.found, Ordering::Relaxed);
        self.repaired.fetch_add(done.repaired, Ordering::Relaxed);
        Ok(done)
    }

    /// Whether it is a run of this world to which nothing happened lately, and that may be owed something.
    fn is_silent(&self, row: &Execution) -> bool {
        let now = self.storage.backend().now();
        let ours = is_world(row) && row.queue == self.calls.queue && spec_of(row) <= SPEC_VERSION;
        let parked = || self.remembered(|memory| memory.parked.get(&row.id).copied());
        ours && row.updated_at + self.every <= now
            && !parked()
                .is_some_and(|(revision, until)| revision == row.revision && until.is_none_or(|at| at > now))
    }

    /// Pushes what is owed to a run and not on its way; how many. `None` when that is nothing.
    async fn look_at(&self, row: Execution) -> Result<Option<u64>> {
        let Some(known) = Known::load(&**self.storage.backend(), &row.id, Keep::Open).await? else {
            return Ok(None);
        };
        let seen = called::seen(&**self.storage.backend(), &known).await?;
        let owed = owed(&known.state, seen, self.storage.backend().now());
        if owed.is_nothing() {
            self.remembered(|memory| {
                if memory.parked.len() >= MOST_PARKED {
                    memory.parked.clear();
                }
                memory.parked.insert(row.id, (known.row.revision, owed.next));
            });
            return Ok(None);
        }
        let due = self.due(&known, owed).await?;
        let now_there = self.storage.backend().executions().get(&row.id).await?;
        // A message may have been done while these were looked for; then something has happened to the run, or was seen.
        let same = now_there.is_some_and(|now_there| now_there.revision == known.row.revision);
        if due.is_nothing() || !same || called::seen(&**self.storage.backend(), &known).await? != seen {
            return Ok(None);
        }
        let missing = match due {
            Due::Messages(missing) => missing,
            Due::Failure(letter) => return self.fail(&known, *letter).await,
        };
        let pushed = self.storage.backend().queues().push_each(missing).await?;
        let fresh = pushed.iter().filter(|pushed| !pushed.duplicate).count() as u64;
        Ok((fresh > 0).then_some(fresh))
    }

    /// A run whose message was given up by the queue itself, or before this was looked after, has failed.
    async fn fail(&self, known: &Known, letter: StoredMessage) -> Result<Option<u64>> {
        let why = letter.reason.unwrap_or_else(|| Failure::new("FAILED", "left no reason"));
        let fault = given_up::fault(letter.message.id.as_str(), (letter.failures + letter.lost).max(1), &why);
        match self.storage.fail(&known.row.id, fault, None).await {
            Ok(()) => Ok(Some(0)),
            Err(error) if given_up::is_left_alone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is owed and not on its way.
    async fn due(&self, known: &Known, owed: Owed<'_>) -> Result<Due> {
        let (run, workflow) = (&known.row.id, &known.row.flow_id);
        let (dead, calls) = apart(self.of(json!({"runId": run})).await?);
        // Whoever calls its code finds out about everything else.
        if calls.iter().any(|call| self.comes_soon(call)) {
            return Ok(Due::Messages(Vec::new()));
        }
        let calls_are_missing = owed.woken || owed.flow && calls.is_empty();
        // What was given up before something happened stands for nothing any more.
        let last = dead.into_iter().find(|letter| letter.finished_at >= Some(known.row.updated_at));
        if let Some(letter) = last.filter(|_| calls_are_missing) {
            return Ok(Due::Failure(Box::new(letter)));
        }
        let mut missing = Vec::new();
        if calls_are_missing {
            let key = format!("recover/{run}/{}", known.row.position);
            missing.push(once(self.calls.flow(workflow, run)?, key));
        }
        if !owed.steps.is_empty() {
            let (dead, there) = apart(self.of(json!({"workflowRunId": run})).await?);
            for step in owed.steps {
                let (id, name) = (&step.entity.step_id, &step.entity.step_name);
                let its = |call: &&StoredMessage| call.message.data["data"]["stepId"] == json!(id);
                if there.iter().any(|call| its(&call)) {
                    continue;
                }
                if let Some(letter) = dead.iter().find(its) {
                    return Ok(Due::Failure(Box::new(letter.clone())));
                }
                let key = format!("recover/{run}/{}/{}", step.number, step.entity.attempt);
                missing.push(once(self.calls.step(workflow, run, name, id)?, key));
            }
        }
        Ok(Due::Messages(missing))
    }

    /// The messages that have this in their payload and stand for what is owed.
    async fn of(&self, payload: Value) -> Result<Vec<StoredMessage>> {
        let query = MessageQuery {
            data: Some(json!({"data": payload})),
            statuses: COVERS.to_vec(),
            limit: 1_000,
            ..MessageQuery::default()
        };
        self.storage.backend().queues().find_messages(&self.calls.queue, query).await
    }

    /// Whether a call is not put off to a time that its code chose. After a failure the time is the queue's.
    fn comes_soon(&self, call: &StoredMessage) -> bool {
        let soon = self.storage.backend().now() + self.every;
        call.failures > 0 || call.available_at.is_none_or(|at| at <= soon)
    }

    fn remembered<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was given up, and what is on its way.
fn apart(calls: Vec<StoredMessage>) -> (Vec<StoredMessage>, Vec<StoredMessage>) {
    calls.into_iter().partition(|call| call.status == MessageStatus::Dead)
}

fn once(mut message: NewMessage, key: String) -> NewMessage {
    message.key = Some(key);
    message.options.unique = Some(Unique::For(ONCE_IN));
    message
}

//! Recovery: a run that nobody would call any more is called again.
//!
//! ```text
//! one message in the queue of the calls ──claimed by one worker──► a round ──► the same message, so long later
//! a round: runs of this world that were silent for so long ─► owed something ─► no message for it, queued or claimed ─► pushed
//! ```
//! As long as calls are pushed in the commit that needs them, nothing is found. What is found was pushed apart from its event
//! by a process that died in between. The message that drives the rounds is claimed by one worker at a time, whose death gives
//! it to another one; what a round pushes has a key of what it stands for, so that two rounds push it once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    Backend, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, MessageOptions, NewMessage, Result,
    Settlement, Timestamp, Unique,
    queue::{MessageQuery, MessageStatus, StoredMessage},
};
use serde_json::{Value, json};

use super::{World, called, calls::Calls};
use crate::{
    ids::{SPEC_VERSION, is_world, spec_of},
    owed::{Owed, owed},
    state::Keep,
    storage::Known,
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
/// A message of one of these stands for what is owed. One that was given up is for people.
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
    /// Runs that were owed something nobody would have brought.
    pub found: u64,
    /// Messages that were pushed for them.
    pub repaired: u64,
}

/// The recovery of one world in one process.
pub(super) struct Recovery {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) calls: Calls,
    /// How often, and how long a run was silent before it is looked at.
    pub(super) every: Duration,
    found: AtomicU64,
    repaired: AtomicU64,
    memory: Mutex<Memory>,
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
    pub(super) fn new(backend: Arc<dyn Backend>, calls: Calls, every: Duration) -> Self {
        let (found, repaired) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { backend, calls, every, found, repaired, memory: Mutex::default() }
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
        Settlement::SnoozeUntil(self.backend.now() + self.every)
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
                let rows = self.backend.executions().list(filter).await?;
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
        let now = self.backend.now();
        let ours = is_world(row) && row.queue == self.calls.queue && spec_of(row) <= SPEC_VERSION;
        let parked = || self.remembered(|memory| memory.parked.get(&row.id).copied());
        ours && row.updated_at + self.every <= now
            && !parked()
                .is_some_and(|(revision, until)| revision == row.revision && until.is_none_or(|at| at > now))
    }

    /// Pushes what is owed to a run and not on its way; how many. `None` when that is nothing.
    async fn look_at(&self, row: Execution) -> Result<Option<u64>> {
        let Some(known) = Known::load(&*self.backend, &row.id, Keep::Open).await? else { return Ok(None) };
        let seen = called::seen(&*self.backend, &known).await?;
        let owed = owed(&known.state, seen, self.backend.now());
        if owed.is_nothing() {
            self.remembered(|memory| {
                if memory.parked.len() >= MOST_PARKED {
                    memory.parked.clear();
                }
                memory.parked.insert(row.id, (known.row.revision, owed.next));
            });
            return Ok(None);
        }
        let missing = self.missing(&known, owed).await?;
        let now_there = self.backend.executions().get(&row.id).await?;
        // A message may have been done while these were looked for; then something has happened to the run, or was seen.
        let same = now_there.is_some_and(|now_there| now_there.revision == known.row.revision);
        if missing.is_empty() || !same || called::seen(&*self.backend, &known).await? != seen {
            return Ok(None);
        }
        let pushed = self.backend.queues().push_each(missing).await?;
        let fresh = pushed.iter().filter(|pushed| !pushed.duplicate).count() as u64;
        Ok((fresh > 0).then_some(fresh))
    }

    /// The messages for what is owed and for which there is none.
    async fn missing(&self, known: &Known, owed: Owed<'_>) -> Result<Vec<NewMessage>> {
        let (run, workflow) = (&known.row.id, &known.row.flow_id);
        let calls = self.of(json!({"runId": run})).await?;
        // Whoever calls its code finds out about everything else.
        if calls.iter().any(|call| self.comes_soon(call)) {
            return Ok(Vec::new());
        }
        let mut missing = Vec::new();
        if owed.woken || owed.flow && calls.is_empty() {
            let key = format!("recover/{run}/{}", known.row.position);
            missing.push(once(self.calls.flow(workflow, run)?, key));
        }
        if !owed.steps.is_empty() {
            let there = self.of(json!({"workflowRunId": run})).await?;
            let there: Vec<_> =
                there.iter().map(|step| step.message.data["data"]["stepId"].as_str()).collect();
            for step in owed.steps {
                let (id, name) = (&step.entity.step_id, &step.entity.step_name);
                if !there.contains(&Some(id.as_str())) {
                    let key = format!("recover/{run}/{}/{}", step.number, step.entity.attempt);
                    missing.push(once(self.calls.step(workflow, run, name, id)?, key));
                }
            }
        }
        Ok(missing)
    }

    /// The messages that have this in their payload and stand for what is owed.
    async fn of(&self, payload: Value) -> Result<Vec<StoredMessage>> {
        let query = MessageQuery {
            data: Some(json!({"data": payload})),
            statuses: COVERS.to_vec(),
            limit: 1_000,
            ..MessageQuery::default()
        };
        self.backend.queues().find_messages(&self.calls.queue, query).await
    }

    /// Whether a call is not put off to a time that its code chose. After a failure the time is the queue's.
    fn comes_soon(&self, call: &StoredMessage) -> bool {
        let soon = self.backend.now() + self.every;
        call.failures > 0 || call.available_at.is_none_or(|at| at <= soon)
    }

    fn remembered<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn once(mut message: NewMessage, key: String) -> NewMessage {
    message.key = Some(key);
    message.options.unique = Some(Unique::For(ONCE_IN));
    message
}

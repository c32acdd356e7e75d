//! Machine memory: the state of a process for handlers of one's own, over executions and leases.
//!
//! An [`Orchestrator`](crate::Orchestrator) or [`Resumable`](crate::Resumable) needs none of this: its state is committed with what
//! it says. This is for code that keeps a state by itself, read and written under a revision, with a lock where one is wanted.

#[macro_use]
mod traced;
mod options;

use std::sync::Arc;

use mainspring_core::{
    Backend, DEFAULT_QUEUE, Error, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, Expect, Failure,
    Lease, NewEvent, Result,
    event::{EXECUTIONS, kind},
    limits, metric,
};
use serde_json::{Map, Value, json};
use tracing::field::Empty;

use crate::{
    process::forever,
    sending::{HASHED, process_id},
};

pub use options::MemoryOptions;
use traced::traced;

/// In the data: what is told of how the process is. [`FAILURE`] ends it.
const STATUS: &str = "executionStatus";
const FAILURE: &str = "failure";
const UNKNOWN: &str = "unknown";
/// The version of an execution that is a machine's memory.
const VERSION: &str = "memory-1";
/// How often a failure is written anew because others were faster.
const MOST_TRIES: u32 = 50;

/// What is kept of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// What was written.
    pub data: Map<String, Value>,
    /// How often; what the next write has to name.
    pub revision: i64,
}

/// What is said of a process when it is written first, and never changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The handler.
    pub source: String,
    /// The process that began it. Defaults to none.
    pub parent_subject: Option<String>,
    /// Who hears of its end. Defaults to nobody, as long as that is not known.
    pub initiator: Option<String>,
}

/// A process as it is seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryInfo {
    /// What its data says of how it is; `unknown` when it says nothing.
    pub execution_status: String,
    /// The handler.
    pub source: String,
    /// Who hears of its end.
    pub initiator: Option<String>,
    /// The process that began it.
    pub parent_subject: Option<String>,
    /// The one at the top; itself when it has no parent.
    pub root_subject: String,
    /// How often it was written.
    pub revision: i64,
}

/// State of processes by their subjects. A clone is the same memory.
///
/// ```
/// use mainspring_broker::{MachineMemory, Metadata};
/// use mainspring_testing::MemoryBackend;
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
/// let memory = MachineMemory::new(MemoryBackend::new(), Default::default())?;
/// let about = Metadata { source: "arvo.orc.order".into(), ..Metadata::default() };
/// let data = |step: &str| json!({"executionStatus": "normal", "step": step}).as_object().cloned().unwrap_or_default();
///
/// let lock = memory.lock("order-42").await?.expect("nobody else is there");
/// let revision = memory.write("order-42", data("charge"), None, &about).await?;
/// memory.write("order-42", data("ship"), Some(revision), &about).await?;
/// assert!(memory.write("order-42", data("late"), Some(revision), &about).await.unwrap_err().is_conflict());
/// assert_eq!(memory.read("order-42").await?.unwrap().data["step"], "ship");
/// assert!(memory.unlock(&lock).await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MachineMemory {
    backend: Arc<dyn Backend>,
    options: MemoryOptions,
    owner: Arc<str>,
}

impl MachineMemory {
    /// The memory of this backend.
    ///
    /// # Errors
    /// Invalid, naming the option.
    pub fn new(backend: impl Into<Arc<dyn Backend>>, options: MemoryOptions) -> Result<Self> {
        options.check()?;
        let owner = format!("memory-{}", ulid::Ulid::generate()).into();
        Ok(Self { backend: backend.into(), options, owner })
    }

    /// What was written last; `None` when nothing was.
    ///
    /// # Errors
    /// Invalid, when it is no subject; those of the database.
    pub async fn read(&self, subject: &str) -> Result<Option<Memory>> {
        let span = span!(self, "read", subject, available = Empty);
        let row = traced(&span, self.row(subject)).await?;
        span.record("available", u8::from(row.is_some()));
        Ok(row.map(|row| Memory { revision: row.revision, data: row.context }))
    }

    /// What is known of a process; `None` when nothing was written.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn info(&self, subject: &str) -> Result<Option<MemoryInfo>> {
        let Some(row) = self.row(subject).await? else { return Ok(None) };
        let parent_subject = match &row.parent {
            Some(parent) => Some(self.subject_of(parent).await?),
            None => None,
        };
        Ok(Some(MemoryInfo {
            root_subject: self.subject_of(&row.root).await?,
            execution_status: row.current_step,
            source: row.flow_id,
            initiator: Some(row.queue).filter(|queue| queue != DEFAULT_QUEUE),
            parent_subject,
            revision: row.revision,
        }))
    }

    async fn row(&self, subject: &str) -> Result<Option<Execution>> {
        check_subject(subject)?;
        self.backend.executions().get(&process_id(subject)).await
    }

    /// The subject of an execution, which may be a digest of it.
    async fn subject_of(&self, id: &ExecutionId) -> Result<String> {
        if !id.as_str().starts_with(HASHED) {
            return Ok(id.to_string());
        }
        let stream = mainspring_core::execution::stream_of(id);
        let first = self.backend.events().read_stream(EXECUTIONS, "", &stream, 1, 1).await?;
        let subject = first.first().and_then(|event| event.event.data["subject"].as_str());
        subject.map(str::to_owned).ok_or_else(|| Error::not_found("subject of execution", id))
    }

    /// Writes the data of a process: as a new one with no revision, else in place of what was read at `revision`. Answers the
    /// revision it has then.
    ///
    /// Data whose `executionStatus` is `failure` ends the process: nothing can be written after it. It takes the place of whatever
    /// is there when no revision is named.
    ///
    /// # Errors
    /// Conflict when it was there already, or when it is no longer at that revision or gone; not found when the parent was never
    /// written; invalid, naming the field.
    pub async fn write(
        &self,
        subject: &str,
        data: Map<String, Value>,
        revision: Option<i64>,
        about: &Metadata,
    ) -> Result<i64> {
        check_subject(subject)?;
        let span = span!(self, "write", subject, isNew = u8::from(revision.is_none()), version = Empty);
        let written = traced(&span, self.write_one(subject, data, revision, about)).await?;
        span.record("version", written);
        Ok(written)
    }

    async fn write_one(
        &self,
        subject: &str,
        data: Map<String, Value>,
        revision: Option<i64>,
        about: &Metadata,
    ) -> Result<i64> {
        let status = data.get(STATUS).and_then(Value::as_str).unwrap_or(UNKNOWN).to_owned();
        match (revision, status == FAILURE) {
            (Some(revision), _) => self.replace(subject, data, &status, revision, about).await,
            (None, false) => self.create(subject, data, &status, about).await,
            (None, true) => {
                for _ in 0..MOST_TRIES {
                    let written = match self.row(subject).await? {
                        Some(row) if row.status.is_terminal() => return Ok(row.revision),
                        Some(row) => self.replace(subject, data.clone(), &status, row.revision, about).await,
                        None => self.create(subject, data.clone(), &status, about).await,
                    };
                    match written {
                        Err(error) if error.is_conflict() => {}
                        written => return written,
                    }
                }
                Err(mismatch(subject, 0))
            }
        }
    }

    async fn create(
        &self,
        subject: &str,
        data: Map<String, Value>,
        status: &str,
        about: &Metadata,
    ) -> Result<i64> {
        let mut row = Execution::new(process_id(subject), &about.source, VERSION, status);
        let history = json!({"subject": subject, "source": about.source, "initiator": about.initiator});
        let mut events = vec![NewEvent::new(kind::EXECUTION_CREATED, history)];
        row.timeouts = forever();
        if let Some(initiator) = &about.initiator {
            limits::check_name("memory.initiator", initiator)?;
            row.queue.clone_from(initiator);
        }
        if let Some(parent) = &about.parent_subject {
            let parent = self.row(parent).await?.ok_or_else(|| Error::not_found("parent subject", parent))?;
            row.root = parent.root;
            row.parent = Some(parent.id);
        }
        fill(&mut row, &mut events, data, status);
        let create = ExecutionWrite { expect: Expect::New, execution: row, events };
        self.commit(create).await?;
        Ok(1)
    }

    async fn replace(
        &self,
        subject: &str,
        data: Map<String, Value>,
        status: &str,
        revision: i64,
        about: &Metadata,
    ) -> Result<i64> {
        // What is fixed when a process is created is left as it is by the store, so that nothing has to be read first; but for an
        // end, which goes behind what is in the history.
        let mut row = match status {
            FAILURE => self.row(subject).await?.ok_or_else(|| mismatch(subject, revision))?,
            _ => Execution::new(process_id(subject), &about.source, VERSION, status),
        };
        let mut events = Vec::new();
        row.revision = revision;
        fill(&mut row, &mut events, data, status);
        let update = ExecutionWrite { expect: Expect::Revision(revision), execution: row, events };
        match self.commit(update).await {
            Ok(()) => Ok(revision + 1),
            Err(error) if error.is_conflict() => Err(mismatch(subject, revision).with_source(error)),
            Err(error) => Err(error),
        }
    }

    async fn commit(&self, write: ExecutionWrite) -> Result<()> {
        let changes = mainspring_core::Changes { executions: vec![write], ..Default::default() };
        self.backend.commit(changes).await.map(drop)
    }

    /// Locks a subject: `None` when others had it for as long as is waited. It is not re-entrant. Nothing is held while waiting.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn lock(&self, subject: &str) -> Result<Option<Lease>> {
        check_subject(subject)?;
        let span = span!(self, "lock", subject, acquired = Empty, attempts = Empty);
        let begin = tokio::time::Instant::now();
        let locked = traced(&span, self.try_lock(subject)).await;
        metrics::histogram!(metric::LOCK_WAIT).record(begin.elapsed());
        let (lease, attempts) = locked?;
        span.record("acquired", u8::from(lease.is_some()));
        span.record("attempts", attempts);
        Ok(lease)
    }

    async fn try_lock(&self, subject: &str) -> Result<(Option<Lease>, u32)> {
        let name = lock_name(subject);
        let mut delays = self.options.delays();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let lease = self.backend.leases().acquire(&name, &self.owner, self.options.lock_ttl).await?;
            match (lease, delays.next()) {
                (None, Some(delay)) => tokio::time::sleep(delay).await,
                (lease, _) => return Ok((lease, attempts)),
            }
        }
    }

    /// Keeps a lock for another `lock_ttl` from now.
    ///
    /// # Errors
    /// Fenced, when somebody else has it.
    pub async fn extend(&self, lock: &Lease) -> Result<Lease> {
        self.backend.leases().extend(lock, self.options.lock_ttl).await
    }

    /// Gives a lock back; false when it was lost before, and then whoever has it now keeps it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unlock(&self, lock: &Lease) -> Result<bool> {
        let span = span!(self, "unlock", subject = lock.name);
        traced(&span, self.backend.leases().release(lock)).await
    }

    /// The lock on a subject, over or not.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn locked(&self, subject: &str) -> Result<Option<Lease>> {
        self.backend.leases().get(&lock_name(subject)).await
    }

    /// Removes what is kept of a process, its history and its lock, whoever has it, at once, and nothing of its family; whether
    /// there was something. Does nothing unless it is [enabled](MemoryOptions::enable_cleanup).
    ///
    /// # Errors
    /// Those of the database; nothing is removed then.
    pub async fn cleanup(&self, subject: &str) -> Result<bool> {
        let enabled = self.options.enable_cleanup;
        let span = span!(self, "cleanup", subject, skipped = u8::from(!enabled));
        if !enabled {
            return Ok(false);
        }
        check_subject(subject)?;
        let (id, lock) = (process_id(subject), lock_name(subject));
        traced(&span, self.backend.executions().forget(&id, &lock)).await
    }

    /// The process at the top of the family of this one; itself when it has no parent, `None` when it was never written.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn root_of(&self, subject: &str) -> Result<Option<String>> {
        let span = span!(self, "getRootSubject", subject, found = Empty, isRoot = Empty);
        let row = traced(&span, self.row(subject)).await?;
        span.record("found", u8::from(row.is_some()));
        let Some(row) = row else { return Ok(None) };
        span.record("isRoot", u8::from(row.root == row.id));
        self.subject_of(&row.root).await.map(Some)
    }

    /// All processes below this one, parents before their children; none when it has none or was never written.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn descendants_of_root(&self, root: &str) -> Result<Vec<String>> {
        let span = span!(self, "getSubjectsByRoot", rootSubject = root, count = Empty);
        check_subject(root)?;
        let mut subjects = Vec::new();
        let mut level = vec![process_id(root)];
        while let Some(parent) = level.pop() {
            for child in traced(&span, self.backend.executions().find_children(&parent)).await? {
                subjects.push(self.subject_of(&child.id).await?);
                level.insert(0, child.id);
            }
        }
        span.record("count", subjects.len());
        Ok(subjects)
    }
}

/// The row as data and status say it is to be.
fn fill(row: &mut Execution, events: &mut Vec<NewEvent>, data: Map<String, Value>, status: &str) {
    row.status = ExecutionStatus::Running;
    row.current_step = status.to_owned();
    if status == FAILURE {
        let said = data
            .get("error")
            .map(|error| error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned));
        let failure = Failure::new("FAILURE", said.unwrap_or_default());
        events.push(NewEvent::new(kind::EXECUTION_FAILED, json!({"error": failure})));
        row.status = ExecutionStatus::Failed;
        row.error = Some(failure);
    }
    row.context = data;
}

fn check_subject(subject: &str) -> Result<()> {
    limits::check_message("subject", subject)?;
    match subject.is_empty() {
        true => Err(Error::invalid("subject", "must not be empty")),
        false => Ok(()),
    }
}

fn lock_name(subject: &str) -> String {
    // Within 255 bytes, whatever the subject.
    let id = process_id(subject);
    match id.as_str().len() {
        ..=240 => format!("memory/{id}"),
        _ => format!("memory/{}", crate::sending::hashed(subject)),
    }
}

fn mismatch(subject: &str, revision: i64) -> Error {
    Error::conflict(format!(
        "Data is corrupted due to version mismatch for subject '{subject}'. Expected version {revision} but state has been modified."
    ))
}

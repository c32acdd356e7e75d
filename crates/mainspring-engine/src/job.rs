//! One run of a job, as its handler sees it.
//!
//! Every write carries the claim of this run. When another worker has taken over, a write changes nothing, the run is told to
//! stop, and whatever it returns is dropped. A write waits for a database that is busy or away as long as a lease lasts, so
//! that a hiccup uses up no attempt.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Backend, BoxFuture, ExecutionId, Job, JobId, JobLease, JobStore, Progress};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{HandlerError, commit::patiently};

/// One run of a job. Clones are the same run.
#[derive(Clone)]
pub struct JobRun(Arc<Run>);

struct Run {
    backend: Arc<dyn Backend>,
    job: Job,
    lease: JobLease,
    saved: Mutex<Map<String, Value>>,
    cancel: CancellationToken,
    superseded: AtomicBool,
    patience: Duration,
}

impl JobRun {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        job: Job,
        cancel: CancellationToken,
        patience: Duration,
    ) -> Self {
        let (lease, saved) = (job.lease(), Mutex::new(job.checkpoint.clone()));
        let superseded = AtomicBool::new(false);
        Self(Arc::new(Run { backend, job, lease, saved, cancel, superseded, patience }))
    }

    /// The job. Its id is the same for every run, so it is the key to hand to systems outside.
    pub fn id(&self) -> &JobId {
        &self.0.job.id
    }

    /// The execution it works for.
    pub fn execution_id(&self) -> &ExecutionId {
        &self.0.job.execution_id
    }

    /// The handler that does it.
    pub fn handler(&self) -> &str {
        &self.0.job.handler
    }

    /// Runs that were lost with their worker; they are counted in [`attempt`](Self::attempt), and use up none of those allowed.
    pub fn lost(&self) -> u32 {
        self.0.job.lost
    }

    /// The step it does.
    pub fn step_id(&self) -> &str {
        &self.0.job.step_id
    }

    /// The isolation key; empty for none.
    pub fn tenant(&self) -> &str {
        &self.0.job.tenant
    }

    /// 1 for the first run; a run that was lost with its worker counts.
    pub fn attempt(&self) -> u32 {
        self.0.job.attempts
    }

    /// Fires when the job was cancelled or taken over: whatever is still done then does not count.
    pub fn cancel(&self) -> &CancellationToken {
        &self.0.cancel
    }

    /// A checkpoint that this run or one before it saved.
    ///
    /// # Errors
    /// When it was saved as something else.
    pub fn checkpoint<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HandlerError> {
        let saved = self.saved().get(key).cloned();
        Ok(saved.map(serde_json::from_value).transpose()?)
    }

    /// All checkpoints.
    pub fn list(&self) -> Map<String, Value> {
        self.saved().clone()
    }

    fn saved(&self) -> std::sync::MutexGuard<'_, Map<String, Value>> {
        self.0.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves a checkpoint beside the others. It outlives this run.
    ///
    /// # Errors
    /// When another worker has taken over, which also fires [`cancel`](Self::cancel); those of the backend.
    pub async fn save(&self, key: &str, value: impl Serialize) -> Result<(), HandlerError> {
        let value = serde_json::to_value(value)?;
        self.write(|jobs, lease| jobs.save_checkpoint(lease, key, value.clone())).await?;
        self.saved().insert(key.to_owned(), value);
        Ok(())
    }

    /// Removes one checkpoint.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn clear(&self, key: &str) -> Result<(), HandlerError> {
        self.write(|jobs, lease| jobs.clear_checkpoint(lease, Some(key))).await?;
        self.saved().remove(key);
        Ok(())
    }

    /// Removes all checkpoints.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn clear_all(&self) -> Result<(), HandlerError> {
        self.write(|jobs, lease| jobs.clear_checkpoint(lease, None)).await?;
        self.saved().clear();
        Ok(())
    }

    /// Says how far it is.
    ///
    /// # Errors
    /// As [`save`](Self::save); invalid when over 100 percent.
    pub async fn progress(&self, percent: u8, message: impl Into<String>) -> Result<(), HandlerError> {
        let progress = Progress { percent, message: message.into() };
        self.write(|jobs, lease| jobs.update_progress(lease, progress.clone())).await
    }

    /// One write, which says whether the claim still holds. Writing the same twice does no harm.
    async fn write<'a>(
        &'a self,
        write: impl Fn(&'a dyn JobStore, &'a JobLease) -> BoxFuture<'a, mainspring_core::Result<bool>>,
    ) -> Result<(), HandlerError> {
        let jobs = self.0.backend.jobs();
        if patiently(self.0.patience, || write(jobs, &self.0.lease)).await? {
            return Ok(());
        }
        self.0.superseded.store(true, Ordering::Release);
        self.0.cancel.cancel();
        let error = self.0.lease.fenced();
        Err(HandlerError::terminal(error.code(), error.to_string()))
    }

    /// Whether a write found that another worker has taken over.
    pub(crate) fn is_superseded(&self) -> bool {
        self.0.superseded.load(Ordering::Acquire)
    }
}

impl fmt::Debug for JobRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobRun({}, attempt {})", self.id(), self.attempt())
    }
}

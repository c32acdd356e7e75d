//! The same for many executions: cancelled, resumed or retried by filter, in batches that can be taken up again.

use std::fmt;

use mainspring_core::{Error, Execution, ExecutionFilter, ExecutionId, Result, Timestamp};

use super::is_workflow;
use crate::{CancelRequest, Engine, again::retry_of};

/// Executions of one page.
const PAGE: u32 = 200;

/// Where a bulk operation is: those after it, older ones, are still to come.
pub type BulkCursor = (Timestamp, ExecutionId);

/// How far a bulk operation is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkProgress {
    /// Executions that matched when they were looked at.
    pub seen: u64,
    /// Those that were changed.
    pub done: u64,
    /// Those to which it does not apply: over already, one of a flow, or changed meanwhile.
    pub skipped: u64,
    /// The last one looked at: give it to [`Bulk::after`] to go on there. `None` before the first.
    pub cursor: Option<BulkCursor>,
    /// Whether there are none left.
    pub complete: bool,
}

type OnProgress<'a> = Box<dyn FnMut(&BulkProgress) + Send + 'a>;

/// An operation on all executions that match; see [`Engine::bulk`].
#[must_use = "nothing happens until one of its verbs is awaited"]
pub struct Bulk<'a> {
    engine: &'a Engine,
    filter: ExecutionFilter,
    limit: u64,
    progress: Option<OnProgress<'a>>,
}

impl Engine {
    /// Cancels, resumes or retries all executions that match, newest first:
    /// `engine.bulk(filter).limit(1_000).cancel("recalled").await?`. Executions created meanwhile are not among them. An
    /// operation that broke off is taken up with [`after`](Bulk::after) the last cursor it told; what was done already is
    /// skipped in any case.
    pub fn bulk(&self, filter: ExecutionFilter) -> Bulk<'_> {
        Bulk { engine: self, filter, limit: u64::MAX, progress: None }
    }
}

impl<'a> Bulk<'a> {
    /// At most so many, of those that are left. Defaults to all.
    pub fn limit(mut self, executions: u64) -> Self {
        self.limit = executions;
        self
    }

    /// Only those after this one: where another operation broke off.
    pub fn after(mut self, cursor: BulkCursor) -> Self {
        self.filter.after = Some(cursor);
        self
    }

    /// Is told after every execution how far it is.
    pub fn progress(mut self, progress: impl FnMut(&BulkProgress) + Send + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// How many there are now, without a change to any.
    ///
    /// # Errors
    /// Only those of the backend.
    pub async fn count(&self) -> Result<u64> {
        self.engine.backend().executions().count(self.filter.clone()).await
    }

    /// Cancels them with their families.
    ///
    /// # Errors
    /// Those of the backend; the progress told last says where it broke off.
    pub async fn cancel(self, request: impl Into<CancelRequest>) -> Result<BulkProgress> {
        let (engine, request) = (self.engine, request.into());
        let cancel =
            async |execution: &Execution| Ok(engine.cancel(&execution.id, request.clone()).await?.cancelled);
        self.each(cancel).await
    }

    /// Lets parked workflows look again whether they can go on: after their code was mended, for example.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub async fn resume(self) -> Result<BulkProgress> {
        let engine = self.engine;
        let resume = async |execution: &Execution| {
            if !is_workflow(execution) || execution.status.is_terminal() {
                return Ok(false);
            }
            engine.nudge(&execution.id).await.map(|()| true)
        };
        self.each(resume).await
    }

    /// Takes up what failed or was cancelled; see [`WorkflowHandle::retry`](crate::WorkflowHandle::retry) and, for executions of
    /// flows, [`Engine::retry_flow`]. One that was retried before is skipped.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub async fn retry(self) -> Result<BulkProgress> {
        let engine = self.engine;
        let retry = async |execution: &Execution| {
            if engine.get(&retry_of(execution)?).await?.is_some() {
                return Ok(false);
            }
            match is_workflow(execution) {
                true => Ok(engine.0.retry(execution).await?.1),
                false => Ok(engine.0.retry_flow(execution).await?.1),
            }
        };
        self.each(retry).await
    }

    async fn each(mut self, change: impl AsyncFn(&Execution) -> Result<bool>) -> Result<BulkProgress> {
        let mut progress = BulkProgress { cursor: self.filter.after.clone(), ..BulkProgress::default() };
        self.filter.limit = PAGE;
        loop {
            self.filter.after.clone_from(&progress.cursor);
            let page = self.engine.backend().executions().list(self.filter.clone()).await?;
            let last = page.len() < PAGE as usize;
            for execution in page {
                if progress.seen == self.limit {
                    return Ok(progress);
                }
                progress.seen += 1;
                match change(&execution).await {
                    Ok(true) => progress.done += 1,
                    Ok(false) => progress.skipped += 1,
                    Err(error) if is_its_own(&error) => {
                        tracing::info!(execution = %execution.id, error = %error.chain(), "skipped");
                        progress.skipped += 1;
                    }
                    Err(error) => return Err(error),
                }
                progress.cursor = Some((execution.created_at, execution.id));
                if let Some(told) = &mut self.progress {
                    told(&progress);
                }
            }
            if last {
                progress.complete = true;
                return Ok(progress);
            }
        }
    }
}

/// Whether an error is about one execution, and not about the database.
fn is_its_own(error: &Error) -> bool {
    error.is_conflict() || error.is_not_found() || error.is_invalid()
}

impl fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("filter", &self.filter).finish_non_exhaustive()
    }
}

//! The handle of an execution: where it stands, what it returned, and what one can do to it.

use std::{fmt, marker::PhantomData, time::Duration};

use futures_util::future::select;
use mainspring_core::{
    Error, Execution, ExecutionId, ExecutionStatus, Failure, RecordedEvent, Result, event::EXECUTIONS,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    ResultError, Signal, Workflow,
    child::{continued, end_of},
    journal::End,
};
use crate::{CancelRequest, CancelResult, Engine, ends::hint_of};

const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_secs(1);
const HISTORY_PAGE: u32 = 1_000;

/// One execution of a workflow. A clone is the same execution.
pub struct WorkflowHandle<O, E> {
    engine: Engine,
    id: ExecutionId,
    created: bool,
    types: PhantomData<fn() -> (O, E)>,
}

impl Engine {
    /// The handle of an execution that was started before, perhaps elsewhere.
    pub fn workflow<I, O, E>(&self, workflow: Workflow<I, O, E>, id: ExecutionId) -> WorkflowHandle<O, E> {
        let _ = workflow;
        WorkflowHandle::new(self.clone(), id, false)
    }
}

impl<O, E> WorkflowHandle<O, E> {
    pub(crate) fn new(engine: Engine, id: ExecutionId, created: bool) -> Self {
        Self { engine, id, created, types: PhantomData }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The execution.
    pub fn id(&self) -> &ExecutionId {
        &self.id
    }

    /// Whether the start that made this handle created it: not when it found one of the same id or key.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// The execution as it stands, the last one when it went on as others.
    ///
    /// # Errors
    /// Not found; otherwise those of the backend.
    pub async fn execution(&self) -> Result<Execution> {
        let mut id = self.id.clone();
        loop {
            let found = self.engine.0.load(&id).await?;
            let execution = found.ok_or_else(|| Error::not_found("execution", &id))?;
            match continued(&execution) {
                Some(next) => id = next,
                None => return Ok(execution),
            }
        }
    }

    /// Where it stands in its life.
    ///
    /// # Errors
    /// As [`execution`](Self::execution).
    pub async fn status(&self) -> Result<ExecutionStatus> {
        Ok(self.execution().await?.status)
    }

    /// What it said with [`Cx::set_status`](crate::Cx::set_status); `null` when it said nothing.
    ///
    /// # Errors
    /// As [`execution`](Self::execution).
    pub async fn custom_status(&self) -> Result<Value> {
        Ok(self.execution().await?.context.remove("status").unwrap_or(Value::Null))
    }

    /// What it said under this key with [`Cx::set_event`](crate::Cx::set_event).
    ///
    /// # Errors
    /// As [`execution`](Self::execution).
    pub async fn event(&self, key: &str) -> Result<Option<Value>> {
        let execution = self.execution().await?;
        Ok(execution.context.get("events").and_then(|events| events.get(key)).cloned())
    }

    /// Its whole history, oldest first.
    ///
    /// # Errors
    /// As [`execution`](Self::execution).
    pub async fn history(&self) -> Result<Vec<RecordedEvent>> {
        let execution = self.execution().await?;
        self.engine.0.history(&execution).await
    }

    /// Cancels it and its family.
    ///
    /// # Errors
    /// Only those of the backend: cancelling what is over is none.
    pub async fn cancel(&self, request: impl Into<CancelRequest>) -> Result<CancelResult> {
        let id = self.execution().await?.id;
        self.engine.cancel(&id, request).await
    }

    /// Sends it a signal; see [`Engine::signal`].
    pub fn signal(&self, name: impl Into<String>, payload: &impl Serialize) -> Signal {
        self.engine.signal(&self.id, name, payload)
    }

    /// Lets it look again whether it can go on: after its code was mended, for example.
    ///
    /// # Errors
    /// Not found; otherwise those of the backend.
    pub async fn resume(&self) -> Result<()> {
        let id = self.execution().await?.id;
        self.engine.nudge(&id).await
    }

    /// Waits until it is over, whoever drives it: told at once of an end that this process or a worker anywhere commits, and
    /// looking now and then all the same, at first every few milliseconds and at last every second.
    ///
    /// # Errors
    /// Not found; otherwise those of the backend.
    pub async fn ended(&self) -> Result<Execution> {
        let inner = &self.engine.0;
        let mut id = self.id.clone();
        'chain: loop {
            let ending = inner.ends.wait_for(&id);
            let mut look = FIRST_LOOK;
            let hint = hint_of(&id);
            loop {
                let (begun, told) = (Instant::now(), Box::pin(ending.told()));
                let mut elsewhere = inner.backend.queue().wait(&hint, look);
                // From here on no hint is missed.
                if futures_util::poll!(elsewhere.as_mut()).is_ready() {
                    elsewhere = Box::pin(std::future::pending());
                }
                let found = inner.load(&id).await?;
                let execution = found.ok_or_else(|| Error::not_found("execution", &id))?;
                if let Some(next) = continued(&execution) {
                    id = next;
                    continue 'chain;
                }
                if execution.status.is_terminal() {
                    return Ok(execution);
                }
                drop(timeout(look, select(told, elsewhere)).await);
                if begun.elapsed() >= look {
                    look = (look * 2).min(LONGEST_LOOK);
                }
            }
        }
    }
}

impl<O: DeserializeOwned, E: DeserializeOwned> WorkflowHandle<O, E> {
    /// What it returned, once it has.
    ///
    /// # Errors
    /// Its own error as it is; [`ResultError::Cancelled`]; [`ResultError::Failed`] for everything else that ended it.
    pub async fn result(&self) -> std::result::Result<O, ResultError<E>> {
        result_of(&self.ended().await?)
    }
}

pub(crate) fn result_of<O: DeserializeOwned, E: DeserializeOwned>(
    execution: &Execution,
) -> std::result::Result<O, ResultError<E>> {
    if execution.status == ExecutionStatus::Cancelled {
        return Err(ResultError::Cancelled(execution.cancellation.clone()));
    }
    let other_type = |error: serde_json::Error| {
        let problem = format!("what execution `{}` left is not of the type asked for", execution.id);
        ResultError::Backend(Error::internal(problem).with_source(error))
    };
    match end_of(execution) {
        Some(Ok(End::Completed(output))) => serde_json::from_value(output).map_err(other_type),
        Some(Ok(End::App(error))) => {
            Err(serde_json::from_value(error).map_or_else(other_type, ResultError::App))
        }
        Some(Ok(End::Broken(failure))) => Err(ResultError::Failed(failure)),
        Some(Err(_)) | None => Err(ResultError::Failed(Failure::new("NOT_OVER", "the workflow is not over"))),
    }
}

impl crate::engine::Inner {
    /// The whole history of an execution.
    pub(crate) async fn history(&self, execution: &Execution) -> Result<Vec<RecordedEvent>> {
        let (tenant, stream) = (&execution.tenant, execution.stream());
        let mut all = Vec::new();
        loop {
            let from = i64::try_from(all.len()).unwrap_or(i64::MAX).saturating_add(1);
            let events = self.backend.events();
            let read = || events.read_stream(EXECUTIONS, tenant, &stream, from, HISTORY_PAGE);
            let page = self.patiently(read).await?;
            let last = page.len() < HISTORY_PAGE as usize;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }
}

impl<O, E> Clone for WorkflowHandle<O, E> {
    fn clone(&self) -> Self {
        Self::new(self.engine.clone(), self.id.clone(), self.created)
    }
}

impl<O, E> fmt::Debug for WorkflowHandle<O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkflowHandle({})", self.id)
    }
}

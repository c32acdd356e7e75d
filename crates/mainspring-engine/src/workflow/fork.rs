//! Forks, rewinds and retries: what is recorded up to a step is kept, and the rest is done anew.
//!
//! A fork is an execution of its own, whatever became of the first one. A rewind is the same execution, so it must not be
//! over. A retry is the fork of one that failed, under an id that follows from the first one's: there is one at most.

use std::{future::IntoFuture, marker::PhantomData};

use mainspring_core::{
    Available, BoxFuture, Changes, Error, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, MessageId,
    Result,
    event::kind,
    flow::{Drive, wake_message},
};
use serde_json::{Value, json};

use super::{
    Back, INPUT, WorkflowHandle,
    handle::version_in_row,
    is_workflow,
    past::{SEED, SEED_AT, open_children, place, rewound, shared, standing},
    start::first_changes,
};
use crate::{CancelRequest, Engine, again::retry_of, engine::Inner};

/// Most events that a fork copies.
const MOST_EVENTS: usize = 10_000;

/// A fork about to be made; await it. See [`WorkflowHandle::fork`].
#[must_use = "nothing is forked until this is awaited"]
pub struct Fork<O, E> {
    engine: Engine,
    from: ExecutionId,
    back: Back,
    id: Option<String>,
    version: Option<String>,
    types: PhantomData<fn() -> (O, E)>,
}

impl<O, E> WorkflowHandle<O, E> {
    /// Another execution that shares what this one has recorded before a step, and does the rest anew:
    /// `handle.fork("charge").await?`. Signals, tokens and children that are not over stay with this one. A copy of its
    /// history, so at most 10,000 events.
    pub fn fork(&self, back: impl Into<Back>) -> Fork<O, E> {
        let (engine, from) = (self.engine().clone(), self.id().clone());
        Fork { engine, from, back: back.into(), id: None, version: None, types: PhantomData }
    }

    /// Goes back to just before a step: what was recorded since no longer counts, what came in since is there again. A child
    /// that began since and is not over is cancelled.
    ///
    /// # Errors
    /// Not found: the execution, or a step of which nothing is recorded. Conflict when it is over or about to be cancelled
    /// ([fork](Self::fork) it), or when its driver was faster: try again.
    pub async fn rewind(&self, back: impl Into<Back>) -> Result<()> {
        let id = self.execution().await?.id;
        self.engine().0.rewind(&id, &back.into()).await
    }

    /// Takes up an execution that failed, or was cancelled, where it failed: a [fork](Self::fork) from before the last step
    /// that failed, with the id `<id>-retry`. A second retry finds the first one.
    ///
    /// # Errors
    /// Conflict when it neither failed nor was cancelled; otherwise as a fork.
    pub async fn retry(&self) -> Result<Self> {
        let execution = self.execution().await?;
        let (id, created) = self.engine().0.retry(&execution).await?;
        Ok(Self::new(self.engine().clone(), id, created))
    }
}

impl<O, E> Fork<O, E> {
    /// The fork's id. Defaults to a generated one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The version of the code that the fork runs. Defaults to that of the first one.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version_in_row(version));
        self
    }

    async fn make(self) -> Result<WorkflowHandle<O, E>> {
        let id = match self.id {
            Some(id) => ExecutionId::new(id)?,
            None => ExecutionId::generate(),
        };
        let inner = &self.engine.0;
        let found = inner.load(&self.from).await?;
        let from = found.ok_or_else(|| Error::not_found("execution", &self.from))?;
        inner.fork(&from, &self.back, id.clone(), self.version).await?;
        Ok(WorkflowHandle::new(self.engine.clone(), id, true))
    }
}

impl<O: Send + 'static, E: Send + 'static> IntoFuture for Fork<O, E> {
    type Output = Result<WorkflowHandle<O, E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// Makes it, to be driven by a worker.
    ///
    /// # Errors
    /// Not found: the execution, or a step of which nothing is recorded. Conflict when it is one of a flow, or the id is
    /// taken; invalid when more than 10,000 events would be copied.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}

impl Inner {
    async fn fork(
        &self,
        from: &Execution,
        back: &Back,
        id: ExecutionId,
        version: Option<String>,
    ) -> Result<()> {
        refuse_flow(from)?;
        let history = standing(self.history(from).await?);
        let cut = place(&history, back)?;
        let created = history.iter().find(|event| event.event.event_type == kind::EXECUTION_CREATED);
        let first = created.map(|event| event.event.data.clone()).unwrap_or_default();
        let input = first.get(INPUT).cloned().unwrap_or_default();
        let events = shared(history, cut);
        if events.len() > MOST_EVENTS {
            let problem = format!("{} events are over {MOST_EVENTS}", events.len());
            return Err(Error::invalid("fork", problem));
        }
        let version = version.unwrap_or_else(|| from.flow_version.clone());
        let mut fork = Execution::new(id, &from.flow_id, &version, &from.flow_id);
        fork.tenant.clone_from(&from.tenant);
        fork.queue.clone_from(&from.queue);
        fork.metadata.clone_from(&from.metadata);
        fork.attributes.clone_from(&from.attributes);
        fork.timeouts = from.timeouts;
        let mut changes = first_changes(fork, input, Drive::Queue);
        if let Some(write) = changes.executions.first_mut() {
            if let Some(created) = write.events.first_mut() {
                created.data["forkedFrom"] = json!(from.id);
                created.data[SEED] = first.get(SEED).cloned().unwrap_or_else(|| json!(from.id));
                created.data[SEED_AT] = first.get(SEED_AT).cloned().unwrap_or_else(|| json!(from.created_at));
            }
            if !events.is_empty() {
                write.execution.context.remove(INPUT); // it is not the first drive that a fork saves
            }
            write.events.extend(events);
        }
        changes.check()?;
        self.commit(&changes).await.map(drop)
    }

    /// The id of the execution that takes up a failed one, and whether this call made it.
    pub(crate) async fn retry(&self, execution: &Execution) -> Result<(ExecutionId, bool)> {
        let id = retry_of(execution)?;
        match self.fork(execution, &Back::BeforeFailure, id.clone(), None).await {
            Err(error) if error.is_conflict() && self.load(&id).await?.is_some() => Ok((id, false)),
            result => result.map(|()| (id, true)),
        }
    }

    async fn rewind(&self, id: &ExecutionId, back: &Back) -> Result<()> {
        let found = self.load(id).await?;
        let mut execution = found.ok_or_else(|| Error::not_found("execution", id))?;
        refuse_flow(&execution)?;
        if execution.status.is_terminal() || execution.status == ExecutionStatus::Cancelling {
            return Err(Error::conflict(format!("execution `{id}` is {}", execution.status)));
        }
        let history = standing(self.history(&execution).await?);
        let from = place(&history, back)?;
        let children = open_children(&history, from);
        let message = MessageId::generate();
        execution.status = ExecutionStatus::Running;
        execution.wake_at = None;
        execution.wait_reason = None;
        execution.wait_started_at = None;
        execution.error = None;
        execution.holder = None;
        execution.driver = Some(message.clone());
        let wake = wake_message(&execution, message, Available::Now);
        let write = ExecutionWrite::update(execution, vec![rewound(from, back)]);
        let changes = Changes { executions: vec![write], messages: vec![wake], ..Changes::default() };
        self.commit(&changes).await?;
        self.running.cancel(id);
        for child in children {
            self.cancel(&child, &CancelRequest::from("its parent went back"), None).await?;
        }
        Ok(())
    }
}

fn refuse_flow(execution: &Execution) -> Result<()> {
    if is_workflow(execution) {
        return Ok(());
    }
    Err(Error::conflict(format!("execution `{}` is one of a flow, which cannot go back", execution.id)))
}

/// What a fork derives its random numbers from.
pub(super) fn seed(created: &Value) -> Option<(ExecutionId, mainspring_core::Timestamp)> {
    let id = created.get(SEED)?.as_str()?;
    let at = created.get(SEED_AT)?.as_str()?.parse().ok()?;
    Some((ExecutionId::from_stored(id.to_owned()), at))
}

//! Executions of flows again: what failed from the step where it failed, or any from one of its steps, as a new execution.

use mainspring_core::{
    Error, Execution, ExecutionId, ExecutionStatus, Result,
    flow::{Drive, created},
};
use serde_json::json;

use crate::{Engine, engine::Inner, workflow::is_workflow};

impl Engine {
    /// Takes up an execution of a flow that failed, or was cancelled, at the step where it stood, with its context as it is, as a
    /// new one that is called `<id>-retry`; a second time it finds that. Workflows have
    /// [a retry of their own](crate::WorkflowHandle::retry).
    ///
    /// # Errors
    /// Not found; conflict when it neither failed nor was cancelled, or is a workflow's.
    pub async fn retry_flow(&self, id: &ExecutionId) -> Result<ExecutionId> {
        let execution = self.0.of_flow(id).await?;
        Ok(self.0.retry_flow(&execution).await?.0)
    }

    /// Another execution of the same version of a flow that begins with `step`, else with its first one, with the context as it is
    /// now. `new_id` is its id, else one is made.
    ///
    /// # Errors
    /// Not found; conflict when it is a workflow's, or the new id is taken; invalid when the flow has no such step.
    pub async fn fork_flow(
        &self,
        id: &ExecutionId,
        step: Option<&str>,
        new_id: Option<ExecutionId>,
    ) -> Result<ExecutionId> {
        let execution = self.0.of_flow(id).await?;
        let new_id = new_id.unwrap_or_else(ExecutionId::generate);
        self.0.fork_flow(&execution, step, new_id.clone()).await?;
        Ok(new_id)
    }
}

impl Inner {
    async fn of_flow(&self, id: &ExecutionId) -> Result<Execution> {
        let execution = self.load(id).await?.ok_or_else(|| Error::not_found("execution", id))?;
        match is_workflow(&execution) {
            true => Err(Error::conflict(format!("execution `{id}` is a workflow's"))),
            false => Ok(execution),
        }
    }

    /// The id of the execution that takes up one of a flow, and whether this call made it.
    pub(crate) async fn retry_flow(&self, execution: &Execution) -> Result<(ExecutionId, bool)> {
        let id = retry_of(execution)?;
        match self.fork_flow(execution, Some(&execution.current_step), id.clone()).await {
            Err(error) if error.is_conflict() && self.load(&id).await?.is_some() => Ok((id, false)),
            result => result.map(|()| (id, true)),
        }
    }

    async fn fork_flow(&self, from: &Execution, step: Option<&str>, id: ExecutionId) -> Result<()> {
        let found =
            self.patiently(|| self.flows.get(&*self.backend, &from.flow_id, &from.flow_version)).await?;
        let name = format!("{}@{}", from.flow_id, from.flow_version);
        let flow = found.ok_or_else(|| Error::not_found("flow", &name))?;
        let step = step.unwrap_or(&flow.initial_step_id);
        if !flow.steps.contains_key(step) {
            let problem = format!("flow `{name}` has no step `{}`", step.escape_debug());
            return Err(Error::invalid("step", problem));
        }
        let mut fork = Execution::new(id, &flow.id, &flow.version, step);
        fork.tenant.clone_from(&from.tenant);
        fork.queue.clone_from(&from.queue);
        fork.context.clone_from(&from.context);
        fork.metadata.clone_from(&from.metadata);
        fork.attributes.clone_from(&from.attributes);
        fork.timeouts = from.timeouts;
        let mut changes = created(fork, Drive::Queue);
        if let Some(event) = changes.executions.first_mut().and_then(|write| write.events.first_mut()) {
            event.data["forkedFrom"] = json!(from.id);
        }
        self.commit(&changes).await.map(drop)
    }
}

/// What takes up one that failed or was cancelled is called, so that a second retry finds the first.
///
/// # Errors
/// Conflict when it did neither.
pub(crate) fn retry_of(execution: &Execution) -> Result<ExecutionId> {
    if !matches!(execution.status, ExecutionStatus::Failed | ExecutionStatus::Cancelled) {
        let problem = format!(
            "execution `{}` is {}; only what failed or was cancelled is retried",
            execution.id, execution.status
        );
        return Err(Error::conflict(problem));
    }
    ExecutionId::new(format!("{}-retry", execution.id))
}

//! Payloads for hooks, whoever has them: a run whose code is called, or a workflow of the engine.

use mainspring_core::{Error, ErrorKind, ExecutionId, NewMessage, Result, TokenSecret};
use serde_json::Value;

use super::World;
use crate::{Fact, Resolve, RunEvent};

impl World {
    /// Brings a payload to the hook that has this token; the run that gets it. The payload and the message that wakes the run
    /// are one commit.
    ///
    /// # Errors
    /// Not found when no hook has it, without saying which; expired when the run is over.
    pub async fn resume_hook(&self, token: &str, payload: impl Into<Value>) -> Result<ExecutionId> {
        let payload = payload.into();
        if let Ok(secret) = token.parse::<TokenSecret>() {
            return match self.0.engine.resume(&secret, payload).await {
                Ok(execution) => Ok(execution.id),
                Err(error) if error.is_not_found() => {
                    Err(Error::new(ErrorKind::NotFound, "no hook has this token"))
                }
                Err(error) => Err(error),
            };
        }
        let storage = &self.0.storage;
        let hook = storage.hooks().get_by_token(token, Resolve::None).await?;
        let run = storage.runs().get(&hook.run_id, Resolve::None).await?;
        let wake = self.flow_message(&run.workflow_name, &run.run_id)?;
        self.ready().await?;
        let received = RunEvent::about(hook.hook_id, Fact::HookReceived { payload: Some(payload) });
        storage.events().create_with(Some(&hook.run_id), received, vec![wake]).await?;
        Ok(hook.run_id)
    }

    /// The message that calls the code of a run.
    ///
    /// # Errors
    /// Invalid, when no queue can have the name of the workflow.
    pub fn flow_message(&self, workflow_name: &str, run: &ExecutionId) -> Result<NewMessage> {
        self.0.names.calls.flow(workflow_name, run)
    }

    /// The message that calls a step of a run; the same step has one however often it is pushed.
    ///
    /// # Errors
    /// Invalid, when no queue can have the name of the step.
    pub fn step_message(
        &self,
        workflow_name: &str,
        run: &ExecutionId,
        step_name: &str,
        step_id: &str,
    ) -> Result<NewMessage> {
        self.0.names.calls.step(workflow_name, run, step_name, step_id)
    }
}

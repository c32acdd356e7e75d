//! Calls that are given up: the dead letter and the end of the run are one commit, so nobody waits for a run that nothing calls.

use std::time::Duration;

use mainspring_core::{Delivery, Error, ExecutionId, Failure, Result, Settle, Settlement, limits};
use mainspring_http::MessageData;
use mainspring_worker::{Verdict, jittered};
use serde_json::Value;
use tokio::time::sleep;

use super::{World, calls::CallDeliver};
use crate::Fault;

/// The code of the error of a run whose call was given up.
const GIVEN_UP: &str = "CALL_GIVEN_UP";
/// The first pause after a run could not be marked failed, and the longest.
const SOON: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(30);

impl World {
    /// Fails the run that this message calls, with the code `CALL_GIVEN_UP`: for a [`Transport`](super::Transport) that gives a
    /// message up. What the world's own queue gives up fails its run by itself. A run that is over is left alone, as is what is
    /// no message of a run.
    ///
    /// # Errors
    /// Those of the backend; the run goes on then, and this is to be asked again.
    pub async fn give_up(&self, message: &MessageData, why: Failure) -> Result<()> {
        let Some(run) = run_of(&message.data) else { return Ok(()) };
        let fault = fault(&message.message_id, message.attempt, &why);
        match self.storage().fail(&run, fault, None).await {
            Err(error) if !is_left_alone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

impl CallDeliver {
    /// Dead-letters a message and fails its run. When the run cannot be marked failed now, the message stays claimed until it can.
    pub(super) async fn give_up(&self, delivery: &Delivery, attempts: u32, why: Failure) -> Verdict {
        let fault = fault(delivery.message.id.as_str(), attempts, &why);
        let dead = Settlement::DeadLetter(why);
        let Some(run) = run_of(&delivery.message.data["data"]) else { return dead.into() };
        let settle = Settle::new(delivery.lease.clone(), dead.clone());
        let mut pause = SOON;
        loop {
            match self.storage.fail(&run, fault.clone(), Some(settle.clone())).await {
                Ok(()) => return Verdict::Committed,
                Err(error) if error.is_fenced() => return Verdict::Abandoned,
                Err(error) if is_left_alone(&error) => return dead.into(),
                Err(error) => {
                    tracing::warn!(%run, error = %error.chain(), "a run whose call is given up cannot be marked failed now");
                }
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LATE);
        }
    }
}

/// Why a run failed whose call was given up.
pub(super) fn fault(message: &str, attempts: u32, why: &Failure) -> Fault {
    let times = if attempts == 1 { "attempt" } else { "attempts" };
    let Failure { code, message: problem, .. } = why;
    let text = format!("message `{message}` was given up after {attempts} {times}: {code}: {problem}");
    Fault { code: Some(GIVEN_UP.to_owned()), ..Fault::new(limits::clip_error(&text)) }
}

/// The run that a message calls, itself or one of its steps.
fn run_of(payload: &Value) -> Option<ExecutionId> {
    let id = payload.get("runId").or_else(|| payload.get("workflowRunId"))?;
    ExecutionId::new(id.as_str()?).ok()
}

/// Whether there is nothing to mark failed: no such run, or one that is over, being cancelled, the engine's, or of other rules.
pub(super) fn is_left_alone(error: &Error) -> bool {
    error.is_not_found() || error.is_conflict() || error.is_expired() || error.is_invalid()
}

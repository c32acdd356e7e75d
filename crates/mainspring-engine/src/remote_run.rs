//! The other side of a step that is done elsewhere: on what terms its job runs, and how its end reaches the workflow.

use std::time::Duration;

use mainspring_core::{
    Append, Delivery, Failure, Job, NewEvent,
    event::kind,
    flow::{RetryPolicy, code},
    nul,
};
use mainspring_worker::retry_delay;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{HandlerError, workflow::inbox_of};

/// On what terms a job runs; in the data of its message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<RetryPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

/// In the data of the message: it is a step of a workflow.
const STEP: &str = "step";

impl Terms {
    pub(crate) fn data(&self) -> Value {
        json!({STEP: self})
    }

    /// The terms of a delivery; those of a flow's job have none.
    pub(crate) fn of(delivery: &Delivery) -> Self {
        let terms = delivery.message.data.get(STEP).cloned();
        terms.and_then(|terms| serde_json::from_value(terms).ok()).unwrap_or_default()
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    /// How long to wait before another run; `None` when there is to be none.
    pub(crate) fn again(&self, job: &Job, error: &HandlerError) -> Option<Duration> {
        if error.terminal || !job.may_retry() {
            return None;
        }
        let retries = job.attempts.saturating_sub(job.lost + 1);
        let wanted = match &self.retry {
            Some(policy) if !policy.allows(&error.failure.code, retries) => return None,
            Some(policy) => policy.delay(retries),
            None => retry_delay(retries),
        };
        Some(error.delay.unwrap_or(wanted))
    }
}

/// Whether a delivery is a copy of the message that runs the job, under another id.
pub(crate) fn is_copy(delivery: &Delivery) -> bool {
    let message = &delivery.message;
    message.data.get(STEP).is_some() && message.subject.as_deref() != Some(message.id.as_str())
}

/// Whether it is a step that a workflow called.
pub(crate) fn is_called(job: &Job) -> bool {
    job.reply.as_ref().is_some_and(|reply| reply.inbox.is_some())
}

/// What the handler is given.
pub(crate) fn input_of(job: &Job) -> Value {
    if is_called(job) { nul::unescape(job.input.clone()) } else { job.input.clone() }
}

/// Where the end of a called step is told; the same for every time it is told.
pub(crate) fn told(job: &Job, outcome: &Result<Value, Failure>) -> Option<Append> {
    let reply = job.reply.as_ref()?;
    let key = reply.inbox.as_ref()?;
    let (kind, fact) = match outcome {
        Ok(result) => (kind::JOB_COMPLETED, json!({"result": result})),
        Err(failure) => (kind::JOB_FAILED, json!({"failure": failure})),
    };
    let mut event = NewEvent::new(kind, fact).about(key.clone());
    event.causation_id = Some(job.id.to_string());
    let append = Append::to(inbox_of(&reply.to), vec![event]);
    Some(Append { tenant: job.tenant.clone(), ..append })
}

/// The failure of a run that took too long.
pub(crate) fn too_slow(longest: Duration) -> HandlerError {
    HandlerError::new(code::TIMEOUT, format!("took longer than {longest:?}"))
}

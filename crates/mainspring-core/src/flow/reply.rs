//! The end of a job or of a child, which the waiting step takes as its own outcome.

use serde_json::{Value, json};

use super::{Advance, Flow, StepOutcome, StepResult, advance::Walk, call, code, lifecycle, state};
use crate::{
    ContextLimits, Error, Execution, ExecutionId, ExecutionStatus, Failure, Job, JobId, JobStatus, NewEvent,
    Result, Timestamp, event::kind,
};

/// How a job or a child ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A job.
    Job {
        /// Which.
        id: JobId,
        /// Its result, or why it failed.
        outcome: Result<Value, Failure>,
    },
    /// A child execution.
    Child {
        /// Which.
        id: ExecutionId,
        /// What the step is to have as its output, or why the child did not complete.
        outcome: Result<Value, Failure>,
    },
}

impl Answer {
    /// The answer of a job; `None` while it is not terminal.
    pub fn of_job(job: &Job) -> Option<Self> {
        let outcome = match job.status {
            JobStatus::Pending | JobStatus::Running => return None,
            JobStatus::Completed => Ok(job.result.clone().unwrap_or_default()),
            JobStatus::Failed => Err(job
                .error
                .clone()
                .unwrap_or_else(|| Failure::new(code::JOB_FAILED, "the job left no error"))),
            JobStatus::Cancelled => Err(Failure::new(code::CANCELLED, "the job was cancelled")),
        };
        Some(Self::Job { id: job.id.clone(), outcome })
    }

    /// The answer of a child: its id and its context, or why it did not complete. `None` while it is not terminal.
    pub fn of_child(child: &Execution) -> Option<Self> {
        let outcome = match child.status {
            ExecutionStatus::Completed => Ok(json!({
                "childExecutionId": child.id,
                "flowId": child.flow_id,
                "status": child.status,
                "context": child.context,
            })),
            ExecutionStatus::Failed => Err(child
                .error
                .clone()
                .unwrap_or_else(|| Failure::new(code::STEP_FAILED, "the child left no error"))),
            ExecutionStatus::Cancelled => Err(Failure::new(code::CANCELLED, "the child was cancelled")),
            _ => return None,
        };
        Some(Self::Child { id: child.id.clone(), outcome })
    }

    fn into_parts(self) -> (NewEvent, &'static str, StepOutcome) {
        match self {
            Self::Job { id, outcome: Ok(output) } => {
                let event = NewEvent::new(kind::JOB_COMPLETED, json!({"jobId": id}));
                (event, "job", StepOutcome::Success(output))
            }
            Self::Job { id, outcome: Err(failure) } => {
                let failure = state::storable(failure, code::JOB_FAILED);
                let event = NewEvent::new(kind::JOB_FAILED, json!({"jobId": id, "code": failure.code}));
                (event, "job", StepOutcome::Failure(failure))
            }
            Self::Child { id, outcome: Ok(output) } => {
                let data = json!({"childExecutionId": id, "status": ExecutionStatus::Completed});
                (NewEvent::new(kind::CHILD_FINISHED, data), "child", StepOutcome::Success(output))
            }
            Self::Child { id, outcome: Err(cause) } => {
                let cause = state::storable(cause, code::STEP_FAILED);
                let cancelled = cause.code == code::CANCELLED;
                let status = if cancelled { ExecutionStatus::Cancelled } else { ExecutionStatus::Failed };
                let event = NewEvent::new(
                    kind::CHILD_FINISHED,
                    json!({"childExecutionId": id, "status": status, "code": cause.code}),
                );
                let mut failure = Failure::new(code::CHILD_FAILED, format!("child `{id}`: {cause}"));
                failure.details = json!({"childExecutionId": id, "code": cause.code});
                (event, "child", StepOutcome::Failure(failure))
            }
        }
    }
}

/// The step that waited for a job or a child goes on as if it had returned their outcome. It is no further step: nothing is
/// counted, and `step.started` stands where it began.
///
/// # Errors
/// Conflict when the execution does not wait for a job or a child.
pub fn replied(
    flow: &Flow,
    execution: Execution,
    answer: Answer,
    limits: &ContextLimits,
    now: Timestamp,
) -> Result<Advance> {
    if !state::awaits_reply(&execution) {
        return Err(Error::conflict(format!(
            "execution `{}` does not wait for a job or a child",
            execution.id
        )));
    }
    let (event, from, outcome) = answer.into_parts();
    let events = vec![event.about(execution.current_step.clone()), lifecycle::resumed_event(from)];
    let step = match call::find(flow, &execution) {
        Ok(step) => step,
        Err(failure) => return Ok(lifecycle::lost(execution, events, failure, now)),
    };
    let walk = Walk::new(flow, step, execution, events, limits, now);
    Ok(walk.take(StepResult::new(outcome, now)))
}

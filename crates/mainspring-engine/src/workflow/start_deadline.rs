//! Schedule to start: how long an execution may wait for a worker.
//!
//! The time stands in the row's context until the execution's first commit, and a message of high priority comes due with it.
//! Such an execution claims itself in a commit before its first step, so that one that runs is never taken for one that waits.

use std::time::Duration;

use mainspring_core::{
    Available, CancelSource, Execution, ExecutionStatus, MessageId, NewEvent, NewMessage, Result, Timestamp,
    event::kind, flow::wake_message, limits,
};
use serde_json::{Value, json};

use crate::{cancel::CancelRequest, engine::Inner};

/// In the row's context: until when it has to begin.
pub(super) const START_BY: &str = "startBy";

/// Notes the time in the row; the message that comes due then.
pub(super) fn set_start_deadline(
    execution: &mut Execution,
    longest: Duration,
    now: Timestamp,
) -> Result<NewMessage> {
    limits::check_duration("start_within", longest)?;
    execution.context.insert(START_BY.to_owned(), json!(now + longest));
    let mut message = wake_message(execution, MessageId::generate(), Available::After(longest));
    message.priority = Some(i16::MAX);
    Ok(message)
}

/// Until when an execution has to begin that has not.
pub(super) fn start_by(execution: &Execution) -> Option<Timestamp> {
    if execution.status != ExecutionStatus::Pending {
        return None;
    }
    execution.context.get(START_BY).and_then(Value::as_str).and_then(|at| at.parse().ok())
}

impl Inner {
    /// Cancels an execution that did not begin in time; whether it did so.
    pub(super) async fn cancel_unstarted(&self, execution: &Execution) -> Result<bool> {
        if start_by(execution).is_none_or(|at| at > self.backend.now()) {
            return Ok(false);
        }
        let why = NewEvent::new(kind::EXECUTION_TIMEOUT, json!({"what": "start"}));
        let reason = Some("no worker began with it in time".to_owned());
        let request = CancelRequest { source: CancelSource::Timeout, reason, clean_up: true };
        self.cancel(&execution.id, &request, Some(why)).await?;
        Ok(true)
    }
}

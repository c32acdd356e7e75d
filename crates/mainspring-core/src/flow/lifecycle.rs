//! What happens to an execution between its steps: it is created, woken, resumed, or found unable to go on.

use serde_json::{Value, json};

use super::{Advance, Then, state};
use crate::{
    Available, Changes, ContextLimits, Error, Execution, ExecutionStatus, ExecutionWrite, Failure, NewEvent,
    Result, Timestamp, TokenHash, TokenWrite, WorkerId, event::kind, limits, trace,
};

/// Who drives a new execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drive {
    /// Whoever claims the message pushed with it.
    Queue,
    /// This worker, at once and without a message.
    Here(WorkerId),
}

/// A new execution: pending until somebody claims its message, or running at once. Its metadata say in which
/// [trace](crate::trace) it is created, unless they do already.
pub fn created(mut execution: Execution, drive: Drive) -> Changes {
    let mut changes = Changes::default();
    if let Some(context) = trace::current() {
        context.stamp(&mut execution.metadata);
    }
    match drive {
        Drive::Queue => {
            execution.status = ExecutionStatus::Pending;
            changes.messages.push(state::drive(&mut execution, Available::Now));
        }
        Drive::Here(worker) => {
            execution.status = ExecutionStatus::Running;
            execution.driver = None;
            execution.holder = Some(worker);
        }
    }
    let mut data = json!({"flowId": execution.flow_id, "flowVersion": execution.flow_version});
    if let Some(parent) = &execution.parent {
        data["parentExecutionId"] = json!(parent);
    }
    let event = NewEvent::new(kind::EXECUTION_CREATED, data);
    changes.executions.push(ExecutionWrite::create(execution, vec![event]));
    changes
}

/// An execution whose time has come goes on. Nothing is written: the events go first into the history with the step that
/// follows. One that does not wait for a time is given back as it is.
pub fn woken(mut execution: Execution) -> (Execution, Vec<NewEvent>) {
    if execution.status != ExecutionStatus::Waiting || execution.wake_at.is_none() {
        return (execution, Vec::new());
    }
    state::run(&mut execution);
    (execution, vec![resumed_event("timer")])
}

/// Someone outside resumes a waiting execution with data, which it finds in its context as `resumeData`.
///
/// # Errors
/// Conflict when it does not wait, or waits for a job or a child; invalid when the data does not fit. A token that no longer
/// works is refused by the commit.
pub fn resumed(
    mut execution: Execution,
    data: Value,
    token: Option<TokenHash>,
    limits: &ContextLimits,
) -> Result<Changes> {
    if execution.status != ExecutionStatus::Waiting {
        let problem = format!("execution `{}` is {}, not waiting", execution.id, execution.status);
        return Err(Error::conflict(problem));
    }
    if state::awaits_reply(&execution) {
        let whom = execution.wait_reason.as_deref().unwrap_or("a job or a child");
        return Err(Error::conflict(format!(
            "execution `{}` waits for {whom}, not for a resume",
            execution.id
        )));
    }
    state::write(limits, &mut execution.context, vec![("resumeData".to_owned(), Some(data))], None)?;
    state::run(&mut execution);
    let mut changes = Changes::default();
    changes.messages.push(state::drive(&mut execution, Available::Now));
    let mut events = Vec::with_capacity(2);
    if let Some(hash) = token {
        events.push(NewEvent::new(kind::TOKEN_USED, json!({})));
        changes.tokens.push(TokenWrite::Consume(hash));
    }
    events.push(resumed_event(if token.is_some() { "token" } else { "resume" }));
    changes.executions.push(ExecutionWrite::update(execution, events));
    Ok(changes)
}

/// An execution that cannot go on: its flow or handler is gone, it ran too many steps, its input cannot be made. `before` are
/// events of the wake that led here.
pub fn failed(mut execution: Execution, before: Vec<NewEvent>, failure: Failure, now: Timestamp) -> Changes {
    let mut failure = state::storable(failure, super::code::STEP_FAILED);
    failure.timestamp = Some(now);
    failure.step_id.get_or_insert_with(|| execution.current_step.clone());
    let mut events = before;
    events.push(failed_event(&failure));
    execution.error = Some(failure);
    let mut changes = Changes::default();
    changes.messages.extend(state::end(&mut execution, ExecutionStatus::Failed));
    changes.executions.push(ExecutionWrite::update(execution, events));
    changes
}

/// [`failed`], for an execution that was on its way through a step.
pub(super) fn lost(execution: Execution, before: Vec<NewEvent>, failure: Failure, now: Timestamp) -> Advance {
    Advance { changes: failed(execution, before, failure, now), then: Then::Ended }
}

pub(super) fn failed_event(failure: &Failure) -> NewEvent {
    let message = limits::clip_error(&failure.message);
    NewEvent::new(
        kind::EXECUTION_FAILED,
        json!({"code": failure.code, "message": message, "stepId": failure.step_id}),
    )
}

/// `reason` is what ended the wait: `timer`, `resume`, `token`, `job` or `child`.
pub(super) fn resumed_event(reason: &str) -> NewEvent {
    NewEvent::new(kind::EXECUTION_RESUMED, json!({"reason": reason}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecutionId, MessageId, Reply, TokenSecret, flow::WAKE};

    fn waiting() -> Execution {
        let mut execution = Execution::new(ExecutionId::new("e1").unwrap(), "f", "1.0.0", "a");
        execution.status = ExecutionStatus::Waiting;
        execution.wait_reason = Some("you".to_owned());
        execution.wait_started_at = Some(Timestamp::MIN);
        execution
    }

    fn timed() -> Execution {
        Execution { wake_at: Some(Timestamp::MAX), driver: Some(MessageId::new("old").unwrap()), ..waiting() }
    }

    #[test]
    fn a_new_execution_is_driven_by_a_message_or_from_here() {
        // scenarios F17, F18, F44
        let new = || Execution::new(ExecutionId::new("e1").unwrap(), "f", "1.0.0", "a");
        let changes = created(new(), Drive::Queue);
        changes.check().unwrap();
        let write = &changes.executions[0];
        let wake = &changes.messages[0];
        assert_eq!((wake.message_type.as_str(), wake.subject.as_deref()), (WAKE, Some("e1")));
        assert_eq!(write.execution.driver.as_ref(), Some(&wake.id));
        assert_eq!((write.execution.status, write.events.len()), (ExecutionStatus::Pending, 1));
        assert_eq!(write.events[0].event_type, "execution.created");

        let worker = WorkerId::new("w1").unwrap();
        let changes = created(new(), Drive::Here(worker.clone()));
        let here = &changes.executions[0].execution;
        assert_eq!((here.status, &here.holder), (ExecutionStatus::Running, &Some(worker)));
        assert_eq!(changes.messages, []);
    }

    #[test]
    fn only_a_timed_wait_wakes_by_itself() {
        // scenario F03
        let (execution, events) = woken(timed());
        assert_eq!((execution.status, execution.wake_at), (ExecutionStatus::Running, None));
        assert_eq!((execution.wait_reason, execution.wait_started_at), (None, None));
        assert_eq!(events[0].event_type, "execution.resumed");
        for asleep in [waiting(), Execution { status: ExecutionStatus::Pending, ..waiting() }] {
            assert_eq!(woken(asleep.clone()), (asleep, Vec::new()));
        }
    }

    #[test]
    fn a_resume_brings_data_and_a_fresh_driver() {
        // scenarios F03, F52
        let hash = TokenSecret::generate().unwrap().hash();
        let limits = ContextLimits::default();
        for (execution, token, kinds) in [
            (waiting(), None, vec!["execution.resumed"]),
            (timed(), Some(hash), vec!["token.used", "execution.resumed"]),
        ] {
            let changes = resumed(execution, json!({"ok": true}), token, &limits).unwrap();
            changes.check().unwrap();
            let write = &changes.executions[0];
            assert_eq!(write.execution.context["resumeData"], json!({"ok": true}));
            assert_eq!((write.execution.status, write.execution.wake_at), (ExecutionStatus::Running, None));
            assert_eq!(write.execution.driver.as_ref(), Some(&changes.messages[0].id));
            assert_eq!(write.events.iter().map(|e| e.event_type.as_str()).collect::<Vec<_>>(), kinds);
            assert_eq!(changes.tokens, token.map(TokenWrite::Consume).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_resume_is_refused_where_nobody_waits_for_it() {
        let limits = ContextLimits::default();
        for status in ExecutionStatus::ALL.into_iter().filter(|s| *s != ExecutionStatus::Waiting) {
            let error = resumed(Execution { status, ..waiting() }, json!(1), None, &limits).unwrap_err();
            assert!(error.is_conflict() && error.to_string().contains(status.as_str()), "{error}");
        }
        let for_job = Execution { driver: Some(MessageId::generate()), ..waiting() };
        assert!(resumed(for_job, json!(1), None, &limits).unwrap_err().is_conflict());
        assert!(resumed(waiting(), json!("a\0"), None, &limits).unwrap_err().is_invalid());
    }

    #[test]
    fn a_failure_of_the_engine_ends_it_and_tells_who_waits() {
        // scenarios F14, F15
        let reply = Reply {
            message: MessageId::new("m9").unwrap(),
            to: ExecutionId::new("p").unwrap(),
            queue: "q".to_owned(),
            inbox: None,
        };
        let before = vec![resumed_event("timer")];
        let failure = Failure::new("FLOW_NOT_FOUND", "flow `f` 1.0.0 does not exist");
        let changes = failed(Execution { reply: Some(reply), ..timed() }, before, failure, Timestamp::MIN);
        changes.check().unwrap();
        let execution = &changes.executions[0].execution;
        assert_eq!(
            (execution.status, &execution.driver, execution.wake_at),
            (ExecutionStatus::Failed, &None, None)
        );
        assert_eq!(execution.error.as_ref().and_then(|e| e.step_id.as_deref()), Some("a"));
        assert_eq!(changes.executions[0].events[1].event_type, "execution.failed");
        assert_eq!(changes.messages[0].id.as_str(), "m9");
    }
}

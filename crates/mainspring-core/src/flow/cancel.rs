//! Cancelling: an execution and its whole family end, whatever they were doing.

use serde_json::json;

use super::state;
use crate::{
    CancelSource, Cancellation, Changes, Execution, ExecutionStatus, ExecutionWrite, JobWrite, NewEvent,
    Timestamp, TokenWrite, event::kind, limits,
};

/// Only the intent, for an execution that is being driven: it is not to take another step. Who cancels it and why is kept for
/// [`cancelled`].
pub fn cancelling(
    mut execution: Execution,
    source: CancelSource,
    reason: Option<&str>,
    now: Timestamp,
) -> Changes {
    let record = record(source, reason, now);
    let event = NewEvent::new(kind::EXECUTION_CANCELLING, told(&record));
    execution.status = ExecutionStatus::Cancelling;
    state::clear_wait(&mut execution);
    execution.cancellation = Some(record);
    Changes { executions: vec![ExecutionWrite::update(execution, vec![event])], ..Changes::default() }
}

/// The end of an execution and of all its descendants: the one that was asked for first. Those that are terminal already
/// are left alone. Contexts stay as they were.
///
/// Their tokens and jobs go with them. Only the first one answers who waits for it; the others' parents end here too.
pub fn cancelled(
    executions: Vec<Execution>,
    source: CancelSource,
    reason: Option<&str>,
    now: Timestamp,
) -> Changes {
    let mut changes = Changes::default();
    for (i, mut execution) in executions.into_iter().enumerate() {
        if execution.status.is_terminal() {
            continue;
        }
        let asked = if i == 0 {
            record(source, reason, now)
        } else {
            record(CancelSource::Parent, Some("Parent cancelled"), now)
        };
        let record = execution.cancellation.take().unwrap_or(asked);
        let event = NewEvent::new(kind::EXECUTION_CANCELLED, told(&record));
        execution.cancellation = Some(record);
        let answer = state::end(&mut execution, ExecutionStatus::Cancelled);
        if i == 0 {
            changes.messages.extend(answer);
        }
        changes.tokens.push(TokenWrite::RevokeAll(execution.id.clone()));
        changes.jobs.push(JobWrite::CancelAll(execution.id.clone()));
        changes.executions.push(ExecutionWrite::update(execution, vec![event]));
    }
    changes
}

fn record(source: CancelSource, reason: Option<&str>, now: Timestamp) -> Cancellation {
    Cancellation { source, reason: reason.map(limits::clip_error), cancelled_at: now }
}

fn told(record: &Cancellation) -> serde_json::Value {
    json!({"source": record.source, "reason": record.reason})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecutionId, MessageId, Reply};

    fn execution(id: &str, status: ExecutionStatus) -> Execution {
        let mut execution = Execution::new(ExecutionId::new(id).unwrap(), "f", "1.0.0", "a");
        execution.status = status;
        execution.driver = Some(MessageId::generate());
        let to = ExecutionId::new("above").unwrap();
        execution.reply =
            Some(Reply { message: MessageId::generate(), to, queue: "q".to_owned(), inbox: None });
        execution
    }

    #[test]
    fn a_family_ends_together() {
        // scenarios F06, F09, F10
        let mut root = execution("root", ExecutionStatus::Waiting);
        root.wake_at = Some(Timestamp::MAX);
        root.context.insert("k".to_owned(), json!(1));
        let family = vec![
            root.clone(),
            execution("child", ExecutionStatus::Running),
            execution("done", ExecutionStatus::Completed),
        ];
        let changes = cancelled(family, CancelSource::User, Some("changed my\0 mind"), Timestamp::MIN);
        changes.check().unwrap();
        let ends: Vec<_> =
            changes.executions.iter().map(|w| w.execution.cancellation.clone().unwrap()).collect();
        assert_eq!(ends.len(), 2);
        assert_eq!(
            (ends[0].source, ends[0].reason.as_deref()),
            (CancelSource::User, Some("changed my mind"))
        );
        assert_eq!(
            (ends[1].source, ends[1].reason.as_deref()),
            (CancelSource::Parent, Some("Parent cancelled"))
        );
        for write in &changes.executions {
            assert_eq!(
                (write.execution.status, &write.execution.driver),
                (ExecutionStatus::Cancelled, &None)
            );
            assert_eq!((write.execution.wake_at, write.events.len()), (None, 1));
        }
        assert_eq!(changes.executions[0].execution.context, root.context);
        assert_eq!((changes.tokens.len(), changes.jobs.len()), (2, 2));
        assert_eq!(changes.messages.len(), 1);
        assert_eq!(changes.messages[0].id, root.reply.unwrap().message);
    }

    #[test]
    fn an_intent_keeps_who_asked_and_why() {
        // scenarios F06, F08
        let changes = cancelling(
            execution("e", ExecutionStatus::Running),
            CancelSource::Timeout,
            Some("too slow"),
            Timestamp::MIN,
        );
        changes.check().unwrap();
        let asked = changes.executions[0].execution.clone();
        assert_eq!((asked.status, changes.messages.len()), (ExecutionStatus::Cancelling, 0));
        assert!(asked.driver.is_some());
        let ended = cancelled(vec![asked], CancelSource::System, None, Timestamp::MAX);
        let record = ended.executions[0].execution.cancellation.clone().unwrap();
        assert_eq!((record.source, record.reason.as_deref()), (CancelSource::Timeout, Some("too slow")));
    }
}

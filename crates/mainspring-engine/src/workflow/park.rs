//! What a driver decided, as changes to commit: steps taken, parked, or over.

use mainspring_core::{
    Available, Changes, Execution, ExecutionStatus, ExecutionWrite, Failure, JobWrite, MessageId,
    MessageLease, NewEvent, Settle, Settlement, Timestamp, TokenWrite,
    event::kind,
    flow::{Drive, reply_message, wake_message},
    limits,
};
use serde_json::{Map, Value, json};

use super::{
    CONTINUED, ERROR, OUTPUT, WORKFLOW_ERROR, register::Returned, start::first_changes, state::Batch,
};
use crate::drive::Seat;

/// How the execution goes on.
pub(crate) enum Then {
    Run,
    Park {
        until: Option<Timestamp>,
        reason: String,
        error: Option<Failure>,
    },
    End(Returned),
    /// As a new execution with this input.
    Again(Value),
}

/// The changes that make `batch` durable. `context` is the row's as it is to be.
pub(crate) fn changes(
    execution: Execution,
    batch: Batch,
    context: Map<String, Value>,
    then: Then,
    has_tokens: bool,
    seat: Option<&Seat>,
    now: Timestamp,
) -> Changes {
    let driver = seat.map(|seat| seat.message.clone());
    let lease = seat.map(|seat| seat.lease.clone());
    changes_of(execution, batch, context, then, has_tokens, driver, lease, now)
}

/// [`changes`], for the message `driver` that is held under `lease`.
#[allow(clippy::too_many_arguments, reason = "the parts of one decision, taken from two places")]
pub(crate) fn changes_of(
    mut execution: Execution,
    batch: Batch,
    context: Map<String, Value>,
    then: Then,
    has_tokens: bool,
    driver: Option<MessageId>,
    lease: Option<MessageLease>,
    now: Timestamp,
) -> Changes {
    let cleaning = execution.status == ExecutionStatus::Cancelling;
    let Batch { mut events, steps, last, children, messages, tokens, jobs, outputs, attributes } = batch;
    let mut changes = Changes { messages, tokens, jobs, outputs, ..Changes::default() };
    let over = matches!(then, Then::End(_) | Then::Again(_));
    execution.context = context;
    execution.attributes.extend(attributes);
    execution.step_count = execution.step_count.saturating_add(steps);
    if let Some(last) = last {
        execution.current_step = last;
    }
    execution.wake_at = None;
    execution.wait_reason = None;
    execution.wait_started_at = None;
    execution.error = None;
    let mut settlement = None;
    match then {
        Then::Run => {
            if !cleaning {
                execution.status = ExecutionStatus::Running;
            }
            if driver.is_some() {
                execution.driver = driver;
                execution.holder = None;
            }
        }
        Then::Park { until, reason, error } => {
            if !cleaning {
                execution.status = ExecutionStatus::Waiting;
                execution.wake_at = until;
            }
            execution.wait_reason = Some(limits::clip_error(&reason));
            execution.wait_started_at = Some(now);
            if let Some(failure) = &error {
                let data =
                    json!({"code": failure.code, "message": failure.message, "details": failure.details});
                events.push(NewEvent::new(kind::EXECUTION_WAITING, data));
            }
            execution.error = error;
            execution.holder = None;
            execution.driver = match (until, driver) {
                (None, _) => None,
                (Some(_), Some(driver)) => Some(driver),
                (Some(at), None) => {
                    let message = MessageId::generate();
                    changes.messages.push(wake_message(&execution, message.clone(), Available::At(at)));
                    Some(message)
                }
            };
            settlement = Some(until.map_or(Settlement::Done, Settlement::SnoozeUntil));
        }
        Then::End(returned) if cleaning => {
            changes.jobs.push(JobWrite::CancelAll(execution.id.clone()));
            let told = end_cancelled(&mut execution, returned, now, &mut events);
            changes.messages.extend(told);
        }
        Then::End(returned) => {
            let told = end(&mut execution, returned, now, &mut events);
            changes.messages.extend(told);
        }
        Then::Again(input) => {
            let next = successor(&execution);
            let id = next.id.clone();
            let mut first = first_changes(next, input, Drive::Queue);
            changes.messages.append(&mut first.messages);
            changes.executions.append(&mut first.executions);
            finish(&mut execution, ExecutionStatus::Completed);
            execution.context.insert(CONTINUED.to_owned(), json!(id));
            events.push(NewEvent::new(kind::EXECUTION_COMPLETED, json!({CONTINUED: id})));
        }
    }
    if over {
        settlement = Some(Settlement::Done);
        if has_tokens {
            changes.tokens.retain(|token| !matches!(token, TokenWrite::Create(_)));
            changes.tokens.push(TokenWrite::RevokeAll(execution.id.clone()));
        }
    }
    changes.executions.insert(0, ExecutionWrite::update(execution, events));
    changes.executions.extend(children);
    changes.settle = settlement.zip(lease).map(|(settlement, lease)| Settle::new(lease, settlement));
    changes
}

fn finish(execution: &mut Execution, status: ExecutionStatus) {
    execution.status = status;
    execution.driver = None;
    execution.holder = None;
}

fn end(
    execution: &mut Execution,
    returned: Returned,
    now: Timestamp,
    events: &mut Vec<NewEvent>,
) -> Option<mainspring_core::NewMessage> {
    let failure = match returned {
        Returned::Output(output) => {
            finish(execution, ExecutionStatus::Completed);
            execution.context.insert(OUTPUT.to_owned(), output);
            events.push(NewEvent::new(kind::EXECUTION_COMPLETED, json!({})));
            None
        }
        Returned::App(error) => {
            let mut failure = Failure::new(WORKFLOW_ERROR, error.to_string());
            failure.details = json!({ERROR: error});
            Some(failure)
        }
        Returned::Broken(failure) => Some(failure),
    };
    if let Some(mut failure) = failure {
        failure.timestamp = Some(now);
        failure.message = limits::clip_error(&failure.message);
        failure.step_id.get_or_insert_with(|| execution.current_step.clone());
        finish(execution, ExecutionStatus::Failed);
        let data = json!({"code": failure.code, "message": failure.message, "stepId": failure.step_id});
        events.push(NewEvent::new(kind::EXECUTION_FAILED, data));
        execution.error = Some(failure);
    }
    answer(execution)
}

/// Whoever waits for the execution is told that it has ended.
fn answer(execution: &Execution) -> Option<mainspring_core::NewMessage> {
    let data = json!({"child": execution.id});
    execution.reply.as_ref().map(|reply| reply_message(reply, &execution.tenant, data))
}

/// It has cleaned up after itself; what went wrong with that stays in its row.
fn end_cancelled(
    execution: &mut Execution,
    returned: Returned,
    now: Timestamp,
    events: &mut Vec<NewEvent>,
) -> Option<mainspring_core::NewMessage> {
    if let Returned::Broken(mut failure) = returned {
        failure.timestamp = Some(now);
        failure.message = limits::clip_error(&failure.message);
        execution.error = Some(failure);
    }
    finish(execution, ExecutionStatus::Cancelled);
    let record = execution.cancellation.as_ref();
    let (source, reason) = (record.map(|record| record.source), record.map(|record| &record.reason));
    events.push(NewEvent::new(kind::EXECUTION_CANCELLED, json!({"source": source, "reason": reason})));
    answer(execution)
}

/// The execution that goes on for this one: who waits for this one waits for it.
fn successor(execution: &Execution) -> Execution {
    let id = mainspring_core::ExecutionId::generate();
    let mut next = Execution::new(id, &execution.flow_id, &execution.flow_version, &execution.flow_id);
    next.tenant.clone_from(&execution.tenant);
    next.queue.clone_from(&execution.queue);
    next.metadata.clone_from(&execution.metadata);
    next.attributes.clone_from(&execution.attributes);
    next.timeouts = execution.timeouts;
    next.parent.clone_from(&execution.parent);
    if next.parent.is_some() {
        next.root.clone_from(&execution.root);
    }
    next.reply.clone_from(&execution.reply);
    next
}

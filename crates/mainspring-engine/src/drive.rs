//! Driving an execution: call, decide, commit, again.
//!
//! Whoever drives holds a revision. Every commit names it, so a commit that comes after someone else's changes nothing, and
//! the driver finds out and stops. What a handler returned is never thrown away for a hiccup of the database: the same
//! changes are offered again.

use std::{borrow::Cow, sync::Arc};

use mainspring_core::{
    Available, Changes, Error, Execution, MessageId, MessageLease, NewEvent, Result, Settle, Settlement,
    Timestamp,
    flow::{
        Advance, Answer, Flow, NewJob, StepCall, StepOutcome, StepResult, Then, advance, code, failed,
        next_call, replied, wake_message,
    },
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    call::{Called, refused},
    engine::Inner,
    registry::Code,
    spans,
};

/// An execution that is about to take a step, as its driver has it in mind.
pub(crate) struct Standing {
    pub(crate) execution: Execution,
    /// Events of the wake that led here.
    pub(crate) before: Vec<NewEvent>,
    /// The end of the job or the child it waited for.
    pub(crate) answer: Option<Answer>,
}

impl Standing {
    pub(crate) fn new(execution: Execution, before: Vec<NewEvent>) -> Self {
        Self { execution, before, answer: None }
    }
}

/// The message that drives, when one does: it is settled in the commit that ends the drive.
pub(crate) struct Seat {
    pub(crate) message: MessageId,
    pub(crate) lease: MessageLease,
    /// Whether it has cost workers.
    pub(crate) worn: bool,
}

impl Seat {
    fn settle(&self, execution: &Execution, then: Then) -> Option<Settle> {
        let settlement = match then {
            Then::Run => return None,
            Then::Parked { until: Some(at) } if execution.driver.as_ref() == Some(&self.message) => {
                Settlement::SnoozeUntil(at)
            }
            Then::Parked { .. } | Then::Ended => Settlement::Done,
        };
        Some(Settle::new(self.lease.clone(), settlement))
    }
}

/// Why a drive ended.
pub(crate) enum Driven {
    /// The execution waits, is over, or is driven by another message; this one is settled.
    Rests(Execution),
    /// As many steps were taken as were asked for.
    Paused(Execution),
    /// Someone else changed it: it has to be read again.
    Changed,
    /// The driver was told to stop.
    Stopped,
    /// The message's lease was lost.
    Fenced,
}

/// Why one step ended.
enum Stepped {
    Committed(Execution, Then),
    Left(Driven),
}

impl Inner {
    /// Takes up to `steps` steps.
    ///
    /// # Errors
    /// Those of the backend that did not go away in time. Nothing is half done then.
    pub(crate) async fn drive(
        &self,
        standing: Standing,
        seat: Option<&Seat>,
        cancel: &CancellationToken,
        steps: u32,
    ) -> Result<Driven> {
        if crate::workflow::is_workflow(&standing.execution) {
            return Box::pin(self.drive_workflow_here(standing.execution, cancel)).await;
        }
        let span = spans::drive(&standing.execution);
        self.take_steps(standing, seat, cancel, steps).instrument(span).await
    }

    async fn take_steps(
        &self,
        mut standing: Standing,
        seat: Option<&Seat>,
        cancel: &CancellationToken,
        steps: u32,
    ) -> Result<Driven> {
        for step in 1..=steps {
            if cancel.is_cancelled() {
                return Ok(Driven::Stopped);
            }
            match Box::pin(self.step(standing, seat, step == steps, cancel)).await? {
                Stepped::Committed(execution, Then::Run) => standing = Standing::new(execution, Vec::new()),
                Stepped::Committed(execution, _) => return Ok(Driven::Rests(execution)),
                Stepped::Left(driven) => return Ok(driven),
            }
        }
        Ok(Driven::Paused(standing.execution))
    }

    async fn step(
        &self,
        standing: Standing,
        seat: Option<&Seat>,
        last: bool,
        cancel: &CancellationToken,
    ) -> Result<Stepped> {
        let Standing { execution, before, answer } = standing;
        let (id, version) = (&execution.flow_id, &execution.flow_version);
        let found = self.patiently(|| self.flows.get(&*self.backend, id, version)).await?;
        let now = self.backend.now();
        let Some(flow) = found else {
            let failure = mainspring_core::Failure::new(
                code::FLOW_NOT_FOUND,
                format!("flow `{id}` {version} does not exist"),
            );
            return self.conclude(failed(execution, before, failure, now), Then::Ended, seat).await;
        };
        let revision = execution.revision;
        let remember = before.clone();
        let advance = match answer {
            Some(answer) => {
                let mut advance = replied(&flow, execution, answer, &self.options.limits, now)?;
                if let Some(write) = advance.changes.executions.first_mut() {
                    write.events.splice(0..0, before);
                }
                advance
            }
            None => match self.decide(&flow, execution, before, cancel).await? {
                Ok(advance) => advance,
                Err(interrupted) => return Ok(Stepped::Left(interrupted)),
            },
        };
        self.commit_step(&flow, advance, revision, remember, (seat, last)).await
    }

    /// Calls the handler and makes a decision of what it returned.
    async fn decide(
        &self,
        flow: &Arc<Flow>,
        execution: Execution,
        before: Vec<NewEvent>,
        cancel: &CancellationToken,
    ) -> Result<std::result::Result<Advance, Driven>> {
        let call = match next_call(flow, &execution, self.options.max_steps) {
            Ok(call) => call,
            Err(failure) => return Ok(Ok(self.give_up(execution, before, failure))),
        };
        let step = call.step;
        let (result, terminal, execution) = match self.handlers.code(&step.handler) {
            None => {
                let message = format!("no handler is called `{}`", step.handler);
                let failure = mainspring_core::Failure::new(code::HANDLER_NOT_FOUND, message);
                return Ok(Ok(self.give_up(execution, before, failure)));
            }
            Some(Code::Job(_)) => (StepResult::new(job_of(&call), self.backend.now()), false, execution),
            Some(Code::Step(handler)) => {
                let execution = Arc::new(execution);
                match self.call(handler, call, &execution, cancel).await? {
                    Called::Returned { result, terminal } => {
                        (*result, terminal, Arc::unwrap_or_clone(execution))
                    }
                    Called::Interrupted if cancel.is_cancelled() => return Ok(Err(Driven::Stopped)),
                    Called::Interrupted => return Ok(Err(Driven::Changed)),
                }
            }
        };
        // What no retry can help is not tried again, whatever the policy says.
        let mut flow = Cow::Borrowed(&**flow);
        if terminal && let Some(step) = flow.to_mut().steps.get_mut(&execution.current_step) {
            step.retry = None;
        }
        Ok(Ok(advance(&flow, execution, before, result, &self.options.limits, self.backend.now())))
    }

    fn give_up(
        &self,
        execution: Execution,
        before: Vec<NewEvent>,
        failure: mainspring_core::Failure,
    ) -> Advance {
        Advance { changes: failed(execution, before, failure, self.backend.now()), then: Then::Ended }
    }

    async fn conclude(&self, changes: Changes, then: Then, seat: Option<&Seat>) -> Result<Stepped> {
        let revision = changes.executions.first().map_or(0, |write| write.execution.revision);
        let mut changes = changes;
        match self.offer(&mut changes, then, revision, seat).await? {
            Offered::Taken(at) => Ok(applied(changes, at, then)),
            Offered::Left(driven) => Ok(Stepped::Left(*driven)),
            Offered::Refused(_, error) => Err(error),
        }
    }

    async fn commit_step(
        &self,
        flow: &Flow,
        advance_: Advance,
        revision: i64,
        before: Vec<NewEvent>,
        (seat, last): (Option<&Seat>, bool),
    ) -> Result<Stepped> {
        let Advance { mut changes, then } = passed_on(advance_, seat, last);
        let (stored, error) = match self.offer(&mut changes, then, revision, seat).await? {
            Offered::Taken(at) => return Ok(applied(changes, at, then)),
            Offered::Left(driven) => return Ok(Stepped::Left(*driven)),
            Offered::Refused(stored, error) => (stored, error),
        };
        // The step asked for what can never be, such as a message id that is taken: that is its failure.
        tracing::warn!(execution = %stored.id, error = %error.chain(), "what a step asked for was refused");
        let now = self.backend.now();
        let result = StepResult::new(StepOutcome::Failure(refused(&error)), now);
        let retry = advance(flow, *stored, before, result, &self.options.limits, now);
        let retry = passed_on(retry, seat, last);
        self.conclude(retry.changes, retry.then, seat).await
    }

    /// Offers changes to the backend until it is clear what became of them.
    async fn offer(
        &self,
        changes: &mut Changes,
        then: Then,
        revision: i64,
        seat: Option<&Seat>,
    ) -> Result<Offered> {
        let Some(write) = changes.executions.first() else {
            return Err(Error::internal("a step decided nothing"));
        };
        let id = write.execution.id.clone();
        changes.settle = seat.and_then(|seat| seat.settle(&write.execution, then));
        loop {
            let error = match self.commit(changes).await {
                Ok(committed) => return Ok(Offered::Taken(committed.at)),
                Err(error) if error.is_fenced() => return Ok(left(Driven::Fenced)),
                Err(error) if error.is_conflict() || error.is_commit_unknown() || error.is_invalid() => error,
                Err(error) => return Err(error),
            };
            match self.load(&id).await? {
                // Not at the revision we know: by us, when it was unclear, or by someone else. The row says how to go on.
                Some(stored) if stored.revision != revision => return Ok(left(Driven::Changed)),
                None => return Ok(left(Driven::Changed)),
                Some(_) if error.is_commit_unknown() => {} // it did not happen: again
                Some(stored) => return Ok(Offered::Refused(Box::new(stored), error)),
            }
        }
    }
}

/// What became of changes that were offered.
enum Offered {
    Taken(Timestamp),
    Left(Box<Driven>),
    /// They can never be taken, although nobody else changed the execution.
    Refused(Box<Execution>, Error),
}

fn left(driven: Driven) -> Offered {
    Offered::Left(Box::new(driven))
}

fn applied(mut changes: Changes, at: Timestamp, then: Then) -> Stepped {
    Stepped::Committed(changes.executions.swap_remove(0).applied(at), then)
}

/// Hands the execution to whoever claims a fresh message, in the commit of the step, when this driver is not to go on with it:
/// it holds the execution and this was the last step asked for, or its message has cost workers. A message counts its lost
/// workers for life, and with this step recorded the next one has cost nobody yet.
fn passed_on(mut advance: Advance, seat: Option<&Seat>, last: bool) -> Advance {
    let Some(write) = advance.changes.executions.first_mut() else { return advance };
    let held = last && write.execution.holder.is_some();
    if advance.then == Then::Run && (held || seat.is_some_and(|seat| seat.worn)) {
        let id = MessageId::generate();
        advance.changes.messages.push(wake_message(&write.execution, id.clone(), Available::Now));
        write.execution.driver = Some(id);
        write.execution.holder = None;
        advance.then = Then::Parked { until: None };
    }
    advance
}

/// A step that is done by a job. A step with a retry policy tries again with new jobs, so that one job is one attempt.
fn job_of(call: &StepCall<'_>) -> StepOutcome {
    let default = if call.step.retry.is_some() { 1 } else { 3 };
    let wanted = call.step.config.get("maxAttempts").and_then(Value::as_u64);
    let max_attempts = wanted.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    StepOutcome::Job(NewJob { handler: call.step.handler.clone(), input: call.input.clone(), max_attempts })
}

//! What a step's result makes of its execution.
//!
//! ```text
//! Success ─► output stored ─► next step · completed
//! Failure ─► retry left: run again, or wait and run again
//!         └► none left: onFailure step · failed
//! Wait    ─► waiting, already at the step that comes after the wait
//! Job, Child ─► waiting at the same step, whose outcome their end brings
//! ```
//!
//! The events of one step stand in one order: what woke the execution, `execution.started`, `step.started`, the handler's
//! own, what became of the step, `token.created`, `job.created`, `child.started`, `transition`, and what became of the whole.

use serde_json::{Value, json};

use super::{
    Flow, JOB_RUN, NewChild, NewJob, Next, Step, StepOutcome, StepResult, call, code, lifecycle,
    retry::RetryPolicy, state,
};
use crate::{
    Available, Changes, ContextLimits, Execution, ExecutionStatus, ExecutionWrite, Failure, JobWrite,
    NewEvent, NewMessage, Timestamp, TokenWrite, event::kind, limits,
};

/// What a step's result makes of its execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Advance {
    /// To be committed; `executions[0]` is the execution itself, `settle` is left to the caller.
    pub changes: Changes,
    /// What its driver does after the commit.
    pub then: Then,
}

/// What the driver of an execution does after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next step.
    Run,
    /// Nothing for now.
    Parked {
        /// When the wait ends by itself. The message that drives the execution is to be put off until then; one that was
        /// driven without a message has got one.
        until: Option<Timestamp>,
    },
    /// Nothing, ever.
    Ended,
}

/// Applies the result of one run of the present step.
///
/// `before` are events of the wake that led here; they come first. What cannot be stored turns the result into a failure of
/// the step, with all the rest of it dropped: `CONTEXT_LIMIT` for the context, `HANDLER_ERROR` for anything else.
pub fn advance(
    flow: &Flow,
    mut execution: Execution,
    before: Vec<NewEvent>,
    result: StepResult,
    limits: &ContextLimits,
    now: Timestamp,
) -> Advance {
    let step = match call::find(flow, &execution) {
        Ok(step) => step,
        Err(failure) => return lifecycle::lost(execution, before, failure, now),
    };
    let first = execution.step_count == 0;
    execution.step_count = execution.step_count.saturating_add(1);
    let mut walk = Walk::new(flow, step, execution, before, limits, now);
    if first {
        walk.events.push(NewEvent::new(kind::EXECUTION_STARTED, json!({})));
    }
    walk.tell(kind::STEP_STARTED, json!({"attempt": walk.attempt, "startedAt": result.started_at}));
    walk.take(result)
}

/// One step on its way to a decision.
pub(super) struct Walk<'a> {
    flow: &'a Flow,
    step: &'a Step,
    limits: &'a ContextLimits,
    now: Timestamp,
    attempt: u32,
    execution: Execution,
    events: Vec<NewEvent>,
    /// Events that come after the one that says what became of the step.
    made: Vec<NewEvent>,
    /// Everything beside the execution's own write.
    beside: Changes,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        flow: &'a Flow,
        step: &'a Step,
        mut execution: Execution,
        events: Vec<NewEvent>,
        limits: &'a ContextLimits,
        now: Timestamp,
    ) -> Self {
        state::run(&mut execution);
        let attempt = call::attempt(&execution, step);
        Self {
            flow,
            step,
            limits,
            now,
            attempt,
            execution,
            events,
            made: Vec::new(),
            beside: Changes::default(),
        }
    }

    /// Decides.
    pub(super) fn take(mut self, mut result: StepResult) -> Advance {
        if let Err(failure) = self.accept(&mut result) {
            return self.fail(failure, None);
        }
        match result.outcome {
            StepOutcome::Success(_) => self.succeed(result.next),
            StepOutcome::Failure(failure) => self.fail(failure, result.next),
            StepOutcome::Wait { delay, reason } => {
                let until = self.now + delay;
                self.wait(Some(until), &reason, result.next)
            }
            StepOutcome::WaitUntil { at, reason } => self.wait(Some(at), &reason, result.next),
            StepOutcome::WaitForSignal { reason } => self.wait(None, &reason, result.next),
            StepOutcome::Job(job) => self.hand_over(job),
            StepOutcome::Child(child) => self.start(*child, result.next),
        }
    }

    /// Takes over all that comes with the outcome, or nothing.
    fn accept(&mut self, result: &mut StepResult) -> Result<(), Failure> {
        result.check(&self.execution).map_err(|e| Failure::new(code::HANDLER_ERROR, e.to_string()))?;
        let output = self.step.output_key.as_deref().zip(result.outcome.take_output());
        state::write(self.limits, &mut self.execution.context, std::mem::take(&mut result.context), output)
            .map_err(|e| Failure::new(code::CONTEXT_LIMIT, e.to_string()))?;
        self.events.append(&mut result.events);
        self.beside.messages.append(&mut result.messages);
        for token in std::mem::take(&mut result.tokens) {
            self.made.push(
                NewEvent::new(kind::TOKEN_CREATED, json!({"tokenId": token.id})).about(token.step_id.clone()),
            );
            self.beside.tokens.push(TokenWrite::Create(Box::new(token)));
        }
        Ok(())
    }

    fn succeed(mut self, next: Option<Next>) -> Advance {
        self.execution.retries.remove(&self.step.id);
        self.became(kind::STEP_COMPLETED, json!({"attempt": self.attempt}));
        match target(next, self.step.transitions.on_success.as_ref()) {
            Some(to) => match self.transit("success", to) {
                Ok(()) => self.finish(Then::Run),
                Err(failure) => self.end_failed(failure),
            },
            None => {
                let steps = self.execution.step_count;
                self.end(
                    ExecutionStatus::Completed,
                    NewEvent::new(kind::EXECUTION_COMPLETED, json!({"steps": steps})),
                )
            }
        }
    }

    fn fail(mut self, failure: Failure, next: Option<Next>) -> Advance {
        let failure = state::storable(failure, code::STEP_FAILED);
        if failure.code == code::TIMEOUT {
            self.tell(kind::STEP_TIMEOUT, json!({"attempt": self.attempt}));
        }
        let retries = self.attempt - 1;
        if let Some(policy) = self.step.retry.as_ref().filter(|policy| policy.allows(&failure.code, retries))
        {
            return self.retry(policy, &failure, retries);
        }
        self.execution.retries.remove(&self.step.id);
        let told = json!({"attempt": self.attempt, "code": failure.code, "message": failure.message});
        self.became(kind::STEP_FAILED, told);
        match target(next, self.step.transitions.on_failure.as_ref()) {
            Some(to) => match self.transit("failure", to) {
                Ok(()) => self.finish(Then::Run),
                Err(failure) => self.end_failed(failure),
            },
            None => self.end_failed(failure),
        }
    }

    fn retry(mut self, policy: &RetryPolicy, failure: &Failure, retries: u32) -> Advance {
        let delay = policy.delay(retries);
        let ms = delay.as_millis();
        self.execution.retries.insert(self.step.id.clone(), retries + 1);
        let mut told = json!({"attempt": self.attempt, "code": failure.code, "message": failure.message});
        told["delayMs"] = json!(super::definition::millis(delay));
        self.became(kind::STEP_RETRY, told);
        if delay.is_zero() {
            return self.finish(Then::Run);
        }
        let until = self.now + delay;
        self.park(Some(until), &format!("Retry {}/{} after {ms}ms", retries + 1, policy.max_retries()))
    }

    /// A wait stands at the step that comes after it, so that a wake needs to know nothing.
    fn wait(mut self, until: Option<Timestamp>, reason: &str, next: Option<Next>) -> Advance {
        let reason = limits::clip_error(reason);
        self.execution.retries.remove(&self.step.id);
        self.became(kind::STEP_WAITING, waiting(&reason, until, json!({"attempt": self.attempt})));
        let transitions = &self.step.transitions;
        let after = transitions.on_resume.as_ref().or(transitions.on_success.as_ref());
        if let Some(to) = target(next, after)
            && to != self.step.id
            && let Err(failure) = self.transit("resume", to)
        {
            return self.end_failed(failure);
        }
        self.park(until, &reason)
    }

    fn hand_over(mut self, job: NewJob) -> Advance {
        let mut job = job.into_job(&self.execution);
        job.reply = Some(state::await_reply(&mut self.execution));
        let mut message = NewMessage::new(self.execution.queue.clone(), JOB_RUN, Value::Null);
        message.tenant.clone_from(&self.execution.tenant);
        message.subject = Some(job.id.to_string());
        message.max_attempts = Some(limits::MAX_ATTEMPTS); // the job counts its own
        let reason = format!("job {}", job.id);
        self.made.push(
            NewEvent::new(kind::JOB_CREATED, json!({"jobId": job.id, "handler": job.handler}))
                .about(self.step.id.clone()),
        );
        self.beside.messages.push(message);
        self.beside.jobs.push(JobWrite::Create(Box::new(job)));
        self.await_end(&reason)
    }

    fn start(mut self, child: NewChild, next: Option<Next>) -> Advance {
        let NewChild { execution: mut child, wait, events } = child;
        child.parent = Some(self.execution.id.clone());
        child.root = self.execution.root.clone();
        if child.tenant.is_empty() {
            child.tenant.clone_from(&self.execution.tenant);
        }
        child.reply = wait.then(|| state::await_reply(&mut self.execution));
        let told = json!({"childExecutionId": child.id, "flowId": child.flow_id, "wait": wait});
        self.made.push(NewEvent::new(kind::CHILD_STARTED, told).about(self.step.id.clone()));
        let reason = format!("child {}", child.id);
        let mut created = lifecycle::created(child, lifecycle::Drive::Queue);
        if let Some(write) = created.executions.first_mut() {
            write.events.extend(events);
        }
        self.beside.executions.append(&mut created.executions);
        self.beside.messages.append(&mut created.messages);
        if wait { self.await_end(&reason) } else { self.succeed(next) }
    }

    /// Waits, at the same step, for the reply that was agreed.
    fn await_end(mut self, reason: &str) -> Advance {
        self.became(kind::STEP_WAITING, json!({"attempt": self.attempt, "reason": reason}));
        self.park_as_it_is(None, reason)
    }

    fn park(mut self, until: Option<Timestamp>, reason: &str) -> Advance {
        match until {
            Some(at) if self.execution.driver.is_none() => {
                let wake = state::drive(&mut self.execution, Available::At(at));
                self.beside.messages.push(wake);
            }
            Some(_) => self.execution.holder = None,
            None => {
                self.execution.driver = None;
                self.execution.holder = None;
            }
        }
        self.park_as_it_is(until, reason)
    }

    fn park_as_it_is(mut self, until: Option<Timestamp>, reason: &str) -> Advance {
        state::wait(&mut self.execution, until, reason, self.now);
        self.events.push(NewEvent::new(kind::EXECUTION_WAITING, waiting(reason, until, json!({}))));
        self.finish(Then::Parked { until })
    }

    fn transit(&mut self, on: &str, to: String) -> Result<(), Failure> {
        if self.flow.step(&to).is_none() {
            let message = format!("step `{}` goes to `{to}` on {on}, which does not exist", self.step.id);
            return Err(Failure::new(code::INVALID_TRANSITION, message));
        }
        // Said by the event that says what became of the step: one row of the log less for every step.
        if let Some(event) =
            self.events.iter_mut().rev().find(|event| kind::ENDS_OF_A_STEP.contains(&&*event.event_type))
        {
            event.data["on"] = json!(on);
            event.data["to"] = json!(to);
        }
        self.execution.current_step = to;
        Ok(())
    }

    fn end_failed(mut self, failure: Failure) -> Advance {
        let failure = Failure { step_id: Some(self.step.id.clone()), timestamp: Some(self.now), ..failure };
        let event = lifecycle::failed_event(&failure);
        self.execution.error = Some(failure);
        self.end(ExecutionStatus::Failed, event)
    }

    fn end(mut self, status: ExecutionStatus, event: NewEvent) -> Advance {
        self.beside.messages.extend(state::end(&mut self.execution, status));
        self.events.push(event);
        self.finish(Then::Ended)
    }

    fn finish(self, then: Then) -> Advance {
        let mut changes = self.beside;
        changes.executions.insert(0, ExecutionWrite::update(self.execution, self.events));
        Advance { changes, then }
    }

    /// Records what became of the step, and what came with it.
    fn became(&mut self, kind: &str, data: Value) {
        self.tell(kind, data);
        self.events.append(&mut self.made);
    }

    fn tell(&mut self, kind: &str, data: Value) {
        self.events.push(NewEvent::new(kind, data).about(self.step.id.clone()));
    }
}

/// Where to go: what the handler chose, or what the flow says. `None` is the end.
fn target(chosen: Option<Next>, otherwise: Option<&String>) -> Option<String> {
    match chosen {
        Some(Next::Step(id)) => Some(id),
        Some(Next::End) => None,
        None => otherwise.cloned(),
    }
}

fn waiting(reason: &str, until: Option<Timestamp>, mut data: Value) -> Value {
    data["reason"] = json!(reason);
    if let Some(until) = until {
        data["until"] = json!(until);
    }
    data
}

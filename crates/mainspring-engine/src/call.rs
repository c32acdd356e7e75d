//! Calling a handler: in its own task, for a limited time, and never trusted.
//!
//! A panic is a failure of the step, a timeout is one too, and a handler that blocks its thread is left behind: its result
//! comes too late and counts for nothing.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Execution, ExecutionId, Failure, Result, Timestamp,
    flow::{NewChild, Next, StepCall, StepOutcome, StepResult, code},
    trace::{inherited, within},
};
use mainspring_worker::{Panic, caught};
use serde_json::json;
use tokio::{
    task::JoinError,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    ChildFlow, HandlerError, Invocation, Outcome,
    engine::Inner,
    handler::{ErasedHandler, StepReply},
    invocation::Facts,
    meter,
    outcome::Kind,
    running::Work,
    spans,
};

/// How long a handler that was told to stop may take to do so.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);
/// Most levels of executions that start each other.
pub(crate) const MAX_DEPTH: u64 = 32;
/// Where the level of an execution stands in its metadata.
pub(crate) const DEPTH: &str = "mainspring.depth";

/// What a handler's words come to, or why they make the step fail.
type Resolved<T> = std::result::Result<T, HandlerError>;

/// How a call ended.
pub(crate) enum Called {
    /// With a result; `terminal` when it is a failure that no retry can help.
    Returned { result: Box<StepResult>, terminal: bool },
    /// It was told to stop, and whatever it said does not count.
    Interrupted,
}

/// Aborts its task when dropped.
pub(crate) struct Aborting<T>(pub(crate) tokio::task::JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    /// Runs the handler of a step for `execution`, until it returns, takes too long, or `cancel` fires.
    ///
    /// # Errors
    /// The database was busy or away for too long: that is no failure of the step.
    pub(crate) async fn call(
        &self,
        handler: Arc<dyn ErasedHandler>,
        call: StepCall<'_>,
        execution: &Arc<Execution>,
        cancel: &CancellationToken,
    ) -> Result<Called> {
        let patience = call.step.timeout.unwrap_or(self.options.step_timeout);
        let stop = cancel.child_token();
        let _entry = self.running.enter(&execution.id, Work::Step(execution.revision), &stop);
        let invocation = Invocation::new(Facts {
            execution: Arc::clone(execution),
            config: call.step.config.clone(),
            attempt: call.attempt,
            limits: self.options.limits,
            registry: Arc::clone(&self.handlers),
            cancel: stop.child_token(),
            backend: Arc::clone(&self.backend),
            patience: self.options.lease,
        });
        let (started_at, begin) = (self.backend.now(), Instant::now());
        let (theirs, input) = (invocation.clone(), call.input);
        let span = spans::step(&execution.id, &execution.flow_id, &call.step.id, call.attempt, None);
        let work = within(inherited(), caught(async move { handler.call(theirs, input).await }));
        let mut task = Aborting(tokio::spawn(work.instrument(span.clone())));
        let reply = tokio::select! {
            biased;
            reply = timeout(patience, &mut task.0) => reply,
            () = stop.cancelled() => {
                drop(timeout(LAST_WORDS, &mut task.0).await);
                return Ok(Called::Interrupted);
            }
        };
        let reply = match reply {
            Ok(reply) => returned(reply).and_then(|reply| reply),
            Err(_) => {
                invocation.cancel().cancel();
                drop(timeout(LAST_WORDS, &mut task.0).await);
                tracing::warn!(execution = %execution.id, step = %call.step.id, ?patience, "a step took too long");
                Err(HandlerError::new(code::TIMEOUT, format!("took longer than {patience:?}")))
            }
        };
        meter::step(&execution.flow_id, &call.step.id, begin.elapsed());
        if let Err(error) = &reply {
            spans::failed(&span, &error.failure.code);
        }
        self.settle_reply(execution, &invocation, reply, started_at).await
    }

    async fn settle_reply(
        &self,
        execution: &Execution,
        invocation: &Invocation,
        reply: StepReply,
        started_at: Timestamp,
    ) -> Result<Called> {
        let resolved = match reply {
            Ok(outcome) => self.resolve(execution, outcome).await?,
            Err(error) => Err(error),
        };
        Ok(match resolved {
            Ok((outcome, next)) => {
                let failed = matches!(outcome, StepOutcome::Failure(_));
                let mut result = StepResult { next, ..StepResult::new(outcome, started_at) };
                if !failed {
                    let effects = invocation.take_effects();
                    result.context = effects.context;
                    result.tokens = effects.tokens;
                    result.messages = effects.messages;
                    result.events = effects.events;
                }
                Called::Returned { result: Box::new(result), terminal: false }
            }
            Err(HandlerError { failure, terminal, .. }) => {
                let result = StepResult::new(StepOutcome::Failure(*failure), started_at);
                Called::Returned { result: Box::new(result), terminal }
            }
        })
    }

    /// The outcome in core's words: the flow of a child is looked up here.
    async fn resolve(
        &self,
        execution: &Execution,
        outcome: Outcome,
    ) -> Result<Resolved<(StepOutcome, Option<Next>)>> {
        let resolved = match outcome.kind {
            Kind::Success(output) => StepOutcome::Success(output),
            Kind::Failure(failure) => StepOutcome::Failure(failure),
            Kind::Wait { delay, reason } => StepOutcome::Wait { delay, reason },
            Kind::WaitUntil { at, reason } => StepOutcome::WaitUntil { at, reason },
            Kind::WaitForSignal { reason } => StepOutcome::WaitForSignal { reason },
            Kind::Child(child) => match self.child(execution, child).await? {
                Ok(child) => StepOutcome::Child(Box::new(child)),
                Err(error) => return Ok(Err(error)),
            },
        };
        Ok(Ok((resolved, outcome.next)))
    }

    async fn child(&self, parent: &Execution, child: ChildFlow) -> Result<Resolved<NewChild>> {
        let depth = parent.metadata.get(DEPTH).and_then(serde_json::Value::as_u64).unwrap_or(0) + 1;
        if depth >= MAX_DEPTH {
            let message =
                format!("executions start each other {depth} levels deep, at most {MAX_DEPTH} are allowed");
            return Ok(Err(HandlerError::terminal(code::CHILD_FAILED, message)));
        }
        let found = match &child.version {
            Some(version) => self.patiently(|| self.flows.get(&*self.backend, &child.flow_id, version)).await,
            None => self.patiently(|| self.flows.latest(&*self.backend, &child.flow_id)).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => return Ok(Err(error.into())),
        };
        let Some(flow) = found else {
            let message = format!("flow `{}` does not exist", child.flow_id);
            return Ok(Err(HandlerError::terminal(code::FLOW_NOT_FOUND, message)));
        };
        if let Err(error) = self.options.limits.check(&child.context) {
            return Ok(Err(HandlerError::terminal(code::CONTEXT_LIMIT, error.to_string())));
        }
        let id = ExecutionId::generate();
        let mut execution = Execution::new(id, &flow.id, &flow.version, &flow.initial_step_id);
        execution.context = child.context;
        execution.metadata = child.metadata;
        execution.metadata.insert(DEPTH.to_owned(), json!(depth));
        execution.queue.clone_from(&parent.queue);
        Ok(Ok(NewChild { execution, wait: child.wait, events: Vec::new() }))
    }
}

/// What the task of a handler came to; a panic is a failure of the step.
pub(crate) fn returned<T>(
    joined: std::result::Result<std::result::Result<T, Panic>, JoinError>,
) -> Resolved<T> {
    let failure = match joined {
        Ok(Ok(returned)) => return Ok(returned),
        Ok(Err(panic)) => {
            tracing::error!(%panic, "a handler panicked");
            panic.into()
        }
        Err(error) => Failure::new(Panic::CODE, error.to_string()),
    };
    Err(HandlerError { failure: Box::new(failure), terminal: false, delay: None })
}

/// The failure of something that cannot be committed as it is.
pub(crate) fn refused(error: &mainspring_core::Error) -> Failure {
    let code = if error.is_conflict() { "CONFLICT" } else { code::HANDLER_ERROR };
    Failure::new(code, error.chain())
}

//! What a handler decides: it succeeded, failed, or waits.

use std::time::Duration;

use mainspring_core::{Failure, Timestamp, flow::Next};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::HandlerError;

/// How one run of a step ended, and where to go on when that is not where the flow says.
///
/// Any output is an outcome: `Ok(output.into())`.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<T = Value> {
    pub(crate) kind: Kind<T>,
    pub(crate) next: Option<Next>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind<T> {
    Success(T),
    Failure(Failure),
    Wait { delay: Duration, reason: String },
    WaitUntil { at: Timestamp, reason: String },
    WaitForSignal { reason: String },
    Child(ChildFlow),
}

impl<T> Outcome<T> {
    fn of(kind: Kind<T>) -> Self {
        Self { kind, next: None }
    }

    /// It went well.
    pub fn success(output: T) -> Self {
        Self::of(Kind::Success(output))
    }

    /// It failed, which the step's policy may try again.
    pub fn failure(code: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::of(Kind::Failure(Failure::new(code, message)))
    }

    /// The execution waits so long, holding nothing, and goes on with the next step.
    pub fn wait(delay: Duration, reason: impl Into<String>) -> Self {
        Self::of(Kind::Wait { delay, reason: reason.into() })
    }

    /// The execution waits until a time; one in the past is at once.
    pub fn wait_until(at: Timestamp, reason: impl Into<String>) -> Self {
        Self::of(Kind::WaitUntil { at, reason: reason.into() })
    }

    /// The execution waits until someone resumes it, with a token made by
    /// [`resume_token`](crate::Invocation::resume_token) or by its id.
    pub fn wait_for_signal(reason: impl Into<String>) -> Self {
        Self::of(Kind::WaitForSignal { reason: reason.into() })
    }

    /// A child execution is started; unless it is detached, its end is the step's outcome.
    pub fn child(child: ChildFlow) -> Self {
        Self::of(Kind::Child(child))
    }

    /// Goes on with this step instead of the one the flow says.
    #[must_use]
    pub fn go_to(mut self, step: impl Into<String>) -> Self {
        self.next = Some(Next::Step(step.into()));
        self
    }

    /// Goes on with no step: the execution completes after a success and fails after a failure.
    #[must_use]
    pub fn end(mut self) -> Self {
        self.next = Some(Next::End);
        self
    }

    /// The same with the output as JSON.
    pub(crate) fn erase(self) -> Result<Outcome<Value>, HandlerError>
    where
        T: Serialize,
    {
        let kind = match self.kind {
            Kind::Success(output) => match serde_json::to_value(output) {
                Ok(output) => Kind::Success(output),
                Err(error) => {
                    return Err(HandlerError::terminal(
                        mainspring_core::flow::code::HANDLER_ERROR,
                        format!("the output is not JSON: {error}"),
                    ));
                }
            },
            Kind::Failure(failure) => Kind::Failure(failure),
            Kind::Wait { delay, reason } => Kind::Wait { delay, reason },
            Kind::WaitUntil { at, reason } => Kind::WaitUntil { at, reason },
            Kind::WaitForSignal { reason } => Kind::WaitForSignal { reason },
            Kind::Child(child) => Kind::Child(child),
        };
        Ok(Outcome { kind, next: self.next })
    }
}

impl<T> From<T> for Outcome<T> {
    fn from(output: T) -> Self {
        Self::success(output)
    }
}

/// A child execution to start; see [`Outcome::child`].
#[derive(Debug, Clone, PartialEq)]
pub struct ChildFlow {
    pub(crate) flow_id: String,
    pub(crate) version: Option<String>,
    pub(crate) context: Map<String, Value>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) wait: bool,
}

impl ChildFlow {
    /// A child that runs the latest version of a flow with this context, and is waited for.
    pub fn new(flow_id: impl Into<String>, context: Map<String, Value>) -> Self {
        Self { flow_id: flow_id.into(), version: None, context, metadata: Map::new(), wait: true }
    }

    /// Runs this version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Labels of the child.
    #[must_use]
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Is not waited for: the step succeeds at once with `{"childExecutionId": …}`.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.wait = false;
        self
    }
}

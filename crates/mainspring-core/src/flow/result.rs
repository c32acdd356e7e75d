//! What a handler returns from one run of a step.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Error, Execution, Failure, Job, NewEvent, NewMessage, NewToken, Result, Timestamp, limits};

/// All that a handler decided in one run of a step. It counts as a whole: what cannot be stored makes the run a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult {
    /// How the run ended.
    pub outcome: StepOutcome,
    /// Where to go on instead of where the transitions say.
    pub next: Option<Next>,
    /// Context values to set, or to remove, in order.
    pub context: Vec<(String, Option<Value>)>,
    /// Resume tokens made for this execution.
    pub tokens: Vec<NewToken>,
    /// Messages to push.
    pub messages: Vec<NewMessage>,
    /// The handler's own events, for the execution's history.
    pub events: Vec<NewEvent>,
    /// When the handler was called.
    pub started_at: Timestamp,
}

impl StepResult {
    /// An outcome and nothing else.
    pub fn new(outcome: StepOutcome, started_at: Timestamp) -> Self {
        Self {
            outcome,
            next: None,
            context: Vec::new(),
            tokens: Vec::new(),
            messages: Vec::new(),
            events: Vec::new(),
            started_at,
        }
    }

    /// Checks everything the handler of `execution` could have put in, its context writes excepted.
    pub(super) fn check(&self, execution: &Execution) -> Result<()> {
        self.outcome.check(execution, self.next.as_ref())?;
        for token in &self.tokens {
            token.check()?;
            if token.execution_id != execution.id {
                return Err(Error::invalid(
                    "token.execution_id",
                    format!("`{}` is another execution", token.execution_id),
                ));
            }
        }
        self.messages.iter().try_for_each(NewMessage::check)?;
        self.events.iter().try_for_each(NewEvent::check)
    }
}

/// Where a handler sends its execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To this step.
    Step(String),
    /// Nowhere: after a success the execution completes, after a failure it fails.
    End,
}

/// How one run of a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// Well, with this output.
    Success(Value),
    /// With an error.
    Failure(Failure),
    /// The execution waits for a time, then goes on with the next step.
    Wait {
        /// How long.
        delay: Duration,
        /// Why.
        reason: String,
    },
    /// The execution waits until a time, then goes on with the next step.
    WaitUntil {
        /// Until when.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// The execution waits until someone resumes it, then goes on with the next step.
    WaitForSignal {
        /// Why.
        reason: String,
    },
    /// A job does the step; its end is the step's outcome.
    Job(NewJob),
    /// A child execution is started.
    Child(Box<NewChild>),
}

impl StepOutcome {
    fn check(&self, execution: &Execution, next: Option<&Next>) -> Result<()> {
        let (waits, bound_to) = match self {
            Self::Success(_) | Self::Failure(_) => (false, None),
            Self::Wait { .. } | Self::WaitUntil { .. } | Self::WaitForSignal { .. } => (true, None),
            Self::Job(_) => (true, Some("job")),
            Self::Child(child) => (child.wait, child.wait.then_some("child")),
        };
        match (next, bound_to) {
            (Some(_), Some(whom)) => {
                return Err(Error::invalid(
                    "next",
                    format!("a step that waits for a {whom} cannot choose where to go"),
                ));
            }
            (Some(Next::End), None) if waits => {
                return Err(Error::invalid("next", "a wait cannot be the end"));
            }
            _ => {}
        }
        match self {
            Self::Wait { delay, .. } => limits::check_duration("wait.delay", *delay),
            Self::Job(job) => job.check(execution),
            Self::Child(child) => child.check(execution),
            _ => Ok(()),
        }
    }

    /// What goes to the step's output key. It leaves the outcome: nobody else needs it.
    pub(super) fn take_output(&mut self) -> Option<Value> {
        match self {
            Self::Success(output) => Some(std::mem::take(output)),
            Self::Child(child) if !child.wait => Some(json!({"childExecutionId": child.execution.id})),
            _ => None,
        }
    }
}

/// A job that is to do a step.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The handler that does it.
    pub handler: String,
    /// What it works on.
    pub input: Value,
    /// Runs in all, the first included; 1 to 1,000.
    pub max_attempts: u32,
}

impl NewJob {
    /// The job of the step `execution` stands at, to be answered nowhere yet.
    pub(super) fn into_job(self, execution: &Execution) -> Job {
        let mut job =
            Job::new(execution.id.clone(), execution.current_step.clone(), self.handler, self.input);
        job.tenant.clone_from(&execution.tenant);
        job.max_attempts = self.max_attempts;
        job
    }

    fn check(&self, execution: &Execution) -> Result<()> {
        limits::check_json("job.input", &self.input)?;
        let without_input = Self { handler: self.handler.clone(), input: Value::Null, ..*self };
        without_input.into_job(execution).check()
    }
}

/// A child execution to start.
#[derive(Debug, Clone, PartialEq)]
pub struct NewChild {
    /// The child. Its parent, root, driver and reply are set here, and its tenant when it has none.
    pub execution: Execution,
    /// Whether the step waits for its end, which then is the step's outcome.
    pub wait: bool,
    /// What goes into its history after `execution.created`.
    pub events: Vec<NewEvent>,
}

impl NewChild {
    fn check(&self, parent: &Execution) -> Result<()> {
        if self.execution.id == parent.id {
            return Err(Error::invalid("child.id", format!("`{}` cannot be its own parent", parent.id)));
        }
        self.execution.check()?;
        self.events.iter().try_for_each(NewEvent::check)
    }
}

//! Events: immutable facts, each at a position in a stream and at a global position in the log.
//!
//! A stream belongs to a *partition* of the log. The partition [`EXECUTIONS`] holds the history of executions and has one
//! writer for each stream: the commits of that execution. Everything else lives in [`STREAMS`]. Positions in a stream are
//! 1, 2, 3 … without gaps; global positions grow but have gaps.

use serde_json::{Map, Value};

use crate::{Error, ExecutionId, Result, Timestamp, execution::stream_of, limits};

/// The partition of the executions' histories.
pub const EXECUTIONS: &str = "executions";
/// The partition of all other streams.
pub const STREAMS: &str = "streams";

/// Names of the events in an execution's history.
pub mod kind {
    macro_rules! kinds {
        ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$doc])* pub const $name: &str = $text;)*
            /// Every event type the engine writes.
            pub const ALL: &[&str] = &[$($text),*];
        };
    }
    /// It moved from one step to the next. Listeners are told; the log has it in the event that ended the step, as `on` and
    /// `to`.
    pub const TRANSITION: &str = "transition";
    /// The events that say what became of a step, and where the execution went.
    pub const ENDS_OF_A_STEP: &[&str] = &[STEP_COMPLETED, STEP_FAILED, STEP_WAITING];

    kinds! {
        /// An execution was created.
        EXECUTION_CREATED = "execution.created";
        /// A second create with the same idempotency key found it.
        IDEMPOTENCY_HIT = "idempotency.hit";
        /// Its first step ran.
        EXECUTION_STARTED = "execution.started";
        /// It parked.
        EXECUTION_WAITING = "execution.waiting";
        /// It goes on after a wait.
        EXECUTION_RESUMED = "execution.resumed";
        /// It ended well.
        EXECUTION_COMPLETED = "execution.completed";
        /// It ended with an error.
        EXECUTION_FAILED = "execution.failed";
        /// A cancel was asked for while it ran.
        EXECUTION_CANCELLING = "execution.cancelling";
        /// It was cancelled.
        EXECUTION_CANCELLED = "execution.cancelled";
        /// It was taken over from a worker that died.
        EXECUTION_RECOVERED = "execution.recovered";
        /// It or its wait lasted too long.
        EXECUTION_TIMEOUT = "execution.timeout";
        /// A step's handler was called.
        STEP_STARTED = "step.started";
        /// A step succeeded.
        STEP_COMPLETED = "step.completed";
        /// A step failed for good.
        STEP_FAILED = "step.failed";
        /// A step failed and will be tried again.
        STEP_RETRY = "step.retry";
        /// A step took longer than its timeout.
        STEP_TIMEOUT = "step.timeout";
        /// A step parked its execution.
        STEP_WAITING = "step.waiting";
        /// A job was created for a step.
        JOB_CREATED = "job.created";
        /// A worker began a job.
        JOB_CLAIMED = "job.claimed";
        /// A job ended well.
        JOB_COMPLETED = "job.completed";
        /// A job ended with an error.
        JOB_FAILED = "job.failed";
        /// A job's worker died and another took over.
        JOB_SUPERSEDED = "job.superseded";
        /// A child execution was started.
        CHILD_STARTED = "child.started";
        /// A child execution ended.
        CHILD_FINISHED = "child.finished";
        /// A resume token was made.
        TOKEN_CREATED = "token.created";
        /// A resume token was spent.
        TOKEN_USED = "token.used";
        /// Resume tokens were revoked.
        TOKEN_REVOKED = "token.revoked";
    }
}

/// An event to append.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What happened, such as `step.completed`.
    pub event_type: String,
    /// What within the stream it is about: the step, for an execution's history.
    pub subject: Option<String>,
    /// The fact.
    pub data: Value,
    /// Beside the fact: trace context, actor.
    pub metadata: Map<String, Value>,
    /// The request or process it belongs to.
    pub correlation_id: Option<String>,
    /// The event or message that caused it.
    pub causation_id: Option<String>,
}

impl NewEvent {
    /// An event with data and nothing else.
    pub fn new(event_type: impl Into<String>, data: Value) -> Self {
        Self {
            event_type: event_type.into(),
            subject: None,
            data,
            metadata: Map::new(),
            correlation_id: None,
            causation_id: None,
        }
    }

    /// The same, about this step or other part of the stream.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_name("event.type", &self.event_type)?;
        if let Some(subject) = &self.subject {
            limits::check_id("event.subject", subject)?;
        }
        for (field, id) in
            [("event.correlation_id", &self.correlation_id), ("event.causation_id", &self.causation_id)]
        {
            if let Some(id) = id {
                limits::check_id(field, id)?;
            }
        }
        limits::check_json("event.data", &self.data)?;
        limits::check_map("event.metadata", &self.metadata, limits::MAX_METADATA)
    }
}

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// The partition of its stream.
    pub partition: String,
    /// Isolation key; empty for none.
    pub tenant: String,
    /// Its stream.
    pub stream: String,
    /// Its place in the stream: 1, 2, 3 …
    pub position: i64,
    /// Its place in the whole log: grows, with gaps.
    pub global_position: i64,
    /// What was appended.
    pub event: NewEvent,
    /// When, by the database's clock.
    pub created_at: Timestamp,
}

/// What an append expects of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedPosition {
    /// Nothing: never a conflict.
    Any,
    /// It has no event yet.
    NoStream,
    /// It has at least one event.
    StreamExists,
    /// Its last event is at this position.
    Exact(i64),
}

impl ExpectedPosition {
    /// Whether a stream whose last event is at `current` (0: none) is as expected.
    pub const fn holds(self, current: i64) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => current == 0,
            Self::StreamExists => current > 0,
            Self::Exact(position) => current == position,
        }
    }
}

/// Events for one stream, appended together and in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Isolation key; empty for none.
    pub tenant: String,
    /// The stream, in the partition [`STREAMS`].
    pub stream: String,
    /// What it must be like.
    pub expected: ExpectedPosition,
    /// The events; appending none is a no-op that still checks `expected`.
    pub events: Vec<NewEvent>,
}

impl Append {
    /// An append that expects nothing.
    pub fn to(stream: impl Into<String>, events: Vec<NewEvent>) -> Self {
        Self { tenant: String::new(), stream: stream.into(), expected: ExpectedPosition::Any, events }
    }

    /// The same with an expectation.
    #[must_use]
    pub fn expecting(mut self, expected: ExpectedPosition) -> Self {
        self.expected = expected;
        self
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_id("stream", &self.stream)?;
        if !self.tenant.is_empty() {
            limits::check_id("tenant", &self.tenant)?;
        }
        if let ExpectedPosition::Exact(position) = self.expected
            && position < 0
        {
            return Err(Error::invalid("expected_position", format!("{position} is below 0")));
        }
        self.events.iter().try_for_each(NewEvent::check)
    }

    /// The error of an expectation that did not hold.
    pub fn conflict(&self, current: i64) -> Error {
        let expected = match self.expected {
            ExpectedPosition::Any => "anything".to_owned(),
            ExpectedPosition::NoStream => "no stream".to_owned(),
            ExpectedPosition::StreamExists => "an existing stream".to_owned(),
            ExpectedPosition::Exact(position) => format!("position {position}"),
        };
        Error::conflict(format!("stream `{}` is at position {current}, expected {expected}", self.stream))
    }
}

/// A fact about an execution that a caller wants in its history.
///
/// It goes to the stream `execution-<id>` of the partition [`STREAMS`], so it needs no execution row and can never collide
/// with the engine's own writes; readers see both in one order.
#[derive(Debug, Clone)]
pub struct ExecutionFact {
    /// The execution.
    pub execution_id: ExecutionId,
    /// What happened.
    pub event_type: String,
    /// In which step.
    pub step_id: Option<String>,
    /// The fact.
    pub data: Value,
}

impl From<ExecutionFact> for Append {
    fn from(fact: ExecutionFact) -> Self {
        let mut event = NewEvent::new(fact.event_type, fact.data);
        event.subject = fact.step_id;
        Self::to(stream_of(&fact.execution_id), vec![event])
    }
}

/// Which events to read, oldest first.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only of this execution: its history and what was recorded about it.
    pub execution_id: Option<ExecutionId>,
    /// Only of these types; empty for all.
    pub event_types: Vec<String>,
    /// Only later than this.
    pub after: Option<Timestamp>,
    /// Only earlier than this.
    pub before: Option<Timestamp>,
    /// Only beyond this global position.
    pub after_position: Option<i64>,
    /// At most so many, 1 to 10,000. `None` is 1,000.
    pub limit: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_hold_where_they_should() {
        use ExpectedPosition::*;
        for (expected, at_0, at_2) in [
            (Any, true, true),
            (NoStream, true, false),
            (StreamExists, false, true),
            (Exact(2), false, true),
            (Exact(0), true, false),
        ] {
            assert_eq!((expected.holds(0), expected.holds(2)), (at_0, at_2), "{expected:?}");
        }
    }

    #[test]
    fn event_types_are_unique() {
        let mut all = kind::ALL.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), kind::ALL.len());
    }
}

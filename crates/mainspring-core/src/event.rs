//! Events: immutable facts, each at a position in a stream and at a global position in the log.
//!
//! A stream belongs to a *partition* of the log. The partition [`EXECUTIONS`] holds the history of executions and has one
//! writer for each stream: the commits of that execution. Everything else lives in [`STREAMS`], or in a partition made for
//! it. Positions in a stream are 1, 2, 3 … without gaps and are never given out twice, also when the stream is deleted and
//! begun again; global positions grow but have gaps.

mod append;
mod stream;

use serde_json::{Map, Value};

use crate::{EventId, ExecutionId, Result, Timestamp, execution::stream_of, limits, trace::TRACEPARENT};

pub use append::{Append, Appended, ExpectedPosition, check_streams_once};
pub use stream::{Direction, Snapshot, StreamHead, StreamId, StreamPage, StreamQuery};

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
        /// A workflow went back to an earlier step.
        EXECUTION_REWOUND = "execution.rewound";
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
        /// A loop of a workflow has come to another round: what its earlier ones recorded no longer counts.
        LOOP_ADVANCED = "loop.advanced";
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
        /// A signal came in for a workflow.
        SIGNAL_RECEIVED = "signal.received";
        /// A payload came in for a hook of a workflow.
        HOOK_RECEIVED = "hook.received";
        /// A workflow went on as another execution, and what comes in goes there.
        INBOX_CLOSED = "inbox.closed";
        /// Resume tokens were revoked.
        TOKEN_REVOKED = "token.revoked";
    }
}

/// An event to append.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Makes the append repeatable: the same id appended to the same stream again changes nothing. `None`: every append is
    /// a new fact.
    pub id: Option<EventId>,
    /// What happened, such as `step.completed`.
    pub event_type: String,
    /// Of the shape of `data`, from 1.
    pub schema_version: u32,
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
            id: None,
            event_type: event_type.into(),
            schema_version: 1,
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

    /// The same with an id of the caller's.
    #[must_use]
    pub fn identified(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// The same as data of another version of its schema.
    #[must_use]
    pub fn of_version(mut self, schema_version: u32) -> Self {
        self.schema_version = schema_version;
        self
    }

    /// The same as part of this request or process, caused by this event or message.
    #[must_use]
    pub fn caused_by(mut self, correlation_id: impl Into<String>, causation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self.causation_id = Some(causation_id.into());
        self
    }

    /// The same in this trace: a W3C `traceparent`, kept in the metadata.
    #[must_use]
    pub fn traced(mut self, traceparent: impl Into<String>) -> Self {
        self.metadata.insert(TRACEPARENT.to_owned(), Value::String(traceparent.into()));
        self
    }

    /// The W3C `traceparent` it was appended with.
    pub fn traceparent(&self) -> Option<&str> {
        self.metadata.get(TRACEPARENT).and_then(Value::as_str)
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_name("event.type", &self.event_type)?;
        if self.schema_version == 0 || i32::try_from(self.schema_version).is_err() {
            let problem = format!("{} is not within 1 to {}", self.schema_version, i32::MAX);
            return Err(crate::Error::invalid("event.schema_version", problem));
        }
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

impl RecordedEvent {
    /// Its stream.
    pub fn stream_id(&self) -> StreamId {
        StreamId {
            partition: self.partition.clone(),
            tenant: self.tenant.clone(),
            stream: self.stream.clone(),
        }
    }
}

impl From<ExecutionFact> for Append {
    fn from(fact: ExecutionFact) -> Self {
        let mut event = NewEvent::new(fact.event_type, fact.data);
        event.subject = fact.step_id;
        Self::to(stream_of(&fact.execution_id), vec![event])
    }
}

/// Which events to read over all streams, oldest first. Archived streams are left out.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only of this execution: its history and what was recorded about it.
    pub execution_id: Option<ExecutionId>,
    /// Only of this partition of the log.
    pub partition: Option<String>,
    /// Only of this tenant; the empty text is nobody's.
    pub tenant: Option<String>,
    /// Only of this request or process.
    pub correlation_id: Option<String>,
    /// Only of these types; empty for all.
    pub event_types: Vec<String>,
    /// Only later than this.
    pub after: Option<Timestamp>,
    /// Only earlier than this.
    pub before: Option<Timestamp>,
    /// Only beyond this global position.
    pub after_position: Option<i64>,
    /// Only up to this global position, which is included.
    pub up_to_position: Option<i64>,
    /// At most so many, 1 to 10,000. `None` is 1,000.
    pub limit: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_are_unique() {
        let mut all = kind::ALL.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), kind::ALL.len());
    }
}

//! The state of a process as its execution holds it.

use std::collections::BTreeMap;

use mainspring_core::{
    Execution, ExecutionStatus, ExecutionWrite, Failure, NewEvent, Timeouts, event::kind, limits,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{CloudEvent, HandlerError, Subject, process::Collected, sending::process_id};

/// In the history of a process: an event was handled.
const HANDLED: &str = "event.handled";

/// The context of the execution of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    execution_status: String,
    pub(super) subject: String,
    pub(super) parent_subject: Option<String>,
    pub(super) init_event_id: String,
    pub(super) status: String,
    #[serde(rename = "state$$")]
    pub(super) state: Value,
    /// What was said last, and the answers that came.
    pub(super) expected: BTreeMap<String, Vec<CloudEvent>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

const ACTIVE: &str = "active";
const DONE: &str = "done";
const NORMAL: &str = "normal";
const FAILURE: &str = "failure";

impl Record {
    /// Of a process that begins with this event.
    pub(super) fn begun_by(event: &CloudEvent) -> Self {
        let parent = event.data().get(crate::draft::PARENT_SUBJECT).and_then(Value::as_str);
        Self {
            execution_status: NORMAL.to_owned(),
            subject: event.subject().to_owned(),
            parent_subject: parent.map(str::to_owned),
            init_event_id: event.id().to_owned(),
            status: ACTIVE.to_owned(),
            state: Value::Null,
            expected: BTreeMap::new(),
            error: None,
        }
    }

    pub(super) fn of(row: &Execution) -> Result<Self, HandlerError> {
        serde_json::from_value(Value::Object(row.context.clone())).map_err(|error| {
            let problem = format!("the record of `{}` cannot be read: {error}", row.id);
            HandlerError::violation("READ_MACHINE_MEMORY_FAILURE", problem)
        })
    }

    /// Takes in an answer to something that was said last.
    pub(super) fn collect(&mut self, event: &CloudEvent) {
        if let Some(answers) = event.parent_id().and_then(|id| self.expected.get_mut(id)) {
            answers.push(event.clone());
        }
    }

    pub(super) fn collected(&self) -> Collected {
        Collected { by_event: self.expected.clone() }
    }

    /// What was said now takes the place of what was said before.
    pub(super) fn expect(&mut self, ids: impl IntoIterator<Item = String>) {
        let expected: BTreeMap<String, Vec<CloudEvent>> =
            ids.into_iter().map(|id| (id, Vec::new())).collect();
        if !expected.is_empty() {
            self.expected = expected;
        }
    }

    pub(super) fn finish(&mut self) {
        self.status = DONE.to_owned();
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        self.execution_status = FAILURE.to_owned();
        self.error = Some(failure);
    }

    fn context(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(context)) => context,
            _ => Map::new(), // a struct of JSON is an object
        }
    }
}

/// Where a process is to be after `event`, by which it said `said`: a new row, or that of `row` changed.
pub(super) fn write(
    row: Option<Execution>,
    parent: Option<Execution>,
    subject: &Subject,
    record: &Record,
    event: &CloudEvent,
    said: &[String],
) -> ExecutionWrite {
    let mut events = Vec::new();
    let is_new = row.is_none();
    let mut row = row.unwrap_or_else(|| begun(record, parent, subject));
    if is_new {
        let data = json!({"subject": record.subject, "source": event.source(), "initiator": subject.execution.initiator});
        events.push(NewEvent::new(kind::EXECUTION_CREATED, data));
    }
    let handled =
        json!({"id": event.id(), "source": event.source(), "type": event.event_type(), "emitted": said});
    events.push(NewEvent::new(HANDLED, handled));
    row.step_count = row.step_count.saturating_add(1);
    row.current_step.clone_from(&record.status);
    row.context = record.context();
    row.status = match (&record.error, record.status.as_str()) {
        (Some(failure), _) => {
            row.error = Some(failure.clone());
            events.push(NewEvent::new(kind::EXECUTION_FAILED, json!({"error": failure})));
            ExecutionStatus::Failed
        }
        (None, DONE) => {
            events.push(NewEvent::new(kind::EXECUTION_COMPLETED, json!({})));
            ExecutionStatus::Completed
        }
        (None, _) => ExecutionStatus::Running,
    };
    match is_new {
        true => ExecutionWrite::create(row, events),
        false => ExecutionWrite::update(row, events),
    }
}

fn begun(record: &Record, parent: Option<Execution>, subject: &Subject) -> Execution {
    let id = process_id(&record.subject);
    let orchestrator = &subject.orchestrator;
    let mut row = Execution::new(id, &orchestrator.name, &orchestrator.version, ACTIVE);
    if limits::check_name("initiator", &subject.execution.initiator).is_ok() {
        row.queue.clone_from(&subject.execution.initiator);
    }
    row.timeouts = forever();
    if let Some(parent) = parent {
        row.parent = Some(parent.id);
        row.root = parent.root;
    }
    row
}

/// It waits for events, for as long as they take.
pub(crate) fn forever() -> Timeouts {
    let ever = u64::try_from(limits::MAX_DURATION.as_millis()).unwrap_or(u64::MAX);
    Timeouts { execution_timeout_ms: ever, wait_timeout_ms: ever }
}

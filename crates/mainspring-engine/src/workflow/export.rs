//! The history of one execution as lines of JSON: to be looked at, kept, and replayed against other code.

use std::{fmt, str::FromStr};

use mainspring_core::{
    Error, Execution, ExecutionId, ExecutionStatus, Failure, NewEvent, RecordedEvent, Result, Timestamp,
    event::EXECUTIONS, execution::stream_of,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::OUTPUT;
use crate::Engine;

/// One execution and its history, away from its database. As text it is lines of JSON: the execution first, then its events.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedHistory {
    /// The execution.
    pub execution: ExportedExecution,
    /// Its events, oldest first.
    pub events: Vec<ExportedEvent>,
}

/// What a history says of its execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedExecution {
    /// Its id.
    pub execution: ExecutionId,
    /// The flow or workflow.
    pub flow_id: String,
    /// Its version, as it is in the row.
    pub flow_version: String,
    /// Where it stood.
    pub status: ExecutionStatus,
    /// When it was created.
    pub created_at: Timestamp,
    /// What it returned, if it did.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// One event of an exported history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedEvent {
    /// Its place in the history: 1, 2, 3 …
    pub position: i64,
    /// When it was recorded.
    pub at: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The step it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The fact.
    #[serde(default)]
    pub data: Value,
}

impl Engine {
    /// The history of an execution, with all that was recorded in it: `engine.export(&id).await?.to_string()` is lines of
    /// JSON. Whoever reads them reads inputs and results.
    ///
    /// # Errors
    /// Not found; otherwise only those of the backend.
    pub async fn export(&self, id: &ExecutionId) -> Result<ExportedHistory> {
        let inner = &self.0;
        let execution = inner.load(id).await?.ok_or_else(|| Error::not_found("execution", id))?;
        let events = inner.history(&execution).await?;
        let Execution { id, flow_id, flow_version, status, created_at, mut context, error, .. } = execution;
        let output = context.remove(OUTPUT).unwrap_or_default();
        let events = events.into_iter().map(|recorded| ExportedEvent {
            position: recorded.position,
            at: recorded.created_at,
            event_type: recorded.event.event_type,
            subject: recorded.event.subject,
            data: recorded.event.data,
        });
        Ok(ExportedHistory {
            execution: ExportedExecution {
                execution: id,
                flow_id,
                flow_version,
                status,
                created_at,
                output,
                error,
            },
            events: events.collect(),
        })
    }
}

impl ExportedHistory {
    /// The events as they were recorded.
    pub(super) fn recorded(&self) -> Vec<RecordedEvent> {
        let events = self.events.iter().map(|event| RecordedEvent {
            partition: EXECUTIONS.to_owned(),
            tenant: String::new(),
            stream: stream_of(&self.execution.execution),
            position: event.position,
            global_position: event.position,
            event: NewEvent {
                subject: event.subject.clone(),
                ..NewEvent::new(&*event.event_type, event.data.clone())
            },
            created_at: event.at,
        });
        events.collect()
    }
}

impl fmt::Display for ExportedHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |value: serde_json::Result<String>| value.map_err(|_| fmt::Error);
        writeln!(f, "{}", line(serde_json::to_string(&self.execution))?)?;
        self.events.iter().try_for_each(|event| writeln!(f, "{}", line(serde_json::to_string(event))?))
    }
}

impl FromStr for ExportedHistory {
    type Err = Error;

    /// # Errors
    /// Invalid, naming the line.
    fn from_str(text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let first = lines.next().ok_or_else(|| Error::invalid("history", "is empty"))?;
        let execution = parsed(first)?;
        let events = lines.map(parsed).collect::<Result<_>>()?;
        Ok(Self { execution, events })
    }
}

fn parsed<T: DeserializeOwned>((number, line): (usize, &str)) -> Result<T> {
    let unreadable =
        |error| Error::invalid("history", format!("line {} cannot be read", number + 1)).with_source(error);
    serde_json::from_str(line).map_err(unreadable)
}

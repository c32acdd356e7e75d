//! Executions: one running instance of a flow or of a workflow.
//!
//! ```text
//!             ┌────────── resume · timer · child or job done ─────────┐
//!             ▼                                                       │
//! pending ─► running ─► waiting ──────────────────────────────────────┘
//!    │         │          │
//!    │         ├──────────┴─► cancelling ─► cancelled
//!    │         ├─► completed
//!    └─────────┴─► failed
//! ```
//!
//! Every change goes through its [`revision`](Execution::revision): a write names the revision it read, and loses when
//! another write came first. That one compare-and-set is the optimistic lock and the fence against revived workers.
//!
//! Who drives it: a non-terminal execution that waits for nobody outside has exactly one *driver*, either the message
//! [`driver`](Execution::driver) in its queue or a live [`holder`](Execution::holder). A wake-up message with any other id
//! is stale and dropped, so an old timer can do no harm.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Attribute, AttributeBound, Attributes, Error, ExecutionId, MessageId, Result, Timestamp, WorkerId,
    check_attributes, limits,
};

/// One running instance, as its row holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its id: generated, or the caller's own.
    pub id: ExecutionId,
    /// Isolation key; empty for none.
    pub tenant: String,
    /// The flow it runs.
    pub flow_id: String,
    /// The version pinned when it was created.
    pub flow_version: String,
    /// Where it stands in its life.
    pub status: ExecutionStatus,
    /// The step it runs next or waits in.
    pub current_step: String,
    /// Its data.
    pub context: Map<String, Value>,
    /// When a timed wait ends.
    pub wake_at: Option<Timestamp>,
    /// Why it waits.
    pub wait_reason: Option<String>,
    /// When the present wait began.
    pub wait_started_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Steps run so far, retries included.
    pub step_count: u32,
    /// Attempts used by the steps that are being retried; an entry goes when its step succeeds or gives up.
    pub retries: BTreeMap<String, u32>,
    /// The caller's own labels.
    pub metadata: Map<String, Value>,
    /// What it is searched by.
    pub attributes: Attributes,
    /// The queue its wake-ups are pushed to.
    pub queue: String,
    /// Key under which a second create within the window finds this one.
    pub idempotency_key: Option<String>,
    /// End of that window.
    pub idempotency_expires_at: Option<Timestamp>,
    /// Who cancelled it and why.
    pub cancellation: Option<Cancellation>,
    /// The execution that started it as a sub-flow.
    pub parent: Option<ExecutionId>,
    /// Top of its family; itself when it has no parent.
    pub root: ExecutionId,
    /// What its end tells its parent.
    pub reply: Option<Reply>,
    /// How long it and its waits may last.
    pub timeouts: Timeouts,
    /// The message that drives it; see the module.
    pub driver: Option<MessageId>,
    /// The worker that drives it without a message, alive as long as its liveness row says.
    pub holder: Option<WorkerId>,
    /// Counts its writes; the fence of every further write.
    pub revision: i64,
    /// Position of the last event in its stream.
    pub position: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// When it reached a terminal status.
    pub finished_at: Option<Timestamp>,
}

impl Execution {
    /// A pending execution with nothing optional set, at revision 0. Times are filled in by the store.
    pub fn new(
        id: ExecutionId,
        flow_id: impl Into<String>,
        flow_version: impl Into<String>,
        first_step: impl Into<String>,
    ) -> Self {
        Self {
            root: id.clone(),
            id,
            tenant: String::new(),
            flow_id: flow_id.into(),
            flow_version: flow_version.into(),
            status: ExecutionStatus::Pending,
            current_step: first_step.into(),
            context: Map::new(),
            wake_at: None,
            wait_reason: None,
            wait_started_at: None,
            error: None,
            step_count: 0,
            retries: BTreeMap::new(),
            metadata: Map::new(),
            attributes: Attributes::new(),
            queue: crate::DEFAULT_QUEUE.to_owned(),
            idempotency_key: None,
            idempotency_expires_at: None,
            cancellation: None,
            parent: None,
            reply: None,
            timeouts: Timeouts::default(),
            driver: None,
            holder: None,
            revision: 0,
            position: 0,
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
            finished_at: None,
        }
    }

    /// The stream of its events.
    pub fn stream(&self) -> String {
        stream_of(&self.id)
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_id("execution.id", self.id.as_str())?;
        limits::check_name("execution.flow_id", &self.flow_id)?;
        limits::check_name("execution.flow_version", &self.flow_version)?;
        limits::check_name("execution.current_step", &self.current_step)?;
        limits::check_name("execution.queue", &self.queue)?;
        if !self.tenant.is_empty() {
            limits::check_id("execution.tenant", &self.tenant)?;
        }
        if let Some(key) = &self.idempotency_key {
            limits::check_id("execution.idempotency_key", key)?;
        }
        if self.parent.as_ref() == Some(&self.id) {
            return Err(Error::invalid(
                "execution.parent",
                format!("`{}` cannot be its own parent", self.id),
            ));
        }
        if self.wake_at.is_some() && self.status != ExecutionStatus::Waiting {
            return Err(Error::invalid(
                "execution.wake_at",
                format!("is set, but the status is {}", self.status),
            ));
        }
        if self.idempotency_key.is_some() != self.idempotency_expires_at.is_some() {
            return Err(Error::invalid(
                "execution.idempotency_key",
                "needs an expiry, and an expiry needs a key",
            ));
        }
        if let Some(reason) = &self.wait_reason {
            limits::check_message("execution.wait_reason", reason)?;
        }
        if let Some(failure) = &self.error {
            failure.check("execution.error")?;
        }
        if let Some(reason) = self.cancellation.as_ref().and_then(|c| c.reason.as_ref()) {
            limits::check_message("execution.cancellation", reason)?;
        }
        limits::check_map("execution.context", &self.context, limits::MAX_CONTEXT)?;
        limits::check_map("execution.metadata", &self.metadata, limits::MAX_METADATA)?;
        check_attributes(&self.attributes)?;
        self.timeouts.check()
    }
}

/// The name of an execution's stream: `execution-<id>`.
pub fn stream_of(id: &ExecutionId) -> String {
    format!("execution-{id}")
}

/// The name of the stream of what is sent to a workflow's execution: `inbox-<id>`.
pub fn inbox_of(id: &ExecutionId) -> String {
    format!("inbox-{id}")
}

/// Where an [`Execution`] stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Created, not yet started.
    Pending,
    /// Being driven, or about to be.
    Running,
    /// Parked: for a time, a token, a job or a child.
    Waiting,
    /// Cancel was asked for while it ran; nothing it still does counts.
    Cancelling,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl ExecutionStatus {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Cancelling,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Nothing ever changes it again.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a write may move from here to `next`. Staying is allowed unless terminal.
    pub const fn may_become(self, next: Self) -> bool {
        use ExecutionStatus::{Cancelled, Cancelling, Pending};
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => false,
            Self::Cancelling => matches!(next, Cancelling | Cancelled),
            Self::Pending => true,
            Self::Running | Self::Waiting => !matches!(next, Pending),
        }
    }

    /// Its name in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ExecutionStatus {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| Error::invalid("status", format!("`{text}` is no execution status")))
    }
}

/// Why an execution or a job failed, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Machine-readable: `STEP_FAILED`, `TIMEOUT`, or the handler's own.
    pub code: String,
    /// For people.
    pub message: String,
    /// The step it happened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<String>,
    /// More, as JSON.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

impl Failure {
    /// A failure with a code and a message; long messages are cut to 8 KiB.
    pub fn new(code: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self {
            code: code.into(),
            message: limits::clip_error(message.as_ref()),
            step_id: None,
            details: Value::Null,
            timestamp: None,
        }
    }
}

impl Failure {
    /// Checks what a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming `field` and the limit.
    pub fn check(&self, field: &str) -> Result<()> {
        limits::check_message(field, &self.code)?;
        limits::check_message(field, &self.message)?;
        if let Some(step) = &self.step_id {
            limits::check_message(field, step)?;
        }
        limits::check_json(field, &self.details)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Who asked for a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelSource {
    /// A caller of the API.
    User,
    /// The timeout sweeper.
    Timeout,
    /// The library itself.
    System,
    /// The parent execution was cancelled.
    Parent,
}

/// The record of a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    /// Who.
    pub source: CancelSource,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, by the database's clock.
    pub cancelled_at: Timestamp,
}

/// How long an execution and each of its waits may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// From creation to a terminal status, in milliseconds. Defaults to 24 hours, so a flow that sleeps longer raises it.
    pub execution_timeout_ms: u64,
    /// Of one wait without a time of its own, in milliseconds. Defaults to 7 days.
    pub wait_timeout_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { execution_timeout_ms: 24 * 3_600_000, wait_timeout_ms: 7 * 24 * 3_600_000 }
    }
}

impl Timeouts {
    /// Checks both: at least 1 ms, at most 100 years.
    ///
    /// # Errors
    /// Invalid, naming the field.
    pub fn check(&self) -> Result<()> {
        for (field, ms) in [
            ("timeouts.executionTimeoutMs", self.execution_timeout_ms),
            ("timeouts.waitTimeoutMs", self.wait_timeout_ms),
        ] {
            if ms == 0 {
                return Err(Error::invalid(field, "must be at least 1 ms"));
            }
            limits::check_duration(field, Duration::from_millis(ms))?;
        }
        Ok(())
    }
}

/// The message that the end of a child or of a job sends: agreed when the parent began to wait, so that the end needs no
/// write to the parent's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Id of the message, which the waiting execution already names as its driver.
    pub message: MessageId,
    /// The execution that waits.
    pub to: ExecutionId,
    /// The queue of the waiting execution.
    pub queue: String,
    /// For a workflow that called a step elsewhere: the step. Its end goes into the execution's inbox, and the message knocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
}

/// Which executions to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Only of this flow.
    pub flow_id: Option<String>,
    /// Only of this version of it, as it is in the row: that of a workflow at `2` is `fn-2`.
    pub flow_version: Option<String>,
    /// Only with this status.
    pub status: Option<ExecutionStatus>,
    /// Only created at this time or later.
    pub since: Option<Timestamp>,
    /// Only created before this time.
    pub until: Option<Timestamp>,
    /// Only with all of these search attributes.
    pub attributes: Attributes,
    /// Only with search attributes within all of these bounds. Alone they are looked for in every execution that has search
    /// attributes, else in those that are left.
    pub bounds: Vec<AttributeBound>,
    /// Only those after this one in the order of the list: the last of the page before.
    pub after: Option<(Timestamp, ExecutionId)>,
    /// At most so many, 1 to 10,000; 0 is 100.
    pub limit: u32,
}

impl ExecutionFilter {
    /// Only with this search attribute besides: `filter.with("customer", "c-7").with("total", 42)`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The limit in force.
    ///
    /// # Errors
    /// Invalid when over 10,000.
    pub fn page_size(&self) -> Result<i64> {
        page_size(self.limit)
    }
}

/// A page size: 0 is 100, at most 10,000.
///
/// # Errors
/// Invalid when over 10,000.
pub fn page_size(limit: u32) -> Result<i64> {
    match limit {
        0 => Ok(100),
        1..=10_000 => Ok(i64::from(limit)),
        _ => Err(Error::invalid("limit", format!("{limit} is over 10000"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_statuses_never_change() {
        for from in ExecutionStatus::ALL {
            for to in ExecutionStatus::ALL {
                if from.is_terminal() {
                    assert!(!from.may_become(to), "{from} -> {to}");
                }
            }
            assert_eq!(from.as_str().parse::<ExecutionStatus>().unwrap(), from);
        }
        assert!(!ExecutionStatus::Cancelling.may_become(ExecutionStatus::Completed));
    }

    #[test]
    fn an_execution_cannot_be_its_own_parent() {
        let mut execution = Execution::new(ExecutionId::new("a").unwrap(), "f", "1.0.0", "s");
        execution.parent = Some(execution.id.clone());
        assert!(execution.check().unwrap_err().to_string().contains("own parent"));
    }

    #[test]
    fn timeouts_are_bounded() {
        let zero = Timeouts { execution_timeout_ms: 0, ..Timeouts::default() };
        assert!(zero.check().unwrap_err().to_string().starts_with("timeouts.executionTimeoutMs"));
        let ever = Timeouts { wait_timeout_ms: u64::MAX, ..Timeouts::default() };
        assert!(ever.check().is_err());
    }
}

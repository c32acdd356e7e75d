//! Runs, steps, hooks and waits as their history adds up to, and the events of that history.
//!
//! In all of them an absent value (`None`) is `undefined`, and `Some(null)` is `null`.

use mainspring_core::{ExecutionId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::EventType;

/// The time of what is decided and not committed yet.
pub(crate) const NOT_YET: Timestamp = Timestamp::MAX;

/// Where a [`Run`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Created, not yet started.
    Pending,
    /// Started, or waiting for something of its own.
    Running,
    /// Paused from outside.
    Paused,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl RunStatus {
    /// Nothing ever changes it again.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a [`Step`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// To be run, for the first time or again.
    Pending,
    /// Begun.
    Running,
    /// Ended well.
    Completed,
    /// Failed for good.
    Failed,
}

impl StepStatus {
    /// Nothing ever changes it again.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }

    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Where a [`Wait`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitStatus {
    /// Its time has not come, or nobody has said so.
    Waiting,
    /// It is over.
    Completed,
}

/// Why a run or a step failed, in the words of its own code.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fault {
    /// For people.
    pub message: String,
    /// Where in its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// For machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Fault {
    /// A fault with a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// One run of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id: `wrun_` and a ULID, or the id of an execution of the engine.
    pub run_id: ExecutionId,
    /// The workflow.
    pub workflow_name: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Which deployment it belongs to.
    pub deployment_id: Option<String>,
    /// The version of the rules it was created under.
    pub spec_version: u32,
    /// What it was started with.
    pub input: Option<Value>,
    /// What it returned.
    pub output: Option<Value>,
    /// Why it failed.
    pub error: Option<Fault>,
    /// What its code keeps beside its input, such as trace context.
    pub execution_context: Option<Value>,
    /// Labels of its users.
    pub attributes: Map<String, Value>,
    /// The run that started it.
    pub parent_run_id: Option<ExecutionId>,
    /// Top of its family; itself when it has no parent.
    pub root_run_id: ExecutionId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When something happened to it last.
    pub updated_at: Timestamp,
    /// When it was first started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The run.
    pub run_id: ExecutionId,
    /// Its id, which is the correlation id of its events.
    pub step_id: String,
    /// What it does.
    pub step_name: String,
    /// Where it stands.
    pub status: StepStatus,
    /// What it works on.
    pub input: Option<Value>,
    /// What it returned.
    pub output: Option<Value>,
    /// Why it failed, or failed last.
    pub error: Option<Fault>,
    /// How often it was begun: 1 for the first run.
    pub attempt: u32,
    /// When it was first begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When something happened to it last.
    pub updated_at: Timestamp,
    /// Not to be begun again before this time.
    pub retry_after: Option<Timestamp>,
}

/// A place where payloads come in for a run from whoever has its token.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The run.
    pub run_id: ExecutionId,
    /// Its id, which is the correlation id of its events.
    pub hook_id: String,
    /// What its users know it by; no two hooks have the same at the same time.
    pub token: String,
    /// Whatever its maker keeps with it.
    pub metadata: Option<Value>,
    /// Whether it is reached as a webhook.
    pub is_webhook: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A run's wait for a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// The run.
    pub run_id: ExecutionId,
    /// Its id, which is the correlation id of its events.
    pub wait_id: String,
    /// Where it stands.
    pub status: WaitStatus,
    /// When it is over.
    pub resume_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When its end was recorded.
    pub completed_at: Option<Timestamp>,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Names it among all events.
    pub event_id: String,
    /// The run.
    pub run_id: ExecutionId,
    /// What happened.
    pub event_type: EventType,
    /// The step, hook or wait it is about.
    pub correlation_id: Option<String>,
    /// The fact; an absent one is left out of it.
    pub event_data: Option<Value>,
    /// When, by the database's clock.
    pub created_at: Timestamp,
}

/// Gives what was decided at [`NOT_YET`] its time.
pub(crate) fn stamp(time: &mut Timestamp, at: Timestamp) {
    if *time == NOT_YET {
        *time = at;
    }
}

fn stamp_some(time: &mut Option<Timestamp>, at: Timestamp) {
    if let Some(time) = time {
        stamp(time, at);
    }
}

impl Run {
    pub(crate) fn stamp(&mut self, at: Timestamp) {
        stamp(&mut self.created_at, at);
        stamp(&mut self.updated_at, at);
        stamp_some(&mut self.started_at, at);
        stamp_some(&mut self.completed_at, at);
    }
}

impl Step {
    pub(crate) fn stamp(&mut self, at: Timestamp) {
        stamp(&mut self.created_at, at);
        stamp(&mut self.updated_at, at);
        stamp_some(&mut self.started_at, at);
        stamp_some(&mut self.completed_at, at);
    }
}

impl Hook {
    pub(crate) fn stamp(&mut self, at: Timestamp) {
        stamp(&mut self.created_at, at);
    }
}

impl Wait {
    pub(crate) fn stamp(&mut self, at: Timestamp) {
        stamp(&mut self.created_at, at);
        stamp_some(&mut self.completed_at, at);
    }
}

/// Reads a value that is there as `Some`, `null` included.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

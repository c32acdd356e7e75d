//! Jobs: the durable record of doing one step out of line.
//!
//! ```text
//! pending ──claim──► running ──complete──► completed
//!    ▲                  │ ├──── fail, attempts left ──► pending
//!    │                  │ └──── fail, none left ──────► failed
//!    └── stalled, reset ┘            any but terminal ─► cancelled
//! ```
//!
//! A claim hands out a token; every later write of the worker carries it, and one with an older token changes nothing.
//! Checkpoints outlive the worker: the next one starts from them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, ExecutionId, Failure, JobId, Reply, Result, Timestamp, WorkerId, limits};

/// One job, as its row holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Isolation key; empty for none.
    pub tenant: String,
    /// The execution it works for.
    pub execution_id: ExecutionId,
    /// The step it does.
    pub step_id: String,
    /// The handler that does it.
    pub handler: String,
    /// Where it stands.
    pub status: JobStatus,
    /// What it works on.
    pub input: Value,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed, or failed last.
    pub error: Option<Failure>,
    /// Who runs it.
    pub holder: Option<WorkerId>,
    /// Fencing token of the present claim.
    pub token: i64,
    /// Last sign of life of the present holder.
    pub heartbeat_at: Option<Timestamp>,
    /// How long after a sign of life it counts as stalled, in milliseconds. Defaults to 90,000.
    pub stalled_after_ms: i64,
    /// Claims so far.
    pub attempts: u32,
    /// Claims that ended with the death of their worker.
    pub lost: u32,
    /// Runs in all, the first included and lost ones not, before it fails. Defaults to 3.
    pub max_attempts: u32,
    /// What its worker saved, by key.
    pub checkpoint: Map<String, Value>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What its end tells the execution that waits for it.
    pub reply: Option<Reply>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// When it reached a terminal status.
    pub finished_at: Option<Timestamp>,
}

impl Job {
    /// A pending job with nothing optional set. Times are filled in by the store.
    pub fn new(
        execution_id: ExecutionId,
        step_id: impl Into<String>,
        handler: impl Into<String>,
        input: Value,
    ) -> Self {
        Self {
            id: JobId::generate(),
            tenant: String::new(),
            execution_id,
            step_id: step_id.into(),
            handler: handler.into(),
            status: JobStatus::Pending,
            input,
            result: None,
            error: None,
            holder: None,
            token: 0,
            heartbeat_at: None,
            stalled_after_ms: 90_000,
            attempts: 0,
            lost: 0,
            max_attempts: 3,
            checkpoint: Map::new(),
            progress: None,
            reply: None,
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
            finished_at: None,
        }
    }

    /// Whether another run is allowed after a failure of the present one.
    pub fn may_retry(&self) -> bool {
        self.attempts.saturating_sub(self.lost) < self.max_attempts
    }

    /// The right to write as the present holder.
    pub fn lease(&self) -> JobLease {
        JobLease { id: self.id.clone(), token: self.token }
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_id("job.id", self.id.as_str())?;
        limits::check_id("job.execution_id", self.execution_id.as_str())?;
        limits::check_name("job.step_id", &self.step_id)?;
        limits::check_name("job.handler", &self.handler)?;
        if !(1..=limits::MAX_ATTEMPTS).contains(&self.max_attempts) {
            return Err(Error::invalid(
                "job.max_attempts",
                format!("{} is not within 1 to 1000", self.max_attempts),
            ));
        }
        if self.stalled_after_ms < 1 {
            return Err(Error::invalid("job.stalled_after_ms", "must be at least 1"));
        }
        limits::check_json("job.input", &self.input)
    }
}

/// The right to write to a claimed job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobLease {
    /// The job.
    pub id: JobId,
    /// Fencing token of the claim.
    pub token: i64,
}

impl JobLease {
    /// The error of a lost claim.
    pub fn fenced(&self) -> Error {
        Error::fenced(format!("claim {} of job `{}` was superseded", self.token, self.id))
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Progress {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        if self.percent > 100 {
            return Err(Error::invalid("progress.percent", format!("{} is over 100", self.percent)));
        }
        if self.message.len() > limits::MAX_ERROR_TEXT || self.message.contains('\0') {
            return Err(Error::invalid("progress.message", "has NUL or is over 8192 bytes"));
        }
        Ok(())
    }
}

/// Which jobs are listed; all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// With this status. Defaults to any.
    pub status: Option<JobStatus>,
    /// Of this execution. Defaults to any.
    pub execution: Option<ExecutionId>,
    /// Only those after this one, by creation time and id: where the page before ended.
    pub after: Option<(Timestamp, JobId)>,
    /// At most so many, up to 10,000; 0 is 100.
    pub limit: u32,
}

/// Where a [`Job`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// To be claimed.
    Pending,
    /// Claimed.
    Running,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl JobStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// Nothing ever changes it again.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Its name in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobStatus {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| Error::invalid("status", format!("`{text}` is no job status")))
    }
}

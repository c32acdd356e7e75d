//! A decision as a value: what a handler decided, to be committed in one transaction.
//!
//! Every system of the library ends here. A step of a flow, a job, a resumed token, a cancelled family: each becomes one
//! [`Changes`], and [`Backend::commit`](crate::Backend::commit) makes all of it durable, or none of it.

use serde_json::Value;

use crate::{
    Append, Appended, Error, Execution, ExecutionId, Failure, Job, JobLease, NewEvent, NewMessage, NewToken,
    OutputWrite, Receipt, Result, Settle, Timestamp, TokenHash, queue::check_messages, trace,
};

/// What a handler decided. All of it becomes durable, or none of it.
///
/// What can refuse it, in this order: the lease behind `settle` and job writes ([fenced](Error::is_fenced)), then a
/// revision, an id or an idempotency key that is taken, an expected position, a token that is spent, a receipt that is there
/// ([conflict](Error::is_conflict)). Touching the same execution, message, job, token, receipt or stream twice is
/// [invalid](Error::is_invalid).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Executions created or changed, each with what goes into its history.
    pub executions: Vec<ExecutionWrite>,
    /// Events for other streams, expected positions checked.
    pub appends: Vec<Append>,
    /// Messages pushed to queues.
    pub messages: Vec<NewMessage>,
    /// Jobs created or settled.
    pub jobs: Vec<JobWrite>,
    /// Tokens made, spent or revoked.
    pub tokens: Vec<TokenWrite>,
    /// Chunks for output streams, in this order.
    pub outputs: Vec<OutputWrite>,
    /// Proof of what was handled; refused when there is one already.
    pub receipts: Vec<Receipt>,
    /// What becomes of the message that caused all this, fenced by its lease.
    pub settle: Option<Settle>,
}

impl Changes {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.executions.is_empty()
            && self.appends.is_empty()
            && self.messages.is_empty()
            && self.jobs.is_empty()
            && self.tokens.is_empty()
            && self.outputs.is_empty()
            && self.receipts.is_empty()
            && self.settle.is_none()
    }

    /// The same in the [present trace](crate::trace): messages and events that belong to none get its context, and the
    /// settlement the present span. To be called after [`check`](Self::check), so that a trace never makes anything too large.
    #[must_use]
    pub fn traced(mut self) -> Self {
        let histories = self.executions.iter_mut().map(|write| &mut write.events);
        let events = histories.chain(self.appends.iter_mut().map(|append| &mut append.events)).flatten();
        let messages = self.messages.iter_mut().map(|message| &mut message.headers);
        trace::stamp(events.map(|event| &mut event.metadata).chain(messages));
        if let Some(settle) = &mut self.settle {
            settle.tried = settle.tried.take().or_else(trace::span);
        }
        self
    }

    /// Checks everything a caller could have put in, before any SQL runs.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.executions.iter().try_for_each(ExecutionWrite::check)?;
        self.appends.iter().try_for_each(Append::check)?;
        check_messages(&self.messages)?;
        for job in &self.jobs {
            job.check()?;
        }
        for token in &self.tokens {
            if let TokenWrite::Create(token) = token {
                token.check()?;
            }
        }
        self.outputs.iter().try_for_each(OutputWrite::check)?;
        self.receipts.iter().try_for_each(Receipt::check)?;
        self.settle.as_ref().map_or(Ok(()), Settle::check)
    }
}

/// What a write expects of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It does not exist.
    New,
    /// It is at this revision.
    Revision(i64),
}

/// An execution as it is to be, and what goes into its history with it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionWrite {
    /// What the row must be like.
    pub expect: Expect,
    /// All of the row; `revision`, `position` and times are set by the store: the revision grows by one, the position by the
    /// number of events.
    pub execution: Execution,
    /// What happened, in order.
    pub events: Vec<NewEvent>,
}

impl ExecutionWrite {
    /// A new execution.
    pub fn create(execution: Execution, events: Vec<NewEvent>) -> Self {
        Self { expect: Expect::New, execution, events }
    }

    /// A change of an execution that was read at `execution.revision`.
    pub fn update(execution: Execution, events: Vec<NewEvent>) -> Self {
        Self { expect: Expect::Revision(execution.revision), execution, events }
    }

    /// The execution as it stands after this write, at the database's time `at`.
    pub fn applied(self, at: Timestamp) -> Execution {
        let mut execution = self.execution;
        if self.expect == Expect::New {
            execution.revision = 0;
            execution.position = 0;
            execution.created_at = at;
        }
        execution.revision += 1;
        execution.position += i64::try_from(self.events.len()).unwrap_or(i64::MAX);
        execution.updated_at = at;
        execution.finished_at = execution.status.is_terminal().then_some(at);
        execution
    }

    /// The error of a lost race.
    pub fn conflict(&self) -> Error {
        match self.expect {
            Expect::New => Error::conflict(format!(
                "execution `{}` exists, or its idempotency key is taken",
                self.execution.id
            )),
            Expect::Revision(revision) => Error::conflict(format!(
                "execution `{}` is no longer at revision {revision}: someone else changed it",
                self.execution.id
            )),
        }
    }

    fn check(&self) -> Result<()> {
        self.execution.check()?;
        if self.events.iter().any(|event| event.id.is_some() || event.schema_version != 1) {
            return Err(Error::invalid(
                "event",
                "in a history it has no id of its own and is of schema version 1",
            ));
        }
        self.events.iter().try_for_each(NewEvent::check)
    }
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobWrite {
    /// A new job.
    Create(Box<Job>),
    /// It ended well, by the holder of this lease.
    Complete(JobLease, Value),
    /// It failed for good, by the holder of this lease.
    Fail(JobLease, Failure),
    /// It failed and waits for another run, by the holder of this lease.
    Retry(JobLease, Failure),
    /// All jobs of this execution that are not terminal are cancelled.
    CancelAll(ExecutionId),
}

impl JobWrite {
    /// The lease behind it, for those that have one.
    pub fn lease(&self) -> Option<&JobLease> {
        match self {
            Self::Complete(lease, _) | Self::Fail(lease, _) | Self::Retry(lease, _) => Some(lease),
            Self::Create(_) | Self::CancelAll(_) => None,
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Create(job) => job.check(),
            Self::Complete(_, result) => crate::limits::check_json("job.result", result),
            Self::Fail(_, failure) | Self::Retry(_, failure) => failure.check("job.error"),
            Self::CancelAll(_) => Ok(()),
        }
    }
}

/// What becomes of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenWrite {
    /// A new token.
    Create(Box<NewToken>),
    /// It is spent; refused unless it still works.
    Consume(TokenHash),
    /// All tokens of this execution that still work are revoked.
    RevokeAll(ExecutionId),
}

/// What a commit tells its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The database's time of the commit.
    pub at: Timestamp,
    /// Where the events of each of its appends are, in order.
    pub appended: Vec<Appended>,
}

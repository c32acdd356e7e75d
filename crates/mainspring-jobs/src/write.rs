//! Writes of many jobs in one statement: what a group commit sends.
//!
//! A single write is a batch of one, so there is one create and one end in the whole library.

use std::{collections::HashSet, time::SystemTime};

use mainspring_core::{ExecutionId, Failure, Job, JobId, JobLease, JobStatus, JobWrite, Result};
use mainspring_pg::{
    Query, Row,
    row::{get, to_json},
};
use serde_json::Value;

/// How the holder of a lease ends a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JobEnd<'a> {
    /// It ended well.
    Complete(&'a Value),
    /// It failed for good.
    Fail(&'a Failure),
    /// It failed and waits for another run.
    Retry(&'a Failure),
}

impl<'a> JobEnd<'a> {
    /// The leased end in a write, for those that are one.
    pub fn of(write: &'a JobWrite) -> Option<(&'a JobLease, Self)> {
        match write {
            JobWrite::Complete(lease, result) => Some((lease, Self::Complete(result))),
            JobWrite::Fail(lease, error) => Some((lease, Self::Fail(error))),
            JobWrite::Retry(lease, error) => Some((lease, Self::Retry(error))),
            JobWrite::Create(_) | JobWrite::CancelAll(_) => None,
        }
    }

    fn status(self) -> JobStatus {
        match self {
            Self::Complete(_) => JobStatus::Completed,
            Self::Fail(_) => JobStatus::Failed,
            Self::Retry(_) => JobStatus::Pending,
        }
    }

    fn payload(self) -> Option<Value> {
        match self {
            Self::Complete(result) => Some(result.clone()),
            Self::Fail(error) | Self::Retry(error) => to_json(Some(error)),
        }
    }
}

const CREATE: &str = include_str!("sql/create.sql");

/// Inserts all of `jobs`. An id that is taken, or an execution that does not exist, fails the statement.
pub fn create_query(jobs: &[&Job]) -> Query {
    Query::new(CREATE)
        .bind(column(jobs, |j| j.id.to_string()))
        .bind(column(jobs, |j| j.tenant.clone()))
        .bind(column(jobs, |j| j.execution_id.to_string()))
        .bind(column(jobs, |j| j.step_id.clone()))
        .bind(column(jobs, |j| j.handler.clone()))
        .bind(column(jobs, |j| j.status.as_str()))
        .bind(column(jobs, |j| j.input.clone()))
        .bind(column(jobs, |j| j.result.clone()))
        .bind(column(jobs, |j| to_json(j.error.as_ref())))
        .bind(column(jobs, |j| j.holder.as_ref().map(ToString::to_string)))
        .bind(column(jobs, |j| j.token))
        .bind(column(jobs, |j| j.heartbeat_at.map(SystemTime::from)))
        .bind(column(jobs, |j| j.stalled_after_ms))
        .bind(column(jobs, |j| count(j.attempts)))
        .bind(column(jobs, |j| count(j.lost)))
        .bind(column(jobs, |j| count(j.max_attempts)))
        .bind(column(jobs, |j| Value::Object(j.checkpoint.clone())))
        .bind(column(jobs, |j| to_json(j.progress.as_ref())))
        .bind(column(jobs, |j| to_json(j.reply.as_ref())))
}

const SETTLE: &str = include_str!("sql/settle.sql");

/// Ends all runs in `ends` whose claim still stands; [`decode_settled`] says which. No lease may appear twice.
pub fn settle_query(ends: &[(&JobLease, JobEnd<'_>)]) -> Query {
    let mut ends = ends.to_vec();
    // Rows are locked in the order of the array; one order for everybody, so that two batches cannot deadlock.
    ends.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    Query::new(SETTLE)
        .bind(ends.iter().map(|(lease, _)| lease.id.to_string()).collect::<Vec<_>>())
        .bind(ends.iter().map(|(lease, _)| lease.token).collect::<Vec<_>>())
        .bind(ends.iter().map(|(_, end)| end.status().as_str()).collect::<Vec<_>>())
        .bind(ends.iter().map(|(_, end)| end.payload()).collect::<Vec<_>>())
}

/// Reads the rows of [`settle_query`]: the leases that still stood. All others were superseded, and nothing was changed.
///
/// # Errors
/// Internal, when the rows are not of that statement.
pub fn decode_settled(rows: &[Row]) -> Result<HashSet<JobLease>> {
    rows.iter()
        .map(|row| Ok(JobLease { id: JobId::from_stored(get(row, 0)?), token: get(row, 1)? }))
        .collect()
}

const CANCEL_ALL: &str = include_str!("sql/cancel_all.sql");

/// Cancels all jobs of `executions` that are not terminal; one row for each.
pub fn cancel_all_query(executions: &[&ExecutionId]) -> Query {
    Query::new(CANCEL_ALL).bind(executions.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn column<T>(jobs: &[&Job], value: impl Fn(&Job) -> T) -> Vec<T> {
    jobs.iter().map(|job| value(job)).collect()
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

//! The store: one method, one statement.

use std::time::SystemTime;

use mainspring_core::{
    BoxFuture, Error, ExecutionId, Failure, Job, JobFilter, JobId, JobLease, JobStatus, JobStore, Progress,
    Result, Timestamp, WorkerId, execution::page_size, limits,
};
use mainspring_pg::{
    Db, Query, Row, TxRef, constraint,
    row::{get, to_json},
};
use serde_json::Value;

use crate::{
    row::{columns, job_from_row},
    write::{JobEnd, create_query, settle_query},
};

/// Code of the error of a job whose worker was silent for too long.
const JOB_STALLED: &str = "JOB_STALLED";

/// Workers a job may cost before it is given up, however many attempts it has left: it may be what kills them.
const MAX_LOST: i32 = 10;

/// Jobs on Postgres; see the crate.
#[derive(Clone)]
pub struct PgJobStore<'t> {
    db: Db<'t>,
}

impl<'t> PgJobStore<'t> {
    /// The store on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// The same store, standing on your transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgJobStore<'u> {
        PgJobStore { db: self.db.on(tx) }
    }

    async fn create_one(&self, mut job: Job) -> Result<Job> {
        job.check()?;
        let rows = self.db.run(create_query(&[&job])).await.map_err(|error| refusal(error, &job))?;
        let row = rows.first().ok_or_else(|| Error::internal(format!("job `{}` was not stored", job.id)))?;
        job.created_at = get::<SystemTime>(row, 0)?.into();
        job.updated_at = job.created_at;
        job.finished_at = get::<Option<SystemTime>>(row, 1)?.map(Timestamp::from);
        Ok(job)
    }

    async fn find(&self, query: Query) -> Result<Vec<Job>> {
        self.db.run(query).await?.iter().map(job_from_row).collect()
    }
}

/// Which of the things a new job names was the wrong one.
fn refusal(error: Error, job: &Job) -> Error {
    if constraint(&error).is_some_and(|name| name.ends_with("jobs_execution")) {
        return Error::not_found("execution", &job.execution_id).with_source(error);
    }
    if error.is_conflict() {
        return Error::conflict(format!("job `{}` exists", job.id)).with_source(error);
    }
    error
}

const GET: &str = concat!("SELECT ", columns!(), " FROM {jobs} j WHERE j.id = $1");

const CLAIM: &str = concat!(
    "WITH c AS MATERIALIZED (SELECT {now}() AS at)
     UPDATE {jobs} j SET status = 'running', holder = $2, token = nextval('{job_token}') * 1048576 + floor(random() * 1048576)::bigint,
         attempts = j.attempts + 1,
       heartbeat_at = c.at, progress = NULL, updated_at = c.at
     FROM c
     WHERE j.id = $1 AND j.status = 'pending' RETURNING ",
    columns!()
);

/// A holder is dead when it has no liveness row that is up to date. One that asks for its own job has forgotten its claim.
const TAKE_OVER: &str = concat!(
    "WITH c AS MATERIALIZED (SELECT {now}() AS at)
     UPDATE {jobs} j SET status = 'running', holder = $2, token = nextval('{job_token}') * 1048576 + floor(random() * 1048576)::bigint,
         attempts = j.attempts + 1,
       lost = j.lost + CASE WHEN j.status = 'running' THEN 1 ELSE 0 END,
       heartbeat_at = c.at, progress = NULL, updated_at = c.at
     FROM c
     WHERE j.id = $1 AND (j.status = 'pending' OR j.status = 'running' AND (j.holder = $2 OR NOT EXISTS (
       SELECT 1 FROM {workers} w WHERE w.id = j.holder AND w.expires_at > c.at)))
     RETURNING ",
    columns!()
);

const HELD_UNTIL: &str = "SELECT w.expires_at FROM {jobs} j JOIN {workers} w ON w.id = j.holder
  WHERE j.id = $1 AND j.status = 'running' AND w.expires_at > (SELECT {now}())";

const HEARTBEAT: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at)
  UPDATE {jobs} j SET heartbeat_at = c.at, updated_at = c.at
  FROM c WHERE j.id = $1 AND j.token = $2 AND j.status = 'running'";

const FAIL: &str = include_str!("sql/fail.sql");

/// Merged by the database, so that writers of different keys cannot overwrite each other.
const SAVE_CHECKPOINT: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at)
  UPDATE {jobs} j SET checkpoint = j.checkpoint || jsonb_build_object($3::text, $4::jsonb),
    heartbeat_at = c.at, updated_at = c.at
  FROM c WHERE j.id = $1 AND j.token = $2 AND j.status = 'running'";

const CLEAR_CHECKPOINT: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at)
  UPDATE {jobs} j SET
    checkpoint = CASE WHEN $3::text IS NULL THEN '{}'::jsonb ELSE j.checkpoint - $3 END,
    heartbeat_at = c.at, updated_at = c.at
  FROM c WHERE j.id = $1 AND j.token = $2 AND j.status = 'running'";

const UPDATE_PROGRESS: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at)
  UPDATE {jobs} j SET progress = $3, heartbeat_at = c.at, updated_at = c.at
  FROM c WHERE j.id = $1 AND j.token = $2 AND j.status = 'running'";

/// The page after a time and an id, by an index that begins with what stands before it.
macro_rules! page {
    ($which:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM {jobs} j WHERE ",
            $which,
            "(j.created_at, j.id) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::text, ''))
             ORDER BY j.created_at, j.id LIMIT $4"
        )
    };
}

/// No index has this order: it is for few who look at everything.
const LIST: &str = page!("coalesce(j.status = $1::text, true) AND ");
const LIST_BY_STATUS: &str = page!("j.status = $1::text AND ");
const LIST_BY_EXECUTION: &str = page!("coalesce(j.status = $1::text, true) AND j.execution_id = $5 AND ");

/// Compared as numbers: adding `stalled_after_ms` to a time could leave the range of times.
const FIND_STALLED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM {jobs} j
     WHERE j.status = 'running'
       AND extract(epoch FROM (SELECT {now}()) - j.heartbeat_at) * 1000 >= j.stalled_after_ms
     ORDER BY j.heartbeat_at, j.id LIMIT $1"
);

const RESET_STALLED: &str = include_str!("sql/reset_stalled.sql");

const GET_BY_EXECUTION: &str =
    concat!("SELECT ", columns!(), " FROM {jobs} j WHERE j.execution_id = $1 ORDER BY j.created_at, j.id");

/// Terminal rows never change, so only another cleaner can hold one: it is left to that one.
const DELETE_OLD: &str = "WITH old AS MATERIALIZED (
    SELECT id FROM {jobs} WHERE finished_at < $1 ORDER BY finished_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
  DELETE FROM {jobs} j USING old WHERE j.id = old.id";

impl JobStore for PgJobStore<'_> {
    fn create(&self, job: Job) -> BoxFuture<'_, Result<Job>> {
        Box::pin(self.create_one(job))
    }

    fn get<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<Job>>> {
        Box::pin(
            async move { self.db.opt(GET, &[&id.as_str()]).await?.as_ref().map(job_from_row).transpose() },
        )
    }

    fn claim<'a>(&'a self, id: &'a JobId, worker: &'a WorkerId) -> BoxFuture<'a, Result<Option<Job>>> {
        Box::pin(async move {
            let row = self.db.opt(CLAIM, &[&id.as_str(), &worker.as_str()]).await?;
            row.as_ref().map(job_from_row).transpose()
        })
    }

    fn take_over<'a>(&'a self, id: &'a JobId, worker: &'a WorkerId) -> BoxFuture<'a, Result<Option<Job>>> {
        Box::pin(async move {
            let row = self.db.opt(TAKE_OVER, &[&id.as_str(), &worker.as_str()]).await?;
            row.as_ref().map(job_from_row).transpose()
        })
    }

    fn held_until<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<Timestamp>>> {
        Box::pin(async move {
            let row = self.db.opt(HELD_UNTIL, &[&id.as_str()]).await?;
            row.map(|row| Ok(get::<SystemTime>(&row, 0)?.into())).transpose()
        })
    }

    fn heartbeat<'a>(&'a self, lease: &'a JobLease) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.db.exec(HEARTBEAT, &[&lease.id.as_str(), &lease.token]).await? == 1) })
    }

    fn complete<'a>(&'a self, lease: &'a JobLease, result: Value) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            limits::check_json("job.result", &result)?;
            let settled = self.db.run(settle_query(&[(lease, JobEnd::Complete(&result))])).await?;
            Ok(!settled.is_empty())
        })
    }

    fn fail<'a>(&'a self, lease: &'a JobLease, error: Failure) -> BoxFuture<'a, Result<Option<JobStatus>>> {
        Box::pin(async move {
            let error = to_json(Some(&error)).unwrap_or_default();
            limits::check_json("job.error", &error)?;
            status(self.db.opt(FAIL, &[&lease.id.as_str(), &lease.token, &error]).await?)
        })
    }

    fn save_checkpoint<'a>(
        &'a self,
        lease: &'a JobLease,
        key: &'a str,
        value: Value,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            limits::check_id("checkpoint key", key)?;
            limits::check_json("job.checkpoint", &value)?;
            Ok(self.db.exec(SAVE_CHECKPOINT, &[&lease.id.as_str(), &lease.token, &key, &value]).await? == 1)
        })
    }

    fn clear_checkpoint<'a>(
        &'a self,
        lease: &'a JobLease,
        key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            key.map(|key| limits::check_id("checkpoint key", key)).transpose()?;
            Ok(self.db.exec(CLEAR_CHECKPOINT, &[&lease.id.as_str(), &lease.token, &key]).await? == 1)
        })
    }

    fn update_progress<'a>(&'a self, lease: &'a JobLease, progress: Progress) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            progress.check()?;
            let progress = to_json(Some(&progress));
            Ok(self.db.exec(UPDATE_PROGRESS, &[&lease.id.as_str(), &lease.token, &progress]).await? == 1)
        })
    }

    fn list(&self, filter: JobFilter) -> BoxFuture<'_, Result<Vec<Job>>> {
        Box::pin(async move {
            let (after, after_id) = filter.after.unzip();
            let sql = match (&filter.execution, filter.status) {
                (Some(_), _) => LIST_BY_EXECUTION,
                (None, Some(_)) => LIST_BY_STATUS,
                (None, None) => LIST,
            };
            let query = Query::new(sql)
                .bind(filter.status.map(JobStatus::as_str))
                .bind(after.map(SystemTime::from))
                .bind(after_id.map(|id| id.to_string()))
                .bind(page_size(filter.limit)?);
            self.find(match filter.execution {
                Some(execution) => query.bind(execution.to_string()),
                None => query,
            })
            .await
        })
    }

    fn find_stalled(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Job>>> {
        Box::pin(async move { self.find(Query::new(FIND_STALLED).bind(page_size(limit)?)).await })
    }

    fn reset_stalled<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<JobStatus>>> {
        Box::pin(async move {
            let error = Failure::new(JOB_STALLED, "its worker gave no sign of life for too long");
            let error = to_json(Some(&error));
            status(self.db.opt(RESET_STALLED, &[&id.as_str(), &error, &MAX_LOST]).await?)
        })
    }

    fn get_by_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<Job>>> {
        Box::pin(self.find(Query::new(GET_BY_EXECUTION).bind(execution.to_string())))
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { self.db.exec(DELETE_OLD, &[&SystemTime::from(before)]).await })
    }
}

/// The status a statement left a job with, when it changed it.
fn status(row: Option<Row>) -> Result<Option<JobStatus>> {
    row.map(|row| get::<&str>(&row, 1)?.parse()).transpose()
}

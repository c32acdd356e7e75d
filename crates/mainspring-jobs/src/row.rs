//! Between a row of `jobs` and a [`Job`].

use std::time::SystemTime;

use mainspring_core::{Error, ExecutionId, Job, JobId, Result, WorkerId};
use mainspring_pg::{
    Row,
    row::{count, get, object, time, typed, unreadable},
};

/// Every column of `jobs j`, in the order [`job_from_row`] reads them. A macro, because `concat!` takes literals only.
macro_rules! columns {
    () => {
        "j.id, j.tenant, j.execution_id, j.step_id, j.handler, j.status, j.input, j.result, j.error, j.holder, j.token, \
         j.heartbeat_at, j.stalled_after_ms, j.attempts, j.lost, j.max_attempts, j.checkpoint, j.progress, j.reply, \
         j.created_at, j.updated_at, j.finished_at"
    };
}
pub(crate) use columns;

pub(crate) fn job_from_row(row: &Row) -> Result<Job> {
    Ok(Job {
        id: JobId::from_stored(get(row, 0)?),
        tenant: get(row, 1)?,
        execution_id: ExecutionId::from_stored(get(row, 2)?),
        step_id: get(row, 3)?,
        handler: get(row, 4)?,
        status: get::<&str>(row, 5)?.parse().map_err(|e: Error| unreadable(row, 5).with_source(e))?,
        input: get(row, 6)?,
        result: get(row, 7)?,
        error: typed(row, 8)?,
        holder: get::<Option<String>>(row, 9)?.map(WorkerId::from_stored),
        token: get(row, 10)?,
        heartbeat_at: time(row, 11)?,
        stalled_after_ms: get(row, 12)?,
        attempts: count(row, 13)?,
        lost: count(row, 14)?,
        max_attempts: count(row, 15)?,
        checkpoint: object(row, 16)?,
        progress: typed(row, 17)?,
        reply: typed(row, 18)?,
        created_at: get::<SystemTime>(row, 19)?.into(),
        updated_at: get::<SystemTime>(row, 20)?.into(),
        finished_at: time(row, 21)?,
    })
}

//! Between a row of `jobs` and a [`Job`].

use std::time::SystemTime;

use mainspring_core::{Error, ExecutionId, Job, JobId, Result, Timestamp, WorkerId};
use mainspring_pg::{FromSql, Row};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

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

/// One column, or an error that names it and its job.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|e| unreadable(row, index).with_source(e))
}

fn unreadable(row: &Row, index: usize) -> Error {
    let id = row.try_get::<_, &str>(0).unwrap_or("?");
    let column = row.columns().get(index).map_or("?", |column| column.name());
    Error::internal(format!("{column} of job `{id}` cannot be read"))
}

fn time(row: &Row, index: usize) -> Result<Option<Timestamp>> {
    Ok(get::<Option<SystemTime>>(row, index)?.map(Timestamp::from))
}

fn count(row: &Row, index: usize) -> Result<u32> {
    u32::try_from(get::<i32>(row, index)?).map_err(|e| unreadable(row, index).with_source(e))
}

fn object(row: &Row, index: usize) -> Result<Map<String, Value>> {
    match get(row, index)? {
        Value::Object(map) => Ok(map),
        _ => Err(unreadable(row, index)),
    }
}

fn typed<T: DeserializeOwned>(row: &Row, index: usize) -> Result<Option<T>> {
    let value: Option<Value> = get(row, index)?;
    value.map(serde_json::from_value).transpose().map_err(|e| unreadable(row, index).with_source(e))
}

/// Our own types always become JSON; what could not would be stored as absent.
pub(crate) fn to_json<T: Serialize>(value: Option<&T>) -> Option<Value> {
    value.and_then(|value| serde_json::to_value(value).ok())
}

//! Between a row of `executions` and an [`Execution`].

use std::{collections::BTreeMap, time::SystemTime};

use mainspring_core::{Execution, ExecutionId, MessageId, Result, Timeouts, WorkerId};
use mainspring_pg::{
    Row,
    row::{count, get, object, time, typed},
};

/// `SELECT` of every column from `executions e`, in the order [`execution_from_row`] reads them, and what follows.
/// A macro, because `concat!` takes literals only.
macro_rules! select {
    ($($rest:tt)*) => {
        concat!(
            "SELECT e.id, e.status, e.revision, e.position, e.step_count, e.flow_id, e.flow_version, e.current_step, ",
            "e.tenant, e.queue, e.driver, e.holder, e.wake_at, e.wait_reason, e.wait_started_at, ",
            "e.execution_timeout_ms, e.wait_timeout_ms, e.parent_execution_id, e.root_execution_id, ",
            "e.idempotency_key, e.idempotency_expires_at, e.created_at, e.updated_at, e.finished_at, ",
            "e.context, e.retries, e.metadata, e.error, e.cancellation, e.reply, e.attributes FROM {executions} e ",
            $($rest)*
        )
    };
}
pub(crate) use select;

pub(crate) fn execution_from_row(row: &Row) -> Result<Execution> {
    let id: String = get(row, 0)?;
    let status: &str = get(row, 1)?;
    Ok(Execution {
        status: status.parse()?,
        revision: get(row, 2)?,
        position: get(row, 3)?,
        step_count: count(row, 4)?,
        flow_id: get(row, 5)?,
        flow_version: get(row, 6)?,
        current_step: get(row, 7)?,
        tenant: get(row, 8)?,
        queue: get(row, 9)?,
        driver: get::<Option<String>>(row, 10)?.map(MessageId::from_stored),
        holder: get::<Option<String>>(row, 11)?.map(WorkerId::from_stored),
        wake_at: time(row, 12)?,
        wait_reason: get(row, 13)?,
        wait_started_at: time(row, 14)?,
        timeouts: Timeouts {
            execution_timeout_ms: u64::try_from(get::<i64>(row, 15)?).unwrap_or(0),
            wait_timeout_ms: u64::try_from(get::<i64>(row, 16)?).unwrap_or(0),
        },
        parent: get::<Option<String>>(row, 17)?.map(ExecutionId::from_stored),
        root: ExecutionId::from_stored(get(row, 18)?),
        idempotency_key: get(row, 19)?,
        idempotency_expires_at: time(row, 20)?,
        created_at: get::<SystemTime>(row, 21)?.into(),
        updated_at: get::<SystemTime>(row, 22)?.into(),
        finished_at: time(row, 23)?,
        context: object(row, 24)?,
        retries: retries(row, 25)?,
        metadata: object(row, 26)?,
        error: typed(row, 27)?,
        cancellation: typed(row, 28)?,
        reply: typed(row, 29)?,
        attributes: typed(row, 30)?.unwrap_or_default(),
        id: ExecutionId::from_stored(id),
    })
}

fn retries(row: &Row, index: usize) -> Result<BTreeMap<String, u32>> {
    let map = object(row, index)?;
    Ok(map
        .into_iter()
        .map(|(step, n)| (step, n.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0)))
        .collect())
}

pub(crate) fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

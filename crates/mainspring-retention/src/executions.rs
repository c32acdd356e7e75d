//! Executions that are over, with everything that belongs to them.

use mainspring_core::{
    EventStore, ExecutionId, ExecutionStore, Result, StreamId, Timestamp,
    execution::{inbox_of, stream_of},
};
use mainspring_events::PgEventStore;
use mainspring_executions::PgExecutionStore;
use mainspring_pg::{
    Db,
    row::{get, time},
};

/// Each by the index of what is over.
const FLOWS: &str = "WITH RECURSIVE f AS (
    (SELECT x.flow_id FROM {executions} x WHERE x.finished_at IS NOT NULL ORDER BY x.flow_id LIMIT 1)
    UNION ALL
    SELECT (SELECT x.flow_id FROM {executions} x WHERE x.finished_at IS NOT NULL AND x.flow_id > f.flow_id ORDER BY x.flow_id LIMIT 1)
    FROM f WHERE f.flow_id IS NOT NULL
  ) SELECT f.flow_id FROM f WHERE f.flow_id IS NOT NULL";

macro_rules! over {
    () => {
        "FROM {executions} x WHERE x.flow_id = $1
           AND x.finished_at <= (SELECT {now}() - $2::bigint * interval '1 microsecond')
           AND NOT EXISTS (SELECT FROM {executions} p WHERE p.id = x.parent_execution_id AND p.finished_at IS NULL)"
    };
}

const COUNT: &str = concat!("SELECT count(*), min(x.finished_at) ", over!());

const LOCK: &str = concat!(
    "SELECT x.id, x.tenant ",
    over!(),
    " ORDER BY x.finished_at LIMIT $3 FOR UPDATE OF x SKIP LOCKED"
);

/// The streams of these names. Who sends waits, and finds the end of the stream after that.
const SENT: &str = "SELECT s.tenant, s.stream FROM unnest($1::text[], $2::text[]) AS u(tenant, stream)
  JOIN {streams} s ON s.partition = 'streams' AND s.stream = u.stream AND s.tenant = u.tenant
  ORDER BY s.stream, s.tenant FOR UPDATE OF s";

const ARCHIVE: &str = include_str!("sql/archive_executions.sql");

/// The flows and workflows of which some executions are over.
pub(crate) async fn flows(db: &Db<'_>) -> Result<Vec<String>> {
    db.all(FLOWS, &[]).await?.iter().map(|row| get(row, 0)).collect()
}

pub(crate) async fn count(db: &Db<'_>, flow: &str, age: i64) -> Result<(u64, Option<Timestamp>)> {
    let row = db.one(COUNT, &[&flow, &age]).await?;
    Ok((u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0), time(&row, 1)?))
}

/// Takes out a batch, in the transaction it is given; how many.
pub(crate) async fn take(tx: &Db<'_>, flow: &str, age: i64, limit: i64, archive: bool) -> Result<u64> {
    let (mut ids, mut tenants, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for row in tx.all(LOCK, &[&flow, &age, &limit]).await? {
        let (id, tenant) = (ExecutionId::new(get::<String>(&row, 0)?)?, get::<String>(&row, 1)?);
        names.extend([stream_of(&id), inbox_of(&id)]);
        tenants.extend([tenant.clone(), tenant]);
        ids.push(id);
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let sent = tx.all(SENT, &[&tenants, &names]).await?;
    if archive {
        let ids: Vec<&str> = ids.iter().map(ExecutionId::as_str).collect();
        tx.exec(ARCHIVE, &[&ids]).await?;
    }
    let events = PgEventStore::new(tx);
    for row in &sent {
        let stream = StreamId::new(get::<String>(row, 1)?).of_tenant(get::<String>(row, 0)?);
        events.forget_stream(&stream).await?;
    }
    PgExecutionStore::new(tx).delete_finished(&ids).await
}

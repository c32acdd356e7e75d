//! The store: one method, one statement.

use std::time::SystemTime;

use mainspring_core::{
    BoxFuture, Error, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, ExecutionStore,
    ExecutionWrite, Expect, Result, Timestamp, execution::page_size, metric,
};
use mainspring_pg::{Db, Query, Row, TxRef, row::get};

use crate::{
    row::{execution_from_row, select},
    search::{search, searched},
    write::{Written, create_query, free_keys_query, update_query},
};

/// Executions on Postgres; see the crate.
#[derive(Clone)]
pub struct PgExecutionStore<'t> {
    db: Db<'t>,
}

impl<'t> PgExecutionStore<'t> {
    /// The store on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// The same store, standing on your transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgExecutionStore<'u> {
        PgExecutionStore { db: self.db.on(tx) }
    }

    async fn find(&self, query: Query) -> Result<Vec<Execution>> {
        self.db.run(query).await?.iter().map(execution_from_row).collect()
    }

    /// [`find`](Self::find) for whoever looks after all of them: one that cannot be read keeps no other one waiting.
    async fn find_readable(&self, query: Query) -> Result<Vec<Execution>> {
        let rows = self.db.run(query).await?;
        let read = rows.iter().map(|row| execution_from_row(row).map_err(|error| left_out(row, &error)));
        Ok(read.filter_map(Result::ok).collect())
    }

    async fn create_one(&self, execution: Execution) -> Result<Execution> {
        execution.check()?;
        let write = ExecutionWrite::create(execution, Vec::new());
        if let Some(free) = free_keys_query(&[&write]) {
            self.db.run(free).await?;
        }
        let written = Written::decode(&self.db.run(create_query(&[&write])).await?)?;
        match written.at {
            Some(at) => Ok(write.applied(at)),
            None => Err(write.conflict()),
        }
    }

    async fn update_one(&self, execution: Execution, expect: Expect) -> Result<Execution> {
        execution.check()?;
        let write = ExecutionWrite { expect, execution, events: Vec::new() };
        let written = Written::decode(&self.db.run(update_query(&[&write])).await?)?;
        match written.at {
            Some(at) => Ok(write.applied(at)),
            None => Err(write.conflict()),
        }
    }
}

fn left_out(row: &Row, error: &Error) {
    let id: &str = get(row, 0).unwrap_or_default();
    metrics::counter!(metric::EXECUTIONS_UNREADABLE).increment(1);
    tracing::warn!(execution = id, error = %error.chain(), "left out: it cannot be read");
}

const GET_MANY: &str = select!("WHERE e.id = ANY($1)");

const DELETE: &str = "DELETE FROM {executions} WHERE id = $1";

const LIST: &str = select!(
    "WHERE ($1::text IS NULL OR e.tenant = $1) AND ($2::text IS NULL OR e.flow_id = $2)
       AND ($3::text IS NULL OR e.status = $3)
       AND ($4::text IS NULL OR e.flow_version = $4)
       AND ($8::timestamptz IS NULL OR e.created_at >= $8) AND ($9::timestamptz IS NULL OR e.created_at < $9)
       AND ($5::timestamptz IS NULL OR (e.created_at, e.id) < ($5, $6))
     ORDER BY e.created_at DESC, e.id DESC LIMIT $7"
);

/// By the index of the attributes: OFFSET 0 keeps the planner from walking the order of the list instead.
const LIST_BY_ATTRIBUTES: &str = select!(
    "JOIN (SELECT x.id FROM {executions} x WHERE ",
    searched!("x", 10, 11, 12, 13, 14),
    " OFFSET 0) f ON f.id = e.id
     WHERE ($1::text IS NULL OR e.tenant = $1) AND ($2::text IS NULL OR e.flow_id = $2)
       AND ($3::text IS NULL OR e.status = $3)
       AND ($4::text IS NULL OR e.flow_version = $4)
       AND ($8::timestamptz IS NULL OR e.created_at >= $8) AND ($9::timestamptz IS NULL OR e.created_at < $9)
       AND ($5::timestamptz IS NULL OR (e.created_at, e.id) < ($5, $6))
     ORDER BY e.created_at DESC, e.id DESC LIMIT $7"
);

const COUNT: &str = "SELECT count(*) FROM {executions} e
  WHERE ($1::text IS NULL OR e.tenant = $1) AND ($2::text IS NULL OR e.flow_id = $2)
    AND ($3::text IS NULL OR e.status = $3) AND ($4::text IS NULL OR e.flow_version = $4)
    AND ($5::timestamptz IS NULL OR e.created_at >= $5) AND ($6::timestamptz IS NULL OR e.created_at < $6)";

const COUNT_BY_ATTRIBUTES: &str = concat!(
    "SELECT count(*) FROM {executions} e
  WHERE ($1::text IS NULL OR e.tenant = $1) AND ($2::text IS NULL OR e.flow_id = $2)
    AND ($3::text IS NULL OR e.status = $3) AND ($4::text IS NULL OR e.flow_version = $4)
    AND ($5::timestamptz IS NULL OR e.created_at >= $5) AND ($6::timestamptz IS NULL OR e.created_at < $6)
    AND ",
    searched!("e", 7, 8, 9, 10, 11)
);

const DELETE_FINISHED: &str = "WITH gone AS (
    DELETE FROM {executions} WHERE id = ANY($1) AND finished_at IS NOT NULL RETURNING id, tenant
  ), history AS (
    DELETE FROM {events_executions} e USING gone g
    WHERE e.partition = 'executions' AND e.tenant = g.tenant AND e.stream = 'execution-' || g.id)
  SELECT count(*) FROM gone";

/// Whoever changes it has committed, so that the next statement sees its history to the end.
const HOLD: &str = "SELECT FROM {executions} WHERE id = $1 FOR UPDATE";

const FORGET: &str = "WITH gone AS (
    DELETE FROM {executions} WHERE id = $1 RETURNING id, tenant
  ), history AS (
    DELETE FROM {events_executions} e USING gone g
    WHERE e.partition = 'executions' AND e.tenant = g.tenant AND e.stream = 'execution-' || g.id
  ), lease AS (DELETE FROM {leases} WHERE name = $2)
  SELECT FROM gone";

const FIND_FINISHED: &str =
    select!("WHERE e.flow_id = $1 AND e.finished_at < $2 ORDER BY e.finished_at, e.id LIMIT $3");

const FIND_WAITING: &str = select!("WHERE e.wake_at <= (SELECT {now}()) ORDER BY e.wake_at, e.id LIMIT $1");

const FIND_BY_IDEMPOTENCY_KEY: &str = select!(
    "WHERE e.tenant = $1 AND e.flow_id = $2 AND e.idempotency_key = $3
       AND e.idempotency_expires_at > (SELECT {now}())"
);

const FIND_CHILDREN: &str = select!("WHERE e.parent_execution_id = $1 ORDER BY e.created_at, e.id");

const FIND_TIMED_OUT_EXECUTIONS: &str = select!(
    "WHERE e.finished_at IS NULL AND e.deadline_at <= (SELECT {now}()) ORDER BY e.deadline_at, e.id LIMIT $1"
);

const FIND_TIMED_OUT_WAITS: &str =
    select!("WHERE e.wait_deadline_at <= (SELECT {now}()) ORDER BY e.wait_deadline_at, e.id LIMIT $1");

/// A dead holder's liveness row is out of date, or upkeep has removed it already.
const FIND_ORPHANS: &str = select!(
    "WHERE e.holder IS NOT NULL AND NOT EXISTS (
       SELECT 1 FROM {workers} w WHERE w.id = e.holder AND w.expires_at > (SELECT {now}()))
     ORDER BY e.id LIMIT $1"
);

const COUNT_BY_STATUS: &str = "SELECT status, count(*) FROM {executions} GROUP BY status ORDER BY status";

impl ExecutionStore for PgExecutionStore<'_> {
    fn create(&self, execution: Execution) -> BoxFuture<'_, Result<Execution>> {
        Box::pin(self.create_one(execution))
    }

    fn get<'a>(&'a self, id: &'a ExecutionId) -> BoxFuture<'a, Result<Option<Execution>>> {
        Box::pin(async move {
            let found = self.find(Query::new(GET_MANY).bind(vec![id.to_string()])).await?;
            Ok(found.into_iter().next())
        })
    }

    fn get_many<'a>(&'a self, ids: &'a [ExecutionId]) -> BoxFuture<'a, Result<Vec<Execution>>> {
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            self.find(Query::new(GET_MANY).bind(ids)).await
        })
    }

    fn update(&self, execution: Execution, expect: Expect) -> BoxFuture<'_, Result<Execution>> {
        Box::pin(self.update_one(execution, expect))
    }

    fn delete<'a>(&'a self, id: &'a ExecutionId) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.db.exec(DELETE, &[&id.as_str()]).await? == 1) })
    }

    fn list(&self, filter: ExecutionFilter) -> BoxFuture<'_, Result<Vec<Execution>>> {
        Box::pin(async move {
            let limit = filter.page_size()?;
            filter.check()?;
            let (after, after_id) = match filter.after {
                Some((at, id)) => (Some(SystemTime::from(at)), Some(id.to_string())),
                None => (None, None),
            };
            let searched = !filter.attributes.is_empty() || !filter.bounds.is_empty();
            let query = Query::new(if searched { LIST_BY_ATTRIBUTES } else { LIST })
                .bind(filter.tenant)
                .bind(filter.flow_id)
                .bind(filter.status.map(ExecutionStatus::as_str))
                .bind(filter.flow_version)
                .bind(after)
                .bind(after_id)
                .bind(limit)
                .bind(filter.since.map(SystemTime::from))
                .bind(filter.until.map(SystemTime::from));
            self.find(if searched { search(query, &filter.attributes, &filter.bounds) } else { query }).await
        })
    }

    fn count(&self, filter: ExecutionFilter) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            filter.check()?;
            let searched = !filter.attributes.is_empty() || !filter.bounds.is_empty();
            let query = Query::new(if searched { COUNT_BY_ATTRIBUTES } else { COUNT })
                .bind(filter.tenant)
                .bind(filter.flow_id)
                .bind(filter.status.map(ExecutionStatus::as_str))
                .bind(filter.flow_version)
                .bind(filter.since.map(SystemTime::from))
                .bind(filter.until.map(SystemTime::from));
            let query = if searched { search(query, &filter.attributes, &filter.bounds) } else { query };
            let rows = self.db.run(query).await?;
            let count: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
    }

    fn find_finished<'a>(
        &'a self,
        flow_id: &'a str,
        before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Execution>>> {
        Box::pin(async move {
            let query = Query::new(FIND_FINISHED)
                .bind(flow_id.to_owned())
                .bind(SystemTime::from(before))
                .bind(page_size(limit)?);
            self.find_readable(query).await
        })
    }

    fn delete_finished<'a>(&'a self, ids: &'a [ExecutionId]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let rows = self.db.run(Query::new(DELETE_FINISHED).bind(ids)).await?;
            let count: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
    }

    fn forget<'a>(&'a self, id: &'a ExecutionId, lease: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let hold = Query::new(HOLD).bind(id.to_string());
            let forget = Query::new(FORGET).bind(id.to_string()).bind(lease.to_owned());
            let rows = self.db.together(vec![hold, forget]).await?;
            Ok(rows.get(1).is_some_and(|gone| !gone.is_empty()))
        })
    }

    fn find_waiting(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        Box::pin(async move { self.find_readable(Query::new(FIND_WAITING).bind(page_size(limit)?)).await })
    }

    fn find_by_idempotency_key<'a>(
        &'a self,
        tenant: &'a str,
        flow_id: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Execution>>> {
        Box::pin(async move {
            let query = Query::new(FIND_BY_IDEMPOTENCY_KEY)
                .bind(tenant.to_owned())
                .bind(flow_id.to_owned())
                .bind(key.to_owned());
            Ok(self.find(query).await?.into_iter().next())
        })
    }

    fn find_children<'a>(&'a self, parent: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<Execution>>> {
        Box::pin(self.find(Query::new(FIND_CHILDREN).bind(parent.to_string())))
    }

    fn find_timed_out_executions(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        Box::pin(async move {
            self.find_readable(Query::new(FIND_TIMED_OUT_EXECUTIONS).bind(page_size(limit)?)).await
        })
    }

    fn find_timed_out_waits(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        Box::pin(
            async move { self.find_readable(Query::new(FIND_TIMED_OUT_WAITS).bind(page_size(limit)?)).await },
        )
    }

    fn find_orphans(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        Box::pin(async move { self.find_readable(Query::new(FIND_ORPHANS).bind(page_size(limit)?)).await })
    }

    fn count_by_status(&self) -> BoxFuture<'_, Result<Vec<(ExecutionStatus, u64)>>> {
        Box::pin(async move {
            let rows = self.db.all(COUNT_BY_STATUS, &[]).await?;
            rows.iter()
                .map(|row| {
                    let count: i64 = get(row, 1)?;
                    Ok((get::<&str>(row, 0)?.parse()?, u64::try_from(count).unwrap_or(0)))
                })
                .collect()
        })
    }
}

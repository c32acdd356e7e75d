//! The store: one method, one statement.

use std::time::SystemTime;

use mainspring_core::{
    Append, BoxFuture, Error, EventQuery, EventStore, ExecutionFact, ExecutionId, RecordedEvent, Result,
    Timestamp, event::STREAMS, execution::stream_of,
};
use mainspring_pg::{Db, Query, TxRef, row::get};

use crate::{
    row::{event_from_row, select},
    write::{append_query, appended, fence_query},
};

/// The log on Postgres; see the crate.
#[derive(Clone)]
pub struct PgEventStore<'t> {
    db: Db<'t>,
}

impl<'t> PgEventStore<'t> {
    /// The log on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// The same log, standing on your transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgEventStore<'u> {
        PgEventStore { db: self.db.on(tx) }
    }

    /// Records a fact about an execution, which needs no row; its position among those facts.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub async fn record(&self, fact: ExecutionFact) -> Result<i64> {
        self.append_one(fact.into()).await
    }

    async fn append_one(&self, append: Append) -> Result<i64> {
        append.check()?;
        if append.events.is_empty() {
            let current = self.position_of(STREAMS, &append.tenant, &append.stream).await?;
            return if append.expected.holds(current) { Ok(current) } else { Err(append.conflict(current)) };
        }
        let rows = self.db.together(vec![fence_query(), append_query(&append)]).await?;
        if let Some(position) = rows.last().map(|rows| appended(rows)).transpose()?.flatten() {
            return Ok(position);
        }
        let current = self.position_of(STREAMS, &append.tenant, &append.stream).await?;
        Err(append.conflict(current))
    }

    async fn find(&self, query: Query) -> Result<Vec<RecordedEvent>> {
        self.db.run(query).await?.iter().map(event_from_row).collect()
    }

    async fn position_of(&self, partition: &str, tenant: &str, stream: &str) -> Result<i64> {
        let row = self.db.one(POSITION, &[&partition, &tenant, &stream]).await?;
        get(&row, 0)
    }
}

const POSITION: &str = "SELECT coalesce(max(stream_position), 0) FROM {events}
  WHERE partition = $1 AND tenant = $2 AND stream = $3";

const READ_STREAM: &str = select!(
    "WHERE e.partition = $1 AND e.tenant = $2 AND e.stream = $3 AND e.stream_position >= $4
     ORDER BY e.stream_position LIMIT $5"
);

const QUERY: &str = select!(
    "WHERE (cardinality($1::text[]) = 0 OR e.type = ANY($1))
       AND ($2::timestamptz IS NULL OR e.created_at > $2) AND ($3::timestamptz IS NULL OR e.created_at < $3)
       AND ($4::bigint IS NULL OR e.global_position > $4)
     ORDER BY e.global_position LIMIT $5"
);

/// The same within one execution, by the keys of its two streams.
const QUERY_EXECUTION: &str = select!(
    "WHERE (cardinality($1::text[]) = 0 OR e.type = ANY($1))
       AND ($2::timestamptz IS NULL OR e.created_at > $2) AND ($3::timestamptz IS NULL OR e.created_at < $3)
       AND ($4::bigint IS NULL OR e.global_position > $4)
       AND e.partition IN ('executions', 'streams') AND e.stream = $6
     ORDER BY e.global_position LIMIT $5"
);

/// Both partitions by their keys: an execution's history and what was recorded about it, whatever the tenant.
const GET_BY_EXECUTION: &str =
    select!("WHERE e.partition IN ('executions', 'streams') AND e.stream = $1 ORDER BY e.global_position");

const DELETE_OLD: &str = "WITH old AS MATERIALIZED (
    SELECT stream, tenant, stream_position FROM {events_executions} WHERE created_at < $1 LIMIT 1000)
  DELETE FROM {events_executions} e USING old
  WHERE e.tenant = old.tenant AND e.stream = old.stream AND e.stream_position = old.stream_position";

impl EventStore for PgEventStore<'_> {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<i64>> {
        Box::pin(self.append_one(append))
    }

    fn read_stream<'a>(
        &'a self,
        partition: &'a str,
        tenant: &'a str,
        stream: &'a str,
        from: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>> {
        Box::pin(async move {
            let query = Query::new(READ_STREAM)
                .bind(partition.to_owned())
                .bind(tenant.to_owned())
                .bind(stream.to_owned())
                .bind(from)
                .bind(page_size(limit)?);
            self.find(query).await
        })
    }

    fn position<'a>(
        &'a self,
        partition: &'a str,
        tenant: &'a str,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<i64>> {
        Box::pin(self.position_of(partition, tenant, stream))
    }

    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<RecordedEvent>>> {
        Box::pin(async move {
            let limit = page_size(query.limit.unwrap_or(1_000))?;
            let sql = if query.execution_id.is_some() { QUERY_EXECUTION } else { QUERY };
            let mut statement = Query::new(sql)
                .bind(query.event_types)
                .bind(query.after.map(SystemTime::from))
                .bind(query.before.map(SystemTime::from))
                .bind(query.after_position)
                .bind(limit);
            if let Some(execution) = query.execution_id {
                statement = statement.bind(stream_of(&execution));
            }
            self.find(statement).await
        })
    }

    fn get_by_execution<'a>(
        &'a self,
        execution: &'a ExecutionId,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>>> {
        Box::pin(self.find(Query::new(GET_BY_EXECUTION).bind(stream_of(execution))))
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { self.db.exec(DELETE_OLD, &[&SystemTime::from(before)]).await })
    }
}

pub(crate) fn page_size(limit: u32) -> Result<i64> {
    match limit {
        1..=10_000 => Ok(i64::from(limit)),
        _ => Err(Error::invalid("limit", format!("{limit} is not within 1 to 10000"))),
    }
}

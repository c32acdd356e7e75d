//! Reads: a page of one stream with its head, in one statement and so at one moment; and queries over all streams.

use std::time::SystemTime;

use mainspring_core::{
    Direction, Error, EventQuery, ExecutionId, RecordedEvent, Result, StreamHead, StreamId, StreamPage,
    StreamQuery, event::EXECUTIONS, execution::stream_of,
};
use mainspring_pg::{Query, Row, row::get};

use crate::{
    PgEventStore,
    row::{columns, event_at, event_from_row, select},
};

/// The head of a stream as a row, or no row. Of a history it is its last event: its head is in a row of another store.
macro_rules! head {
    (streams) => {
        "SELECT s.stream_position, s.stream_type FROM {streams} s
         WHERE s.partition = $1 AND s.tenant = $2 AND s.stream = $3
           AND s.archived_at IS NULL AND s.stream_position >= s.live_from"
    };
    (histories) => {
        "SELECT l.stream_position, 'execution'::text AS stream_type FROM {events} l
         WHERE l.partition = $1 AND l.tenant = $2 AND l.stream = $3 ORDER BY l.stream_position DESC LIMIT 1"
    };
}

/// The head is in every row. With one head there is only one way to join, and it keeps the order.
macro_rules! page {
    ($head:ident, $order:literal) => {
        concat!(
            "SELECT h.stream_position, h.stream_type, ",
            columns!(),
            " FROM (",
            head!($head),
            ") h LEFT JOIN LATERAL (SELECT e.* FROM {events} e
                WHERE e.partition = $1 AND e.tenant = $2 AND e.stream = $3 AND e.stream_position BETWEEN $4 AND $5
                ORDER BY e.stream_position ",
            $order,
            " LIMIT $6) e ON true"
        )
    };
}

const HEAD: &str = head!(streams);
const HEAD_OF_HISTORY: &str = head!(histories);
const FORWARD: &str = page!(streams, "ASC");
const BACKWARD: &str = page!(streams, "DESC");
const FORWARD_IN_HISTORY: &str = page!(histories, "ASC");
const BACKWARD_IN_HISTORY: &str = page!(histories, "DESC");

macro_rules! query {
    ($more:literal) => {
        select!(
            "WHERE (cardinality($1::text[]) = 0 OR e.type = ANY($1))
               AND ($2::timestamptz IS NULL OR e.created_at > $2) AND ($3::timestamptz IS NULL OR e.created_at < $3)
               AND e.global_position > coalesce($4::bigint, 0) AND e.global_position <= coalesce($5::bigint, 9223372036854775807)
               AND ($6::text IS NULL OR e.partition = $6) AND ($7::text IS NULL OR e.tenant = $7)",
            $more,
            " ORDER BY e.global_position LIMIT $8"
        )
    };
}

const QUERY: &str = query!("");
const QUERY_CORRELATION: &str = query!(" AND e.correlation_id = $9");
/// The same within one execution, by the keys of its two streams.
const QUERY_EXECUTION: &str = query!(
    " AND e.partition IN ('executions', 'streams') AND e.stream = $9 AND ($10::text IS NULL OR e.correlation_id = $10)"
);

/// Both partitions by their keys: an execution's history and what was recorded about it, whatever the tenant.
const GET_BY_EXECUTION: &str =
    select!("WHERE e.partition IN ('executions', 'streams') AND e.stream = $1 ORDER BY e.global_position");

impl PgEventStore<'_> {
    pub(crate) async fn page(&self, query: StreamQuery) -> Result<StreamPage> {
        query.check()?;
        let stream = query.stream;
        let sql = match (query.direction, stream.partition == EXECUTIONS) {
            (Direction::Forward, false) => FORWARD,
            (Direction::Backward, false) => BACKWARD,
            (Direction::Forward, true) => FORWARD_IN_HISTORY,
            (Direction::Backward, true) => BACKWARD_IN_HISTORY,
        };
        let (from, to) = (query.from.unwrap_or(0), query.to.unwrap_or(i64::MAX));
        let limit = i64::from(query.limit);
        let statement = of(sql, &stream).bind(from).bind(to).bind(limit);
        let mut page = StreamPage::default();
        let read = |row: &Row| {
            if page.events.is_empty() {
                page.head = head_from_row(row)?;
                let last = page.head.position.min(to);
                page.events.reserve(usize::try_from((last - from.max(1) + 1).min(limit)).unwrap_or(0));
            }
            if get::<Option<i64>>(row, 2)?.is_some() {
                page.events.push(event_at(row, 2, stream.clone())?);
            }
            Ok(())
        };
        self.db().each(statement, read).await?;
        Ok(page)
    }

    pub(crate) async fn head_of(&self, stream: &StreamId) -> Result<StreamHead> {
        let sql = if stream.partition == EXECUTIONS { HEAD_OF_HISTORY } else { HEAD };
        let rows = self.db().run(of(sql, stream)).await?;
        Ok(rows.first().map(head_from_row).transpose()?.unwrap_or_default())
    }

    pub(crate) async fn find(&self, query: EventQuery) -> Result<Vec<RecordedEvent>> {
        let limit = page_size(query.limit.unwrap_or(1_000))?;
        let sql = match (&query.execution_id, &query.correlation_id) {
            (Some(_), _) => QUERY_EXECUTION,
            (None, Some(_)) => QUERY_CORRELATION,
            (None, None) => QUERY,
        };
        let mut statement = Query::new(sql)
            .bind(query.event_types)
            .bind(query.after.map(SystemTime::from))
            .bind(query.before.map(SystemTime::from))
            .bind(query.after_position)
            .bind(query.up_to_position)
            .bind(query.partition)
            .bind(query.tenant)
            .bind(limit);
        if let Some(execution) = query.execution_id {
            statement = statement.bind(stream_of(&execution)).bind(query.correlation_id);
        } else if let Some(correlation) = query.correlation_id {
            statement = statement.bind(correlation);
        }
        self.events(statement).await
    }

    pub(crate) async fn about(&self, execution: &ExecutionId) -> Result<Vec<RecordedEvent>> {
        self.events(Query::new(GET_BY_EXECUTION).bind(stream_of(execution))).await
    }

    async fn events(&self, query: Query) -> Result<Vec<RecordedEvent>> {
        let mut events = Vec::new();
        let read = |row: &Row| {
            events.push(event_from_row(row)?);
            Ok(())
        };
        self.db().each(query, read).await?;
        Ok(events)
    }
}

/// A statement about one stream: its partition, tenant and name are the first three parameters.
pub(crate) fn of(sql: &'static str, stream: &StreamId) -> Query {
    Query::new(sql).bind(stream.partition.clone()).bind(stream.tenant.clone()).bind(stream.stream.clone())
}

fn head_from_row(row: &Row) -> Result<StreamHead> {
    Ok(StreamHead { position: get(row, 0)?, stream_type: get(row, 1)? })
}

pub(crate) fn page_size(limit: u32) -> Result<i64> {
    match limit {
        1..=10_000 => Ok(i64::from(limit)),
        _ => Err(Error::invalid("limit", format!("{limit} is not within 1 to 10000"))),
    }
}

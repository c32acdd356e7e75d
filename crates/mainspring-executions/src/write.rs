//! Writes of many executions in one statement: what a group commit sends.
//!
//! A single write is a batch of one, so there is one create and one update in the whole library.

use std::{collections::HashSet, time::SystemTime};

use mainspring_core::{
    Execution, ExecutionId, ExecutionStatus, ExecutionWrite, Expect, MessageId, Result, Timestamp, WorkerId,
};
use mainspring_pg::{
    Column, Query, Row,
    row::{get, to_json},
};
use serde_json::Value;

use crate::row;

const CREATE: &str = include_str!("sql/create.sql");
const UPDATE: &str = include_str!("sql/update.sql");

/// Frees idempotency keys whose window is over, so that the unique index lets their next owner in.
const FREE_KEYS: &str = "UPDATE {executions} e SET idempotency_key = NULL, idempotency_expires_at = NULL
  FROM unnest($1::text[], $2::text[], $3::text[]) AS u(tenant, flow_id, key)
  WHERE e.tenant = u.tenant AND e.flow_id = u.flow_id AND e.idempotency_key = u.key
    AND e.idempotency_expires_at <= (SELECT {now}())";

/// Ids that a statement wrote, and the database's time it did.
#[derive(Debug, Default)]
pub struct Written {
    /// The winners.
    pub ids: HashSet<ExecutionId>,
    /// The time, when there was at least one winner.
    pub at: Option<Timestamp>,
}

impl Written {
    /// Reads the rows of [`create_query`] or [`update_query`].
    ///
    /// # Errors
    /// Internal, when the rows are not of those statements.
    pub fn decode(rows: &[Row]) -> Result<Self> {
        let mut written = Self::default();
        for row in rows {
            written.ids.insert(ExecutionId::from_stored(get(row, 0)?));
            written.at = Some(get::<SystemTime>(row, 1)?.into());
        }
        Ok(written)
    }
}

/// The statement that has to run before [`create_query`] when some of `writes` have an idempotency key.
pub fn free_keys_query(writes: &[&ExecutionWrite]) -> Option<Query> {
    let keyed: Vec<&Execution> =
        writes.iter().map(|w| &w.execution).filter(|e| e.idempotency_key.is_some()).collect();
    if keyed.is_empty() {
        return None;
    }
    Some(
        Query::new(FREE_KEYS)
            .bind(column(&keyed, |e| e.tenant.clone()))
            .bind(column(&keyed, |e| e.flow_id.clone()))
            .bind(column(&keyed, |e| e.idempotency_key.clone())),
    )
}

/// Binds `writes` to the parameters of `{commit_call}` for executions that go on, and `None` for each when there are none. The second
/// answer is `None` when it has no place for one of them.
pub fn bind_updates(query: Query, writes: &[&ExecutionWrite]) -> Option<Query> {
    let rows = || writes.iter().map(|w| &w.execution);
    if writes.is_empty() {
        return Some((0..11).fold(query, |query, _| query.bind(None::<Column>)));
    }
    rows().all(is_plain).then(|| {
        query
            .bind(Column::text(rows().map(|e| Some(e.id.as_str()))))
            .bind(Column::bigint(expected(writes)))
            .bind(Column::bigint(befores(writes)))
            .bind(Column::text(rows().map(|e| Some(e.status.as_str()))))
            .bind(Column::bigint(event_counts(writes)))
            .bind(Column::integer(rows().map(|e| e.step_count)))
            .bind(Column::text(rows().map(|e| Some(e.current_step.as_str()))))
            .bind(Column::text(rows().map(|e| e.driver.as_ref().map(MessageId::as_str))))
            .bind(Column::text(rows().map(|e| e.holder.as_ref().map(WorkerId::as_str))))
            .bind(Column::json(rows().map(|e| &e.context)))
            .bind(metadatas(writes))
    })
}

/// The same for executions that begin.
pub fn bind_creates(query: Query, writes: &[&ExecutionWrite]) -> Option<Query> {
    let rows = || writes.iter().map(|w| &w.execution);
    let Some(first) = rows().next() else {
        let query = (0..5).fold(query, |query, _| query.bind(None::<Column>));
        let query = (0..7).fold(query, |query, _| query.bind(None::<String>));
        return Some(query.bind(None::<i64>).bind(None::<i64>));
    };
    let alike = |e: &Execution| {
        is_plain(e)
            && !e.status.is_terminal()
            && (e.step_count, &e.parent, &e.idempotency_key, &e.reply) == (0, &None, &None, &None)
            && e.root == e.id
            && (e.status, &e.flow_id, &e.flow_version) == (first.status, &first.flow_id, &first.flow_version)
            && (&e.current_step, &e.tenant, &e.queue) == (&first.current_step, &first.tenant, &first.queue)
            && (&e.holder, e.timeouts) == (&first.holder, first.timeouts)
    };
    rows().all(alike).then(|| {
        query
            .bind(Column::text(rows().map(|e| Some(e.id.as_str()))))
            .bind(Column::bigint(event_counts(writes)))
            .bind(Column::text(rows().map(|e| e.driver.as_ref().map(MessageId::as_str))))
            .bind(Column::json(rows().map(|e| &e.context)))
            .bind(metadatas(writes))
            .bind(first.status.as_str())
            .bind(first.flow_id.clone())
            .bind(first.flow_version.clone())
            .bind(first.current_step.clone())
            .bind(first.tenant.clone())
            .bind(first.queue.clone())
            .bind(first.holder.as_ref().map(ToString::to_string))
            .bind(row::millis(first.timeouts.execution_timeout_ms))
            .bind(row::millis(first.timeouts.wait_timeout_ms))
    })
}

/// Whether the columns that only some executions need are all empty.
fn is_plain(e: &Execution) -> bool {
    e.status != ExecutionStatus::Waiting
        && (e.wake_at, &e.wait_reason, e.wait_started_at) == (None, &None, None)
        && (&e.error, &e.cancellation) == (&None, &None)
        && e.retries.is_empty()
        && e.attributes.is_empty()
}

/// Inserts all of `writes` whose id and idempotency key are free; see [`Written`].
pub fn create_query(writes: &[&ExecutionWrite]) -> Query {
    let rows: Vec<&Execution> = writes.iter().map(|w| &w.execution).collect();
    let all = || rows.iter();
    Query::new(CREATE)
        .bind(Column::text(all().map(|e| Some(e.id.as_str()))))
        .bind(Column::text(all().map(|e| Some(e.status.as_str()))))
        .bind(Column::bigint(event_counts(writes)))
        .bind(Column::integer(all().map(|e| e.step_count)))
        .bind(Column::text(all().map(|e| Some(e.flow_id.as_str()))))
        .bind(Column::text(all().map(|e| Some(e.flow_version.as_str()))))
        .bind(Column::text(all().map(|e| Some(e.current_step.as_str()))))
        .bind(Column::text(all().map(|e| Some(e.tenant.as_str()))))
        .bind(Column::text(all().map(|e| Some(e.queue.as_str()))))
        .bind(Column::text(all().map(|e| e.driver.as_ref().map(MessageId::as_str))))
        .bind(Column::text(all().map(|e| e.holder.as_ref().map(WorkerId::as_str))))
        .bind(rare(&rows, |e| e.wake_at.map(SystemTime::from)))
        .bind(rare(&rows, |e| e.wait_reason.clone()))
        .bind(rare(&rows, |e| e.wait_started_at.map(SystemTime::from)))
        .bind(column(&rows, |e| row::millis(e.timeouts.execution_timeout_ms)))
        .bind(column(&rows, |e| row::millis(e.timeouts.wait_timeout_ms)))
        .bind(rare(&rows, |e| e.parent.as_ref().map(ToString::to_string)))
        .bind(Column::text(all().map(|e| Some(e.root.as_str()))))
        .bind(rare(&rows, |e| e.idempotency_key.clone()))
        .bind(rare(&rows, |e| e.idempotency_expires_at.map(SystemTime::from)))
        .bind(Column::json(all().map(|e| &e.context)))
        .bind(rare(&rows, retries))
        .bind(metadatas(writes))
        .bind(rare(&rows, |e| to_json(e.error.as_ref())))
        .bind(rare(&rows, |e| to_json(e.cancellation.as_ref())))
        .bind(rare(&rows, |e| to_json(e.reply.as_ref())))
        .bind(rare(&rows, attributes))
}

/// Updates all of `writes` whose row is at the expected revision, not terminal, and where the events say that its history ends; see [`Written`].
pub fn update_query(writes: &[&ExecutionWrite]) -> Query {
    let rows: Vec<&Execution> = writes.iter().map(|w| &w.execution).collect();
    let all = || rows.iter();
    Query::new(UPDATE)
        .bind(Column::text(all().map(|e| Some(e.id.as_str()))))
        .bind(Column::bigint(expected(writes)))
        .bind(Column::text(all().map(|e| Some(e.status.as_str()))))
        .bind(Column::bigint(event_counts(writes)))
        .bind(Column::integer(all().map(|e| e.step_count)))
        .bind(Column::text(all().map(|e| Some(e.current_step.as_str()))))
        .bind(Column::text(all().map(|e| e.driver.as_ref().map(MessageId::as_str))))
        .bind(Column::text(all().map(|e| e.holder.as_ref().map(WorkerId::as_str))))
        .bind(rare(&rows, |e| e.wake_at.map(SystemTime::from)))
        .bind(rare(&rows, |e| e.wait_reason.clone()))
        .bind(rare(&rows, |e| e.wait_started_at.map(SystemTime::from)))
        .bind(Column::json(all().map(|e| &e.context)))
        .bind(rare(&rows, retries))
        .bind(metadatas(writes))
        .bind(rare(&rows, |e| to_json(e.error.as_ref())))
        .bind(rare(&rows, |e| to_json(e.cancellation.as_ref())))
        .bind(rare(&rows, attributes))
        .bind(Column::bigint(befores(writes)))
}

fn column<T>(rows: &[&Execution], value: impl Fn(&Execution) -> T) -> Vec<T> {
    rows.iter().map(|e| value(e)).collect()
}

/// A column that is mostly empty: nothing, when it is.
fn rare<T>(rows: &[&Execution], value: impl Fn(&Execution) -> Option<T>) -> Option<Vec<Option<T>>> {
    let column: Vec<Option<T>> = rows.iter().map(|e| value(e)).collect();
    column.iter().any(Option::is_some).then_some(column)
}

fn expected(writes: &[&ExecutionWrite]) -> impl Iterator<Item = i64> {
    writes.iter().map(|w| match w.expect {
        Expect::Revision(revision) => revision,
        Expect::New => 0,
    })
}

/// Where the history of each ends before its events.
fn befores(writes: &[&ExecutionWrite]) -> impl Iterator<Item = i64> {
    writes.iter().map(|w| w.execution.position)
}

fn event_counts(writes: &[&ExecutionWrite]) -> impl Iterator<Item = i64> {
    writes.iter().map(|w| i64::try_from(w.events.len()).unwrap_or(i64::MAX))
}

fn retries(execution: &Execution) -> Option<Value> {
    let retries = || execution.retries.iter().map(|(step, n)| (step.clone(), Value::from(*n))).collect();
    (!execution.retries.is_empty()).then(|| Value::Object(retries()))
}

fn metadatas(writes: &[&ExecutionWrite]) -> Option<Vec<Option<Value>>> {
    let rows: Vec<&Execution> = writes.iter().map(|w| &w.execution).collect();
    rare(&rows, |e| (!e.metadata.is_empty()).then(|| Value::Object(e.metadata.clone())))
}

fn attributes(execution: &Execution) -> Option<Value> {
    if execution.attributes.is_empty() { None } else { to_json(Some(&execution.attributes)) }
}

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
/// What most batches need, with fewer parameters.
const START: &str = include_str!("sql/start.sql");
const STEP: &str = include_str!("sql/step.sql");

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

/// Inserts all of `writes` whose id and idempotency key are free; see [`Written`].
pub fn create_query(writes: &[&ExecutionWrite]) -> Query {
    start_query(writes).unwrap_or_else(|| full_create_query(writes))
}

/// `None` when they differ in more than `START` lets them.
fn start_query(writes: &[&ExecutionWrite]) -> Option<Query> {
    let first = &writes.first()?.execution;
    let alike = |e: &Execution| {
        is_plain(e)
            && !e.status.is_terminal()
            && (e.step_count, &e.parent, &e.idempotency_key, &e.reply) == (0, &None, &None, &None)
            && e.root == e.id
            && (e.status, &e.flow_id, &e.flow_version) == (first.status, &first.flow_id, &first.flow_version)
            && (&e.current_step, &e.tenant, &e.queue) == (&first.current_step, &first.tenant, &first.queue)
            && (&e.holder, e.timeouts) == (&first.holder, first.timeouts)
    };
    let rows = || writes.iter().map(|w| &w.execution);
    rows().all(alike).then(|| {
        Query::new(START)
            .bind(Column::text(rows().map(|e| Some(e.id.as_str()))))
            .bind(Column::bigint(event_counts(writes).into_iter()))
            .bind(Column::text(rows().map(|e| e.driver.as_ref().map(MessageId::as_str))))
            .bind(Column::json(rows().map(|e| &e.context)))
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
        && e.metadata.is_empty()
        && e.attributes.is_empty()
}

fn full_create_query(writes: &[&ExecutionWrite]) -> Query {
    let events: Vec<i64> = event_counts(writes);
    let rows: Vec<&Execution> = writes.iter().map(|w| &w.execution).collect();
    Query::new(CREATE)
        .bind(column(&rows, |e| e.id.to_string()))
        .bind(column(&rows, |e| e.status.as_str()))
        .bind(events)
        .bind(column(&rows, |e| i32::try_from(e.step_count).unwrap_or(i32::MAX)))
        .bind(column(&rows, |e| e.flow_id.clone()))
        .bind(column(&rows, |e| e.flow_version.clone()))
        .bind(column(&rows, |e| e.current_step.clone()))
        .bind(column(&rows, |e| e.tenant.clone()))
        .bind(column(&rows, |e| e.queue.clone()))
        .bind(column(&rows, |e| e.driver.as_ref().map(ToString::to_string)))
        .bind(column(&rows, |e| e.holder.as_ref().map(ToString::to_string)))
        .bind(column(&rows, |e| e.wake_at.map(SystemTime::from)))
        .bind(column(&rows, |e| e.wait_reason.clone()))
        .bind(column(&rows, |e| e.wait_started_at.map(SystemTime::from)))
        .bind(column(&rows, |e| row::millis(e.timeouts.execution_timeout_ms)))
        .bind(column(&rows, |e| row::millis(e.timeouts.wait_timeout_ms)))
        .bind(column(&rows, |e| e.parent.as_ref().map(ToString::to_string)))
        .bind(column(&rows, |e| e.root.to_string()))
        .bind(column(&rows, |e| e.idempotency_key.clone()))
        .bind(column(&rows, |e| e.idempotency_expires_at.map(SystemTime::from)))
        .bind(column(&rows, |e| Value::Object(e.context.clone())))
        .bind(column(&rows, retries))
        .bind(column(&rows, |e| Value::Object(e.metadata.clone())))
        .bind(column(&rows, |e| to_json(e.error.as_ref())))
        .bind(column(&rows, |e| to_json(e.cancellation.as_ref())))
        .bind(column(&rows, |e| to_json(e.reply.as_ref())))
        .bind(column(&rows, |e| to_json(Some(&e.attributes))))
}

/// Updates all of `writes` whose row is at the expected revision and not terminal; see [`Written`].
pub fn update_query(writes: &[&ExecutionWrite]) -> Query {
    let expected: Vec<i64> = writes
        .iter()
        .map(|w| match w.expect {
            Expect::Revision(revision) => revision,
            Expect::New => 0,
        })
        .collect();
    let events = event_counts(writes);
    let rows: Vec<&Execution> = writes.iter().map(|w| &w.execution).collect();
    if rows.iter().all(|e| is_plain(e)) {
        let rows = || rows.iter();
        return Query::new(STEP)
            .bind(Column::text(rows().map(|e| Some(e.id.as_str()))))
            .bind(Column::bigint(expected.into_iter()))
            .bind(Column::text(rows().map(|e| Some(e.status.as_str()))))
            .bind(Column::bigint(events.into_iter()))
            .bind(Column::integer(rows().map(|e| e.step_count)))
            .bind(Column::text(rows().map(|e| Some(e.current_step.as_str()))))
            .bind(Column::text(rows().map(|e| e.driver.as_ref().map(MessageId::as_str))))
            .bind(Column::text(rows().map(|e| e.holder.as_ref().map(WorkerId::as_str))))
            .bind(Column::json(rows().map(|e| &e.context)));
    }
    Query::new(UPDATE)
        .bind(column(&rows, |e| e.id.to_string()))
        .bind(expected)
        .bind(column(&rows, |e| e.status.as_str()))
        .bind(events)
        .bind(column(&rows, |e| i32::try_from(e.step_count).unwrap_or(i32::MAX)))
        .bind(column(&rows, |e| e.current_step.clone()))
        .bind(column(&rows, |e| e.driver.as_ref().map(ToString::to_string)))
        .bind(column(&rows, |e| e.holder.as_ref().map(ToString::to_string)))
        .bind(column(&rows, |e| e.wake_at.map(SystemTime::from)))
        .bind(column(&rows, |e| e.wait_reason.clone()))
        .bind(column(&rows, |e| e.wait_started_at.map(SystemTime::from)))
        .bind(column(&rows, |e| Value::Object(e.context.clone())))
        .bind(column(&rows, retries))
        .bind(column(&rows, |e| Value::Object(e.metadata.clone())))
        .bind(column(&rows, |e| to_json(e.error.as_ref())))
        .bind(column(&rows, |e| to_json(e.cancellation.as_ref())))
        .bind(column(&rows, |e| to_json(Some(&e.attributes))))
}

fn column<T>(rows: &[&Execution], value: impl Fn(&Execution) -> T) -> Vec<T> {
    rows.iter().map(|e| value(e)).collect()
}

fn event_counts(writes: &[&ExecutionWrite]) -> Vec<i64> {
    writes.iter().map(|w| i64::try_from(w.events.len()).unwrap_or(i64::MAX)).collect()
}

fn retries(execution: &Execution) -> Value {
    Value::Object(execution.retries.iter().map(|(step, n)| (step.clone(), Value::from(*n))).collect())
}

//! Settlements as statements: what a group commit sends, and what a worker's batch sends too.

use std::{collections::HashSet, time::SystemTime};

use mainspring_core::{Failure, Result, Settle, Settlement};
use mainspring_pg::{Query, Row, row::get};
use serde_json::Value;

use crate::row::micros;

/// From the array to the rows by their key, and from there by their place; see `update.sql` of the executions.
const DONE: &str = "DELETE FROM {messages} m USING (
    SELECT i.token, r.row FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[]) AS i(queue, priority, seq, token)
    CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {messages} x
      WHERE x.queue = i.queue AND x.priority = i.priority AND x.seq = i.seq OFFSET 0) r OFFSET 0) u
  WHERE m.ctid = u.row AND m.token = u.token
  RETURNING m.seq, m.token";

const PUT_BACK: &str = "UPDATE {messages} m SET holder = NULL, token = 0 FROM (
    SELECT i.token, r.row FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[]) AS i(queue, priority, seq, token)
    CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {messages} x
      WHERE x.queue = i.queue AND x.priority = i.priority AND x.seq = i.seq OFFSET 0) r OFFSET 0) u
  WHERE m.ctid = u.row AND m.token = u.token
  RETURNING m.seq, u.token";

const SETTLE: &str = include_str!("sql/settle.sql");

/// The statements that settle `settles`, at most three; read the rows of all with [`settled`].
pub fn settle_queries(settles: &[&Settle]) -> Vec<Query> {
    let (done, others): (Vec<&Settle>, Vec<&Settle>) =
        settles.iter().copied().partition(|s| s.settlement == Settlement::Done);
    let (back, others): (Vec<&Settle>, Vec<&Settle>) =
        others.into_iter().partition(|s| s.settlement == Settlement::PutBack);
    let mut queries = Vec::new();
    if !done.is_empty() {
        queries.push(bind_leases(Query::new(DONE), &done));
    }
    if !back.is_empty() {
        queries.push(bind_leases(Query::new(PUT_BACK), &back));
    }
    if !others.is_empty() {
        let query = bind_leases(Query::new(SETTLE), &others)
            .bind(column(&others, |s| verdict(&s.settlement)))
            .bind(column(&others, |s| match &s.settlement {
                Settlement::SnoozeUntil(at) => Some(SystemTime::from(*at)),
                _ => None,
            }))
            .bind(column(&others, |s| match &s.settlement {
                Settlement::RetryAfter { delay, .. } => micros(*delay),
                _ => 0,
            }))
            .bind(column(&others, |s| reason(&s.settlement)));
        queries.push(query);
    }
    queries
}

/// Reads the rows of [`settle_queries`]: the leases (number and token) that were still held.
///
/// # Errors
/// Internal, when the rows are not of those statements.
pub fn settled(rows: &[Row]) -> Result<HashSet<(i64, i64)>> {
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

fn verdict(settlement: &Settlement) -> &'static str {
    match settlement {
        Settlement::Done => "done",
        Settlement::RetryAfter { .. } => "retry",
        Settlement::SnoozeUntil(_) => "snooze",
        Settlement::DeadLetter(_) => "dead",
        Settlement::PutBack => "back",
    }
}

fn reason(settlement: &Settlement) -> Option<Value> {
    let failure: &Failure = match settlement {
        Settlement::RetryAfter { error, .. } => error,
        Settlement::DeadLetter(error) => error,
        Settlement::Done | Settlement::SnoozeUntil(_) | Settlement::PutBack => return None,
    };
    serde_json::to_value(failure).ok()
}

fn bind_leases(query: Query, settles: &[&Settle]) -> Query {
    query
        .bind(column(settles, |s| s.lease.queue.clone()))
        .bind(column(settles, |s| s.lease.priority))
        .bind(column(settles, |s| s.lease.seq))
        .bind(column(settles, |s| s.lease.token))
}

fn column<T>(settles: &[&Settle], value: impl Fn(&Settle) -> T) -> Vec<T> {
    settles.iter().map(|s| value(s)).collect()
}

//! Settlements as statements: what a group commit sends, and what a worker's batch sends too.

use std::{
    collections::{BTreeMap, HashSet},
    time::SystemTime,
};

use mainspring_core::{Failure, Result, Settle, Settlement};
use mainspring_pg::{Query, Row, row::get};
use serde_json::Value;

use crate::row::micros;

/// Messages of one claim, which have a token and mostly a queue and a priority in common, are found together, and the rows then
/// by their place. A row that another one claims meanwhile has a token that is not among these.
const DONE: &str = "DELETE FROM {messages} m WHERE m.token = ANY ($3::bigint[]) AND m.ctid = ANY (ARRAY(
    SELECT r.row FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::int[], $5::int[]) AS c(queue, priority, token, first, last)
    CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {messages} x
      WHERE x.queue = c.queue AND x.priority = c.priority AND x.seq = ANY (($6::bigint[])[c.first:c.last]) AND x.token = c.token
      OFFSET 0) r))
  RETURNING m.seq, m.token";

/// From the array to the rows by their key, and from there by their place; see `update.sql` of the executions.
const PUT_BACK: &str = "UPDATE {messages} m SET holder = NULL, token = 0 FROM (
    SELECT i.token, r.row FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[]) AS i(queue, priority, seq, token)
    CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {messages} x
      WHERE x.queue = i.queue AND x.priority = i.priority AND x.seq = i.seq OFFSET 0) r OFFSET 0) u
  WHERE m.ctid = u.row AND m.token = u.token
  RETURNING m.seq, u.token";

/// What is tried again says in which span it was tried; while the claim holds.
const TRIED: &str = "UPDATE {messages} m
  SET headers = coalesce(m.headers, '{}') || jsonb_build_object('mainspring-tried', u.tried) FROM (
    SELECT i.token, i.tried, r.row FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $5::text[])
      AS i(queue, priority, seq, token, tried)
    CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {messages} x
      WHERE x.queue = i.queue AND x.priority = i.priority AND x.seq = i.seq OFFSET 0) r OFFSET 0) u
  WHERE m.ctid = u.row AND m.token = u.token";

const SETTLE: &str = include_str!("sql/settle.sql");

const MANAGED: &str = "WITH s AS MATERIALIZED (
    SELECT settled_seq, settled_token, admitted, woken FROM {settle}($1, $2, $3, $4, $5, $6, $7, $8, $9))
  SELECT settled_seq, settled_token, admitted, woken FROM s";

/// The statements that settle `settles`, at most five; read the rows of all with [`settled`].
pub fn settle_queries(settles: &[&Settle]) -> Vec<Query> {
    let (back, ended): (Vec<&Settle>, Vec<&Settle>) =
        settles.iter().copied().partition(|s| s.settlement == Settlement::PutBack);
    let (managed, plain): (Vec<&Settle>, Vec<&Settle>) = ended.into_iter().partition(|s| s.lease.managed);
    let (done, others): (Vec<&Settle>, Vec<&Settle>) =
        plain.into_iter().partition(|s| matches!(s.settlement, Settlement::Done | Settlement::DoneWith(_)));
    let mut queries = Vec::new();
    let marked: Vec<&Settle> = settles.iter().copied().filter(|s| s.mark().is_some()).collect();
    if !marked.is_empty() {
        let marks = column(&marked, |s| s.mark().map(ToString::to_string));
        queries.push(bind_leases(Query::new(TRIED), &marked).bind(marks));
    }
    if !done.is_empty() {
        queries.push(bind_claims(Query::new(DONE), &done));
    }
    if !back.is_empty() {
        queries.push(bind_leases(Query::new(PUT_BACK), &back));
    }
    if !others.is_empty() {
        queries.push(bind_verdicts(bind_leases(Query::new(SETTLE), &others), &others));
    }
    if !managed.is_empty() {
        let query = bind_verdicts(bind_leases(Query::new(MANAGED), &managed), &managed);
        queries.push(query.bind(column(&managed, |s| match &s.settlement {
            Settlement::DoneWith(output) => Some(output.clone()),
            _ => None,
        })));
    }
    queries
}

fn bind_verdicts(query: Query, settles: &[&Settle]) -> Query {
    query
        .bind(column(settles, |s| verdict(&s.settlement)))
        .bind(column(settles, |s| match &s.settlement {
            Settlement::SnoozeUntil(at) => Some(SystemTime::from(*at)),
            _ => None,
        }))
        .bind(column(settles, |s| match &s.settlement {
            Settlement::RetryAfter { delay, .. } => Some(micros(*delay)),
            _ => None,
        }))
        .bind(column(settles, |s| reason(&s.settlement)))
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
        Settlement::Done | Settlement::DoneWith(_) => "done",
        Settlement::Retry { .. } | Settlement::RetryAfter { .. } => "retry",
        Settlement::SnoozeUntil(_) => "snooze",
        Settlement::DeadLetter(_) => "dead",
        Settlement::PutBack => "back",
    }
}

fn reason(settlement: &Settlement) -> Option<Value> {
    let failure: &Failure = match settlement {
        Settlement::Retry { error } | Settlement::RetryAfter { error, .. } => error,
        Settlement::DeadLetter(error) => error,
        Settlement::Done | Settlement::DoneWith(_) | Settlement::SnoozeUntil(_) | Settlement::PutBack => {
            return None;
        }
    };
    serde_json::to_value(failure).ok()
}

/// The leases by queue, priority and token, and their numbers in that order, from 1.
fn bind_claims(query: Query, settles: &[&Settle]) -> Query {
    let mut claims: BTreeMap<(&str, i16, i64), Vec<i64>> = BTreeMap::new();
    for Settle { lease, .. } in settles {
        claims.entry((&lease.queue, lease.priority, lease.token)).or_default().push(lease.seq);
    }
    let lasts = claims.values().scan(0, |last, seqs| {
        *last += i32::try_from(seqs.len()).unwrap_or(i32::MAX);
        Some(*last)
    });
    let lasts: Vec<i32> = lasts.collect();
    let firsts: Vec<i32> =
        std::iter::once(1).chain(lasts.iter().map(|last| last + 1)).take(lasts.len()).collect();
    query
        .bind(claims.keys().map(|(queue, ..)| (*queue).to_owned()).collect::<Vec<_>>())
        .bind(claims.keys().map(|(_, priority, _)| *priority).collect::<Vec<_>>())
        .bind(claims.keys().map(|(.., token)| *token).collect::<Vec<_>>())
        .bind(firsts)
        .bind(lasts)
        .bind(claims.values().flatten().copied().collect::<Vec<_>>())
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

//! Pushes as statements: what a group commit sends, and what a single push sends too.

use std::time::SystemTime;

use mainspring_core::{Available, NewMessage};
use mainspring_pg::Query;
use serde_json::Value;

use crate::row::micros;

const PUSH: &str = include_str!("sql/push.sql");
const DEFER: &str = include_str!("sql/defer.sql");

/// The statements that push `messages`, at most two: one for those that are ready at once, one for those that are not.
pub fn push_queries(messages: &[&NewMessage]) -> Vec<Query> {
    let (ready, later): (Vec<&NewMessage>, Vec<&NewMessage>) =
        messages.iter().copied().partition(|m| m.available == Available::Now);
    let mut queries = Vec::new();
    if !ready.is_empty() {
        queries.push(bind_message(Query::new(PUSH), &ready));
    }
    if !later.is_empty() {
        let query = bind_message(Query::new(DEFER), &later)
            .bind(column(&later, |m| match m.available {
                Available::At(at) => Some(SystemTime::from(at)),
                Available::Now | Available::After(_) => None,
            }))
            .bind(column(&later, |m| match m.available {
                Available::After(delay) => micros(delay),
                Available::Now | Available::At(_) => 0,
            }));
        queries.push(query);
    }
    queries
}

fn bind_message(query: Query, messages: &[&NewMessage]) -> Query {
    query
        .bind(column(messages, |m| m.queue.clone()))
        .bind(column(messages, |m| m.priority))
        .bind(column(messages, |m| i32::try_from(m.max_attempts).unwrap_or(i32::MAX)))
        .bind(column(messages, |m| m.id.to_string()))
        .bind(column(messages, |m| m.tenant.clone()))
        .bind(column(messages, |m| m.message_type.clone()))
        .bind(column(messages, |m| m.source.clone()))
        .bind(column(messages, |m| m.subject.clone()))
        .bind(column(messages, |m| m.to.clone()))
        .bind(column(messages, |m| m.data.clone()))
        .bind(column(messages, |m| (!m.headers.is_empty()).then(|| Value::Object(m.headers.clone()))))
}

fn column<T>(messages: &[&NewMessage], value: impl Fn(&NewMessage) -> T) -> Vec<T> {
    messages.iter().map(|m| value(m)).collect()
}

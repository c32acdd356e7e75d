//! Pushes as statements: what a group commit sends, and what a single push sends too.

use std::{
    collections::{BTreeSet, HashSet},
    time::SystemTime,
};

use mainspring_core::{Available, NewMessage, Pushed, Result, Unique};
use mainspring_pg::{Query, Row, row::get};
use serde_json::Value;

use crate::row::{micros, own_of};

const PUSH: &str = include_str!("sql/push.sql");
const DEFER: &str = include_str!("sql/defer.sql");
/// With WITH, so that a lost answer is known to be one to a change.
const PLACE: &str = "WITH p AS MATERIALIZED (
    SELECT n, duplicate_of FROM {place}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17))
  SELECT n, duplicate_of FROM p";

const PLACE_DEPENDENT: &str = "WITH p AS MATERIALIZED (
    SELECT n, duplicate_of FROM {place_dependent}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18))
  SELECT n, duplicate_of FROM p";

const UPSERT: &str = "WITH p AS MATERIALIZED (
    SELECT n, duplicate_of FROM {upsert}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17))
  SELECT n, duplicate_of FROM p";

/// A push as statements, at most three: one for messages that are ready at once, one for those that are not, and one for those
/// that ask for more than a plain queue can give.
pub(crate) struct Push {
    /// Each statement, and which of the messages are in it.
    legs: Vec<(Query, Vec<usize>)>,
}

impl Push {
    pub(crate) fn of(messages: &[&NewMessage]) -> Self {
        let (mut ready, mut later, mut special) = (Vec::new(), Vec::new(), Vec::new());
        // All of one queue go the same way, so that they stay in order.
        let demanding: HashSet<&str> = messages
            .iter()
            .filter(|m| m.is_special())
            .flat_map(|m| m.depends_on.iter().map(|parent| &parent.queue).chain([&m.queue]))
            .map(String::as_str)
            .collect();
        for (n, message) in messages.iter().enumerate() {
            match message.available {
                _ if demanding.contains(message.queue.as_str()) => special.push(n),
                Available::Default | Available::Now => ready.push(n),
                Available::After(_) | Available::At(_) => later.push(n),
            }
        }
        let mut legs = Vec::new();
        let picked = |numbers: &[usize]| -> Vec<&NewMessage> {
            numbers.iter().filter_map(|n| messages.get(*n).copied()).collect()
        };
        if !ready.is_empty() {
            let messages = picked(&ready);
            let query = bind_message(Query::new(PUSH), &messages).bind(queues(&messages));
            legs.push((query.bind(column(&messages, |m| delay(&m.available))), ready));
        }
        if !later.is_empty() {
            let messages = picked(&later);
            let query = bind_message(Query::new(DEFER), &messages).bind(queues(&messages));
            legs.push((bind_time(query, &messages), later));
        }
        if !special.is_empty() {
            legs.push((place(&picked(&special)), special));
        }
        Self { legs }
    }

    /// A message of its own, or a change of one that waits; its answer is read as that of a push.
    pub(crate) fn upsert(message: &NewMessage) -> Query {
        bind_special(Query::new(UPSERT), &[message])
    }

    /// The statements, and what reads their answers.
    pub(crate) fn split(self) -> (Vec<Query>, Vec<Vec<usize>>) {
        self.legs.into_iter().unzip()
    }
}

/// What became of `messages`, and whether one of them was held back.
///
/// # Errors
/// Internal, when the rows are not of these statements.
pub(crate) fn pushed(
    messages: &[NewMessage],
    numbers: &[Vec<usize>],
    answers: &[Vec<Row>],
) -> Result<(Vec<Pushed>, bool)> {
    let own = |message: &NewMessage| Pushed { id: message.id.clone(), duplicate: false };
    let mut pushed: Vec<Pushed> = messages.iter().map(own).collect();
    let mut held = false;
    for (numbers, rows) in numbers.iter().zip(answers) {
        for row in rows {
            let position = usize::try_from(get::<i32>(row, 0)?).unwrap_or(0);
            let number = position.checked_sub(1).and_then(|n| numbers.get(n));
            match number.and_then(|n| pushed.get_mut(*n)) {
                None => held = true,
                Some(pushed) => {
                    let id = mainspring_core::MessageId::from_stored(get(row, 1)?);
                    *pushed = Pushed { id, duplicate: true };
                }
            }
        }
    }
    Ok((pushed, held))
}

/// The statements that push `messages`, at most three.
pub fn push_queries(messages: &[&NewMessage]) -> Vec<Query> {
    Push::of(messages).split().0
}

/// The arguments of `place` and of `push.sql` that are the same.
pub(crate) fn bind_message(query: Query, messages: &[&NewMessage]) -> Query {
    query
        .bind(column(messages, |m| m.queue.clone()))
        .bind(column(messages, |m| m.priority))
        .bind(column(messages, |m| m.max_attempts.map(|n| i32::try_from(n).unwrap_or(i32::MAX))))
        .bind(column(messages, |m| m.id.to_string()))
        .bind(column(messages, |m| m.tenant.clone()))
        .bind(column(messages, |m| m.message_type.clone()))
        .bind(column(messages, |m| m.source.clone()))
        .bind(column(messages, |m| m.subject.clone()))
        .bind(column(messages, |m| m.to.clone()))
        .bind(column(messages, |m| m.data.clone()))
        .bind(column(messages, |m| (!m.headers.is_empty()).then(|| Value::Object(m.headers.clone()))))
}

fn place(messages: &[&NewMessage]) -> Query {
    if messages.iter().all(|message| message.depends_on.is_empty()) {
        return bind_special(Query::new(PLACE), messages);
    }
    let parents = column(messages, |m| {
        let parents = (!m.depends_on.is_empty()).then_some(&m.depends_on);
        parents.and_then(|parents| serde_json::to_value(parents).ok())
    });
    bind_special(Query::new(PLACE_DEPENDENT), messages).bind(parents)
}

fn bind_special(query: Query, messages: &[&NewMessage]) -> Query {
    let query = bind_message(query, messages)
        .bind(column(messages, |m| m.key.clone()))
        .bind(column(messages, own_of));
    bind_time(query, messages)
        .bind(column(messages, |m| m.options.unique.map(|unique| unique_by(&unique).0)))
        .bind(column(messages, |m| m.options.unique.and_then(|unique| unique_by(&unique).1)))
}

fn bind_time(query: Query, messages: &[&NewMessage]) -> Query {
    query
        .bind(column(messages, |m| match m.available {
            Available::At(at) => Some(SystemTime::from(at)),
            _ => None,
        }))
        .bind(column(messages, |m| delay(&m.available)))
}

fn delay(available: &Available) -> Option<i64> {
    match available {
        Available::Now => Some(0),
        Available::After(delay) => Some(micros(*delay)),
        Available::Default | Available::At(_) => None,
    }
}

fn unique_by(unique: &Unique) -> (&'static str, Option<i64>) {
    match unique {
        Unique::Unfinished => ("unfinished", None),
        Unique::For(time) => ("for", Some(micros(*time))),
        Unique::Throttle(slot) => ("throttle", Some(micros(*slot))),
        Unique::Debounce(slot) => ("debounce", Some(micros(*slot))),
    }
}

/// The queues they go to, each once.
pub(crate) fn queues(messages: &[&NewMessage]) -> Vec<String> {
    let names: BTreeSet<&str> = messages.iter().map(|m| m.queue.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn column<T>(messages: &[&NewMessage], value: impl Fn(&NewMessage) -> T) -> Vec<T> {
    messages.iter().map(|m| value(m)).collect()
}

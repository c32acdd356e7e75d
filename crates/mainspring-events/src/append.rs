//! Appends as statements, in two flights: first the heads of the streams move, which decides who wins and fixes every
//! position; then the events of the winners are written. A group commit sends them, and a single append sends them too.
//!
//! ```text
//! begin: heads for new streams ─► lock, recorded: only when events have ids ─► move: who won, and where
//!                                                                               └─► events_query: the winners' events
//! ```
//! Heads are touched in the order of their names, so that two batches cannot wait for each other.

use std::collections::{BTreeMap, HashMap};

use mainspring_core::{
    Append, Appended, Error, EventId, NewEvent, Result, StreamHead, Timestamp, event::STREAMS,
};
use mainspring_pg::{
    Column, Query, Row,
    row::{get, time},
};
use serde_json::Value;

use crate::write::{column, is_unrelated, metadata};

const BEGIN: &str = include_str!("sql/begin.sql");
const MOVE: &str = include_str!("sql/move.sql");
const INSERT: &str = include_str!("sql/insert.sql");
/// What most appends need, with fewer parameters.
const INSERT_PLAIN: &str = include_str!("sql/insert_plain.sql");

/// In the order of the array, which is that of the names.
const LOCK: &str = "SELECT s.stream_position
  FROM unnest($1::text[], $2::text[], $3::text[]) AS w(partition, tenant, stream), {streams} s
  WHERE s.partition = w.partition AND s.tenant = w.tenant AND s.stream = w.stream FOR NO KEY UPDATE OF s";

const RECORDED: &str = "SELECT w.n, e.event_id, e.stream_position, e.global_position
  FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[]) WITH ORDINALITY AS w(partition, tenant, stream, ids, n),
    jsonb_array_elements_text(w.ids) AS i(id), {events} e
  WHERE e.partition = w.partition AND e.stream = w.stream AND e.tenant = w.tenant AND e.event_id = i.id";

/// No row for a stream that is archived or in no partition: an append of nothing is refused there too.
const LOOK: &str = "SELECT w.n, CASE WHEN s.stream_position >= s.live_from THEN s.stream_position ELSE 0 END
  FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS w(partition, tenant, stream, n)
    LEFT JOIN {streams} s ON s.partition = w.partition AND s.tenant = w.tenant AND s.stream = w.stream
  WHERE s.archived_at IS NULL AND (w.partition = 'streams'
    OR EXISTS (SELECT FROM {event_partitions} p WHERE p.partition = w.partition AND p.tenant = ''))";

/// The deciding half of appends to any number of streams.
pub struct Appending<'a> {
    appends: Vec<&'a Append>,
    /// One for each stream, by its name.
    moves: Vec<Move<'a>>,
    /// The appends of nothing, which only look.
    looks: Vec<usize>,
}

/// What moves the head of one stream: one append, or several that go anywhere.
struct Move<'a> {
    lead: &'a Append,
    events: i64,
    members: Vec<usize>,
}

/// What became of one append when the heads moved.
#[derive(Debug, Clone, PartialEq)]
pub enum Decided {
    /// Its events are to be written at these positions; their global positions are still open.
    Moved(Appended),
    /// There is nothing to write: it has no events, or they were all recorded before.
    Done(Appended),
    /// It was refused; [`refusal`](crate::PgEventStore::refusal) says why.
    Refused,
    /// It was refused because so many of its events, and not all, are recorded.
    Overlaps(usize),
}

impl<'a> Appending<'a> {
    /// Of checked appends.
    ///
    /// # Errors
    /// Invalid, when two are to one stream and one of them does not [go anywhere](Append::goes_anywhere).
    pub fn of(appends: Vec<&'a Append>) -> Result<Self> {
        mainspring_core::event::check_streams_once(&appends)?;
        let mut moves: BTreeMap<(&str, &str, &str), Move<'a>> = BTreeMap::new();
        let mut looks = Vec::new();
        for (n, &append) in appends.iter().enumerate() {
            if append.events.is_empty() {
                looks.push(n);
                continue;
            }
            let key = (append.partition.as_str(), append.stream.as_str(), append.tenant.as_str());
            let one = moves.entry(key).or_insert(Move { lead: append, events: 0, members: Vec::new() });
            one.events += length(append);
            one.members.push(n);
        }
        let moves = moves.into_values().collect();
        Ok(Self { appends, moves, looks })
    }

    /// The statements, for one transaction. They take the position fence.
    pub fn queries(&self) -> Vec<Query> {
        let leads: Vec<&Append> = self.moves.iter().map(|one| one.lead).collect();
        let begins: Vec<&Append> = leads.iter().copied().filter(|lead| lead.expected.holds(0)).collect();
        let mut queries = Vec::new();
        if !begins.is_empty() {
            queries.push(streams(BEGIN, &begins).bind(column(&begins, |append| kind(append))));
        }
        if self.with_ids() {
            queries.push(streams(LOCK, &leads));
            queries.push(streams(RECORDED, &leads).bind(column(&leads, |append| ids(append))));
        }
        if !leads.is_empty() {
            let query = streams(MOVE, &leads)
                .bind(column(&self.moves, |one| one.events))
                .bind(column(&leads, |append| append.expected.range().0))
                .bind(column(&leads, |append| append.expected.range().1))
                .bind(column(&leads, |append| ids(append)));
            queries.push(query);
        }
        if !self.looks.is_empty() {
            let looks: Vec<&Append> =
                self.looks.iter().filter_map(|&n| self.appends.get(n).copied()).collect();
            queries.push(streams(LOOK, &looks));
        }
        queries
    }

    fn with_ids(&self) -> bool {
        self.moves.iter().any(|one| has_ids(one.lead))
    }

    /// What became of each append, in the order they were given in, and when. `answers` are those of
    /// [`queries`](Self::queries).
    ///
    /// # Errors
    /// Internal, when an answer cannot be read.
    pub fn decide(&self, answers: &[Vec<Row>]) -> Result<(Vec<Decided>, Option<Timestamp>)> {
        let mut answers = answers.iter();
        if self.moves.iter().any(|one| one.lead.expected.holds(0)) {
            answers.next();
        }
        let recorded = if self.with_ids() { answers.nth(1) } else { None };
        let mut decided = vec![Decided::Refused; self.appends.len()];
        let mut at = None;
        if !self.moves.is_empty() {
            for row in answers.next().into_iter().flatten() {
                at = time(row, 3)?;
                self.moved(row, &mut decided)?;
            }
        }
        for (n, rows) in by_number(recorded.map_or(&[], Vec::as_slice))? {
            if let Some(&[member]) = self.moves.get(n).map(|one| one.members.as_slice()) {
                decided[member] = repeated(self.appends[member], &rows)?;
            }
        }
        if !self.looks.is_empty() {
            let found = by_number(answers.next().map_or(&[], Vec::as_slice))?;
            for (row, &n) in self.looks.iter().enumerate() {
                let Some(found) = found.get(&row).and_then(|rows| rows.first()) else { continue };
                let head = StreamHead { position: get(found, 1)?, stream_type: None };
                if self.appends[n].expected.holds(head.position) {
                    decided[n] = Decided::Done(Appended::nothing(&head));
                }
            }
        }
        Ok((decided, at))
    }

    fn moved(&self, row: &Row, decided: &mut [Decided]) -> Result<()> {
        let (last, live_from): (i64, i64) = (get(row, 1)?, get(row, 2)?);
        let Some(one) = self.moves.get(number(row)?) else {
            return Err(Error::internal("a head moved that no append asked for"));
        };
        let mut first = last - one.events + 1;
        for &n in &one.members {
            let last = first + length(self.appends[n]) - 1;
            let appended =
                Appended { first, last, created_stream: first == live_from, ..Appended::default() };
            decided[n] = Decided::Moved(appended);
            first = last + 1;
        }
        Ok(())
    }
}

/// Writes the events of the appends whose heads moved. `None` when none did. Its rows go to [`place`].
pub fn events_query<'a>(decided: impl IntoIterator<Item = (&'a Append, &'a Decided)>) -> Option<Query> {
    let mut events = Vec::new();
    for (append, decided) in decided {
        if let Decided::Moved(appended) = decided {
            events.extend((appended.first..).zip(&append.events).map(|(n, event)| (append, n, event)));
        }
    }
    let tenant = events.first()?.0.tenant.as_str();
    let rows = || events.iter();
    let plain = rows()
        .all(|(append, _, event)| append.partition == STREAMS && append.tenant == tenant && is_plain(event));
    let query = Query::new(if plain { INSERT_PLAIN } else { INSERT })
        .bind(Column::text(rows().map(|(append, ..)| Some(append.stream.as_str()))))
        .bind(Column::bigint(rows().map(|(_, position, _)| *position)))
        .bind(Column::text(rows().map(|(.., e)| Some(e.event_type.as_str()))))
        .bind(Column::json(rows().map(|(.., e)| &e.data)));
    if plain {
        return Some(query.bind(tenant.to_owned()));
    }
    Some(
        query
            .bind(Column::text(rows().map(|(append, ..)| Some(append.tenant.as_str()))))
            .bind(Column::text(rows().map(|(append, ..)| Some(append.partition.as_str()))))
            .bind(Column::text(rows().map(|(.., e)| e.subject.as_deref())))
            .bind(column(&events, |(.., e)| metadata(e)))
            .bind(Column::text(rows().map(|(.., e)| e.correlation_id.as_deref())))
            .bind(Column::text(rows().map(|(.., e)| e.causation_id.as_deref())))
            .bind(Column::text(rows().map(|(.., e)| e.id.as_ref().map(EventId::as_str))))
            .bind(column(&events, |(.., e)| schema_version(e.schema_version))),
    )
}

/// Gives the global positions that [`events_query`] answered to the appends that moved, in the same order.
///
/// # Errors
/// Internal, when a row cannot be read.
pub fn place<'a>(rows: &[Row], decided: impl IntoIterator<Item = &'a mut Decided>) -> Result<()> {
    let mut rows = rows.iter();
    for one in decided {
        if let Decided::Moved(appended) = one {
            for _ in appended.first..=appended.last {
                let row =
                    rows.next().ok_or_else(|| Error::internal("an event was written without an answer"))?;
                appended.global_positions.push(get(row, 0)?);
            }
        }
    }
    Ok(())
}

/// Whether an event has nothing that only some have.
fn is_plain(event: &NewEvent) -> bool {
    event.metadata.is_empty()
        && is_unrelated(event)
        && (&event.subject, &event.id, event.schema_version) == (&None, &None, 1)
}

fn streams(sql: &'static str, appends: &[&Append]) -> Query {
    Query::new(sql)
        .bind(column(appends, |append| append.partition.clone()))
        .bind(column(appends, |append| append.tenant.clone()))
        .bind(column(appends, |append| append.stream.clone()))
}

pub(crate) fn length(append: &Append) -> i64 {
    i64::try_from(append.events.len()).unwrap_or(i64::MAX)
}

pub(crate) fn kind(append: &Append) -> Option<String> {
    let by_name = || append.stream_id().type_by_name().map(str::to_owned);
    append.stream_type.clone().or_else(by_name)
}

fn has_ids(append: &Append) -> bool {
    append.events.iter().any(|event| event.id.is_some())
}

/// The ids of an append, or absent when it has none.
fn ids(append: &Append) -> Option<Value> {
    let ids = append.events.iter().filter_map(|event| event.id.as_ref());
    has_ids(append).then(|| ids.map(|id| Value::from(id.as_str())).collect())
}

/// Absent rather than 1: most events are.
pub(crate) fn schema_version(version: u32) -> Option<i32> {
    (version != 1).then(|| i32::try_from(version).unwrap_or(i32::MAX))
}

/// Which row of the array it answers, from 0.
fn number(row: &Row) -> Result<usize> {
    Ok(usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX))
}

fn by_number(rows: &[Row]) -> Result<HashMap<usize, Vec<&Row>>> {
    let mut found: HashMap<usize, Vec<&Row>> = HashMap::new();
    for row in rows {
        found.entry(number(row)?).or_default().push(row);
    }
    Ok(found)
}

/// An append of which `rows` are recorded: where it is when that is all of it.
fn repeated(append: &Append, rows: &[&Row]) -> Result<Decided> {
    let mut places = HashMap::new();
    for row in rows {
        places.insert(get::<&str>(row, 1)?, (get::<i64>(row, 2)?, get::<i64>(row, 3)?));
    }
    let place = |event: &NewEvent| places.get(event.id.as_ref()?.as_str()).copied();
    let found: Option<Vec<(i64, i64)>> = append.events.iter().map(place).collect();
    let Some(found) = found else { return Ok(Decided::Overlaps(rows.len())) };
    let (Some((first, _)), Some((last, _))) = (found.iter().min(), found.iter().max()) else {
        return Err(Error::internal("an append of nothing was repeated"));
    };
    Ok(Decided::Done(Appended {
        first: *first,
        last: *last,
        global_positions: found.iter().map(|(_, global)| *global).collect(),
        created_stream: false,
        repeated: true,
    }))
}

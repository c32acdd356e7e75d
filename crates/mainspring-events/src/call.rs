//! Appends as one call: those whose streams are expected at one position, so that every position is known before.

use std::collections::HashMap;

use mainspring_core::{Append, Appended, Error, NewEvent, Result, Timestamp, event::STREAMS};
use mainspring_pg::{
    Column, Db, Query, Row,
    row::{get, time},
};

use crate::{
    append::{Decided, kind, length, schema_version},
    write::{column, metadata, rare},
};

const APPEND: &str = "SELECT appended_at, placed FROM {append}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
    $16, $17)";

const MARKS: &str = "SELECT s.stream, s.stream_position, s.mark FROM {streams} s
  WHERE s.partition = 'streams' AND s.tenant = $1 AND s.stream = ANY ($2)";

/// Appends, each to a stream of its own, that one call of `{append}` can make.
pub struct AppendCall<'a> {
    appends: Vec<&'a Append>,
    tenant: &'a str,
}

impl<'a> AppendCall<'a> {
    /// `None` when the call has no place for one of them, or there are none.
    pub fn of(appends: Vec<&'a Append>) -> Option<Self> {
        let tenant = appends.first()?.tenant.as_str();
        let fits = |append: &&Append| {
            let (low, high) = append.expected.range();
            low == high
                && !append.events.is_empty()
                && (append.partition.as_str(), append.tenant.as_str()) == (STREAMS, tenant)
                && append.events.iter().all(|event| event.id.is_none())
        };
        appends.iter().all(fits).then_some(Self { appends, tenant })
    }

    /// The call; every head it moves bears `mark`.
    pub fn query(&self, mark: i64) -> Query {
        let mut heads: Vec<&Append> = self.appends.clone();
        // As the flights do, so that nobody waits for one who waits for him.
        heads.sort_by_key(|append| &append.stream);
        let (new, moved): (Vec<&Append>, Vec<&Append>) =
            heads.into_iter().partition(|append| from(append) == 0);
        let query = Query::new(APPEND).bind(mark).bind(self.tenant.to_owned());
        let query = streams(query, &new).bind(some(&new).map(|new| column(new, |append| kind(append))));
        let query = streams(query, &moved)
            .bind(some(&moved).map(|moved| Column::bigint(moved.iter().map(|append| from(append)))));
        let events = self.events();
        let rows = || events.iter();
        query
            .bind(Column::text(rows().map(|(stream, ..)| Some(*stream))))
            .bind(Column::bigint(rows().map(|(_, position, _)| *position)))
            .bind(Column::text(rows().map(|(.., event)| Some(event.event_type.as_str()))))
            .bind(Column::json(rows().map(|(.., event)| &event.data)))
            .bind(rare(&events, |(.., event)| event.subject.clone()))
            .bind(rare(&events, |(.., event)| metadata(event)))
            .bind(rare(&events, |(.., event)| event.correlation_id.clone()))
            .bind(rare(&events, |(.., event)| event.causation_id.clone()))
            .bind(rare(&events, |(.., event)| schema_version(event.schema_version)))
    }

    /// Stream, position and event.
    fn events(&self) -> Vec<(&'a str, i64, &'a NewEvent)> {
        let placed = |append: &&'a Append| (from(append) + 1..).zip(&append.events);
        let of = |append: &&'a Append| placed(append).map(|(at, event)| (append.stream.as_str(), at, event));
        self.appends.iter().flat_map(of).collect()
    }

    /// When it was committed, and where each append is, from the call's answer.
    ///
    /// # Errors
    /// Internal, when the answer is another one's.
    pub fn made(&self, rows: &[Row]) -> Result<(Option<Timestamp>, Vec<Decided>)> {
        let row = rows.first().ok_or_else(|| Error::internal("{append} answered no row"))?;
        let mut places = get::<Vec<i64>>(row, 1)?.into_iter();
        let mut moved = self.moved();
        for one in &mut moved {
            if let Decided::Moved(appended) = one {
                let count = usize::try_from(appended.last - appended.first + 1).unwrap_or(usize::MAX);
                appended.global_positions.extend(places.by_ref().take(count));
            }
        }
        Ok((time(row, 0)?, moved))
    }

    /// Where each append is when the call was committed; the places in the log are still open.
    pub fn moved(&self) -> Vec<Decided> {
        let moved = self.appends.iter().map(|append| {
            let from = from(append);
            Decided::Moved(Appended {
                first: from + 1,
                last: from + length(append),
                created_stream: from == 0,
                ..Appended::default()
            })
        });
        moved.collect()
    }

    /// What the heads say of a call with `mark` that did nothing or is over, when none of its appends can be made any more.
    ///
    /// # Errors
    /// As [`Db::all`].
    pub async fn heads(&self, db: &Db<'_>, mark: i64) -> Result<CalledHeads> {
        let names: Vec<&str> = self.appends.iter().map(|append| append.stream.as_str()).collect();
        let rows = db.all(MARKS, &[&self.tenant, &names]).await?;
        let mut heads = CalledHeads::default();
        for row in &rows {
            heads.positions.insert(get(row, 0)?, get(row, 1)?);
            heads.marked |= get::<Option<i64>>(row, 2)? == Some(mark);
        }
        Ok(heads)
    }
}

/// The heads that a call whose answer was lost may have moved.
#[derive(Debug, Default)]
pub struct CalledHeads {
    /// One bears the call's mark: it was committed, all of it.
    pub marked: bool,
    positions: HashMap<String, i64>,
}

impl CalledHeads {
    /// Whether the append may have been made all the same: its stream is farther on, or gone.
    pub fn may_hold(&self, append: &Append) -> bool {
        let position = self.positions.get(&append.stream).copied();
        position.map_or(from(append) > 0, |position| position > from(append) + length(append))
    }
}

/// Where the stream of an append is expected.
fn from(append: &Append) -> i64 {
    append.expected.range().0
}

/// Binds names and lengths.
fn streams(query: Query, appends: &[&Append]) -> Query {
    query
        .bind(some(appends).map(|some| Column::text(some.iter().map(|append| Some(append.stream.as_str())))))
        .bind(some(appends).map(|some| Column::bigint(some.iter().map(|append| length(append)))))
}

fn some<'s, 'a>(appends: &'s [&'a Append]) -> Option<&'s [&'a Append]> {
    (!appends.is_empty()).then_some(appends)
}

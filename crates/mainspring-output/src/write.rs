//! Writing and closing: many of both in one statement.

use std::collections::BTreeMap;

use mainspring_core::{Error, OutputStream, OutputWrite, Result};
use mainspring_pg::{Batch, Column, Db, Hints, Query, constraint, hint_name, row::get};

/// What a writer is answered: where its chunks begin, `None` when the stream was closed before.
pub(crate) type Answer = Option<i64>;

/// Writes where `db` stands, and tells who waits.
pub(crate) struct Writes<'t> {
    pub(crate) db: Db<'t>,
    pub(crate) hints: Option<Hints>,
}

/// Writes of many tasks at the same time.
pub(crate) struct SharedWrites(pub(crate) Writes<'static>);

impl Batch for SharedWrites {
    type Wish = OutputWrite;
    type Answer = Answer;
    /// Bytes.
    const MOST: usize = 4 * 1024 * 1024;

    /// A chunk weighs something even when it is empty.
    fn weight(wish: &OutputWrite) -> usize {
        wish.chunks.iter().map(|chunk| chunk.len() + 256).sum::<usize>() + 256
    }

    fn run(&self, wishes: &[OutputWrite]) -> impl Future<Output = Result<Vec<Answer>>> + Send {
        self.0.write(wishes)
    }
}

/// What all wishes together do to one stream.
#[derive(Default)]
struct Sum {
    chunks: i64,
    closes: bool,
}

/// All of them in one statement.
struct Plan<'w> {
    numbers: BTreeMap<&'w OutputStream, usize>,
    /// For each wish its stream, and where it begins among what is new there.
    places: Vec<Option<(usize, i64)>>,
    query: Query,
}

impl<'w> Plan<'w> {
    fn of(wishes: &[&'w OutputWrite]) -> Self {
        // Rows are locked in this order by everybody.
        let mut numbers: BTreeMap<&OutputStream, usize> =
            wishes.iter().map(|wish| (&wish.stream, 0)).collect();
        numbers.values_mut().enumerate().for_each(|(n, number)| *number = n);
        let mut sums: Vec<Sum> = numbers.iter().map(|_| Sum::default()).collect();
        let mut places: Vec<Option<(usize, i64)>> = Vec::with_capacity(wishes.len());
        let (mut of, mut at, mut data) = (Vec::new(), Vec::new(), Vec::new());
        for wish in wishes {
            let number = numbers.get(&wish.stream).copied().unwrap_or_default();
            let Some(sum) = sums.get_mut(number).filter(|sum| !sum.closes) else {
                places.push(None);
                continue;
            };
            places.push(Some((number, sum.chunks)));
            sum.closes = wish.closes;
            for chunk in &wish.chunks {
                of.push(number as i64 + 1);
                at.push(sum.chunks);
                data.push(&**chunk);
                sum.chunks += 1;
            }
        }
        let query = Query::new(WRITE)
            .bind(Column::text(numbers.keys().map(|stream| Some(stream.owner()))))
            .bind(Column::text(numbers.keys().map(|stream| Some(stream.name.as_str()))))
            .bind(Column::bigint(sums.iter().map(|sum| sum.chunks)))
            .bind(sums.iter().map(|sum| sum.closes).collect::<Vec<bool>>())
            .bind(Column::bigint(of.into_iter()))
            .bind(Column::bigint(at.into_iter()))
            .bind(Column::bytea(data.into_iter()));
        Self { numbers, places, query }
    }
}

/// The statement that does `writes` in this order, each ignored when its stream is closed: for commits of more than this.
/// Fails when an execution does not exist. Tell [who waits](output_hint) after the commit.
pub fn write_query(writes: &[&OutputWrite]) -> Query {
    Plan::of(writes).query
}

impl Writes<'_> {
    /// All of them in one statement.
    pub(crate) async fn write(&self, wishes: &[OutputWrite]) -> Result<Vec<Answer>> {
        let Plan { numbers, places, query } = Plan::of(&wishes.iter().collect::<Vec<_>>());
        let rows = self.db.run(query).await.map_err(|error| refusal(error, &numbers))?;
        let mut firsts: Vec<Option<i64>> = vec![None; numbers.len()];
        for row in &rows {
            let number = usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
            if let Some(first) = firsts.get_mut(number) {
                *first = Some(get(row, 1)?);
            }
        }
        self.tell(
            numbers.keys().zip(&firsts).filter(|(_, first)| first.is_some()).map(|(stream, _)| *stream),
        );
        let answer = |place: Option<(usize, i64)>| {
            let (number, offset) = place?;
            Some(firsts.get(number).copied().flatten()? + offset)
        };
        Ok(places.into_iter().map(answer).collect())
    }

    fn tell<'s>(&self, streams: impl Iterator<Item = &'s OutputStream>) {
        if let Some(hints) = &self.hints {
            let names: Vec<String> = streams.map(output_hint).collect();
            hints.notify(names.iter().map(String::as_str));
        }
    }
}

/// What hints for a stream go by.
pub fn output_hint(stream: &OutputStream) -> String {
    hint_name("output", &[stream.owner(), &stream.name])
}

fn refusal(error: Error, streams: &BTreeMap<&OutputStream, usize>) -> Error {
    let of_execution = constraint(&error).is_some_and(|name| name.ends_with("output_execution"));
    match streams.keys().next() {
        Some(stream) if of_execution => Error::not_found("execution", stream.owner()).with_source(error),
        _ => error,
    }
}

const WRITE: &str = include_str!("sql/write.sql");

//! Bulk import: appends of any number of events in one transaction, written with COPY.

use std::{collections::HashSet, time::SystemTime};

use mainspring_core::{Append, Error, Result, Timestamp};
use mainspring_pg::{CopyRow, CopyType, Db, Query};

use crate::{
    PgEventStore,
    append::{Appending, Decided},
    write::metadata,
};

/// Events that are in memory and sent at a time.
const CHUNK: usize = 10_000;

const COPY: &str =
    "COPY {events} (partition, tenant, stream, stream_position, created_at, type, subject, data, metadata,
  correlation_id, causation_id, event_id, schema_version) FROM STDIN (FORMAT binary)";

const COLUMNS: [CopyType; 13] = [
    CopyType::Text,
    CopyType::Text,
    CopyType::Text,
    CopyType::BigInt,
    CopyType::Time,
    CopyType::Text,
    CopyType::Text,
    CopyType::Json,
    CopyType::Json,
    CopyType::Text,
    CopyType::Text,
    CopyType::Text,
    CopyType::Integer,
];

/// What an import wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Events that are new in the log.
    pub events: u64,
    /// Events that were in the log already, by their ids.
    pub repeated: u64,
    /// Streams that were begun.
    pub streams: u64,
}

impl PgEventStore<'_> {
    /// Appends all of `appends` in one transaction, in their order, to new streams and to those that exist, with positions
    /// and expectations as any append has them. Every stream stays locked until the end, and those who follow the log wait
    /// for it: several imports of some 100,000 events are better than one of all. Inline projections are not kept: rebuild
    /// them.
    ///
    /// # Errors
    /// As [`append_all`](mainspring_core::EventStore::append_all); nothing is written then.
    pub async fn import(
        &self,
        appends: impl IntoIterator<Item = Append, IntoIter: Send> + Send,
    ) -> Result<Imported> {
        let appends = appends.into_iter();
        if self.db().in_transaction() {
            return self.copy_all(self.db(), appends).await;
        }
        let (flight, _) = self.db().begin(Vec::new()).await?;
        match self.copy_all(&flight.db()?, appends).await {
            Ok(imported) => flight.commit(vec![Query::new("SELECT 1")]).await.map(|_| imported),
            Err(error) => flight.rollback().await.and(Err(error)),
        }
    }

    async fn copy_all(
        &self,
        db: &Db<'_>,
        mut appends: impl Iterator<Item = Append> + Send,
    ) -> Result<Imported> {
        let mut imported = Imported::default();
        let mut left: Option<Append> = None;
        loop {
            let mut chunk: Vec<Append> = Vec::new();
            let mut streams = HashSet::new();
            let mut events = 0;
            while let Some(append) = left.take().or_else(|| appends.next()) {
                append.check()?;
                // A second append to a stream sees where the first one left it.
                let again = !streams.insert(append.stream_id());
                if again || (events > 0 && events + append.events.len() > CHUNK) {
                    left = Some(append);
                    break;
                }
                events += append.events.len();
                chunk.push(append);
            }
            if chunk.is_empty() {
                return Ok(imported);
            }
            self.copy_chunk(db, &chunk, &mut imported).await?;
        }
    }

    async fn copy_chunk(&self, db: &Db<'_>, chunk: &[Append], imported: &mut Imported) -> Result<()> {
        let appending = Appending::of(chunk.iter().collect())?;
        let answers = db.together(appending.queries()).await?;
        let (decided, at) = appending.decide(&answers)?;
        let mut rows = Vec::new();
        for (append, decided) in chunk.iter().zip(&decided) {
            match decided {
                Decided::Moved(appended) => {
                    let at = at.ok_or_else(|| Error::internal("an append has no time"))?;
                    imported.streams += u64::from(appended.created_stream);
                    imported.events += append.events.len() as u64;
                    rows.extend(
                        (appended.first..).zip(&append.events).map(|(n, e)| copied(append, n, e, at)),
                    );
                }
                Decided::Done(_) => imported.repeated += append.events.len() as u64,
                Decided::Overlaps(recorded) => return Err(append.overlaps(*recorded)),
                Decided::Refused => return Err(PgEventStore::new(db).refusal(append).await),
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        db.copy_in(COPY, &COLUMNS, rows).await.map(drop)
    }
}

fn copied(append: &Append, position: i64, event: &mainspring_core::NewEvent, at: Timestamp) -> CopyRow {
    vec![
        Box::new(append.partition.clone()),
        Box::new(append.tenant.clone()),
        Box::new(append.stream.clone()),
        Box::new(position),
        Box::new(SystemTime::from(at)),
        Box::new(event.event_type.clone()),
        Box::new(event.subject.clone()),
        Box::new(event.data.clone()),
        Box::new(metadata(event)),
        Box::new(event.correlation_id.clone()),
        Box::new(event.causation_id.clone()),
        Box::new(event.id.as_ref().map(|id| id.as_str().to_owned())),
        Box::new(crate::append::schema_version(event.schema_version)),
    ]
}

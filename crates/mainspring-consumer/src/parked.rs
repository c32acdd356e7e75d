//! Events a processor gave up on: put aside, and tried again when somebody says so.

use mainspring_core::{Changes, Error, EventStore, RecordedEvent, Result, limits::clip_error};
use mainspring_events::PgEventStore;
use mainspring_pg::{Query, row::get};

use crate::{
    handler::Next,
    lease::{Lease, fenced},
    processor::Work,
    run::{Runner, Term, is_passing},
    work::{Effect, Failure, Problem, called},
};

/// Parked events that are tried again in one go.
const AT_ONCE: i64 = 100;

/// Moves the processor beyond `event` and puts it aside. No row: fenced, or done before.
pub(crate) fn park_query(
    lease: Lease,
    from: i64,
    event: &RecordedEvent,
    attempts: u32,
    error: &str,
) -> Query {
    Query::new(PARK)
        .bind(lease.id)
        .bind(lease.token)
        .bind(from)
        .bind(event.global_position)
        .bind(event.partition.clone())
        .bind(event.tenant.clone())
        .bind(event.stream.clone())
        .bind(event.position)
        .bind(event.event.event_type.clone())
        .bind(i32::try_from(attempts).unwrap_or(i32::MAX))
        .bind(error.to_owned())
}

impl Runner {
    /// Tries again the parked events somebody wants tried again; whether there are more. What fails stays parked.
    pub(crate) async fn redrive(&self, term: &Term) -> Result<bool> {
        let Some(lease) = term.lease else { return Ok(false) };
        let db = &self.shared.db;
        let rows =
            self.patiently(|| Box::pin(db.run(Query::new(WANTED).bind(lease.id).bind(AT_ONCE)))).await?;
        for row in &rows {
            if self.shared.stop.is_cancelled() {
                return Ok(true);
            }
            let position: i64 = get(row, 0)?;
            let (partition, tenant, stream): (String, String, String) =
                (get(row, 1)?, get(row, 2)?, get(row, 3)?);
            let at: i64 = get(row, 4)?;
            let log = PgEventStore::new(db);
            let found = self.patiently(|| log.read_stream(&partition, &tenant, &stream, at, 1)).await?;
            let Some(event) = found.first().filter(|event| event.position == at) else {
                tracing::warn!(
                    processor = self.key.name,
                    position,
                    "a parked event is not in the log any more"
                );
                db.exec(FORGET, &[&lease.id, &position]).await?;
                continue;
            };
            match self.again(lease, event).await {
                Ok(()) => tracing::info!(processor = self.key.name, position, "a parked event is handled"),
                Err(Problem::Ours(error)) if is_passing(&error) => return Ok(true),
                Err(Problem::Ours(error)) => return Err(error),
                Err(Problem::Theirs { error, .. }) => {
                    tracing::warn!(processor = self.key.name, position, error, "a parked event failed again");
                    let error = clip_error(&error);
                    let failed = || {
                        let query = Query::new(FAILED).bind(lease.id).bind(lease.token).bind(position);
                        query.bind(error.clone())
                    };
                    if self.patiently(|| Box::pin(db.run(failed()))).await?.is_empty() {
                        return Err(fenced());
                    }
                }
            }
        }
        Ok(i64::try_from(rows.len()).is_ok_and(|n| n == AT_ONCE))
    }

    /// Handles one parked event and takes it out of the parked ones, in one transaction under the lease.
    async fn again(&self, lease: Lease, event: &RecordedEvent) -> Result<(), Problem> {
        let forget = Query::new(FORGET).bind(lease.id).bind(event.global_position);
        let first = vec![lease.renew(self.shared.lease), forget];
        match &self.processor.work {
            Work::Project(projector) => {
                let effect = Effect::Apply(&**projector, std::slice::from_ref(event));
                self.transact(first, &effect).await.map(drop)
            }
            Work::React(reactor) => {
                let changes = match called(reactor.react(event)).await.map_err(|failure| failure.at(0))? {
                    Next::Go(changes) => *changes,
                    Next::Skip(_) | Next::Stop(_) => Changes::default(),
                    Next::Fail(reason) => return Err(Failure::Failed(reason).at(0)),
                };
                self.transact(first, &Effect::Write(std::slice::from_ref(&changes))).await?;
                self.shared.commits.committed(&[&changes]);
                Ok(())
            }
        }
    }
}

/// An event a processor gave up on.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    /// The processor's name.
    pub processor: String,
    /// Its version.
    pub version: u32,
    /// The event's place in the log.
    pub global_position: i64,
    /// The partition of its stream.
    pub partition: String,
    /// Its tenant; empty for none.
    pub tenant: String,
    /// Its stream.
    pub stream: String,
    /// Its place in the stream.
    pub position: i64,
    /// What happened.
    pub event_type: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub error: String,
    /// It is to be tried again.
    pub redrive: bool,
    /// Since when.
    pub parked_at: mainspring_core::Timestamp,
}

impl Parked {
    pub(crate) fn from_row(row: &mainspring_pg::Row) -> Result<Self> {
        Ok(Self {
            processor: get(row, 0)?,
            version: mainspring_pg::row::count(row, 1)?,
            global_position: get(row, 2)?,
            partition: get(row, 3)?,
            tenant: get(row, 4)?,
            stream: get(row, 5)?,
            position: get(row, 6)?,
            event_type: get(row, 7)?,
            attempts: mainspring_pg::row::count(row, 8)?,
            error: get(row, 9)?,
            redrive: get(row, 10)?,
            parked_at: mainspring_pg::row::time(row, 11)?
                .ok_or_else(|| Error::internal("a parked event has no time"))?,
        })
    }
}

const PARK: &str = "WITH moved AS (
    UPDATE {processors} SET position = $4, updated_at = {now}() WHERE id = $1 AND token = $2 AND position = $3
    RETURNING id)
  INSERT INTO {parked} (processor, global_position, partition, tenant, stream, stream_position, type, attempts, error,
                        parked_at)
  SELECT moved.id, $4, $5::text, $6::text, $7::text, $8::bigint, $9::text, $10::integer, $11::text, {now}() FROM moved
  ON CONFLICT (processor, global_position) DO UPDATE
    SET attempts = excluded.attempts, error = excluded.error, redrive = false, parked_at = excluded.parked_at
  RETURNING processor";

const WANTED: &str = "SELECT global_position, partition, tenant, stream, stream_position FROM {parked}
  WHERE processor = $1 AND redrive ORDER BY global_position LIMIT $2";

const FORGET: &str = "DELETE FROM {parked} WHERE processor = $1 AND global_position = $2";

const FAILED: &str = "UPDATE {parked} k SET attempts = k.attempts + 1, error = $4, redrive = false
  FROM {processors} p WHERE p.id = $1 AND p.token = $2 AND k.processor = p.id AND k.global_position = $3
  RETURNING k.processor";

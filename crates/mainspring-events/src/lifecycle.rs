//! What becomes of whole streams: archive, restore, delete, forget, truncate; and snapshots of them.
//!
//! Each first locks the head, in a statement of its own: the next one then sees what writers before it have left.

use mainspring_core::{Error, Result, Snapshot, StreamId};
use mainspring_pg::{
    Query,
    row::{count, get},
};

use crate::{PgEventStore, read::of, row::columns};

const LOCK: &str = "SELECT stream_position FROM {streams}
  WHERE partition = $1 AND tenant = $2 AND stream = $3 FOR UPDATE";

/// Moves all events of the stream from one table to another, if `head` is a row; how many rows it is.
macro_rules! moves {
    ($head:literal, $from:literal, $to:literal) => {
        concat!(
            "WITH head AS (",
            $head,
            " RETURNING stream_position), moved AS (DELETE FROM ",
            $from,
            " e USING head WHERE e.partition = $1 AND e.tenant = $2 AND e.stream = $3
              RETURNING e.partition, e.tenant, e.stream, ",
            columns!(),
            "), written AS (INSERT INTO ",
            $to,
            " (partition, tenant, stream, stream_position, global_position, created_at, type, subject, data, metadata,
               correlation_id, causation_id, event_id, schema_version) SELECT * FROM moved)
            SELECT count(*) FROM head"
        )
    };
}

const ARCHIVE: &str = moves!(
    "UPDATE {streams} SET archived_at = {now}() WHERE partition = $1 AND tenant = $2 AND stream = $3
       AND archived_at IS NULL AND stream_position >= live_from",
    "{events}",
    "{events_archive}"
);

const RESTORE: &str = moves!(
    "UPDATE {streams} SET archived_at = NULL WHERE partition = $1 AND tenant = $2 AND stream = $3
       AND archived_at IS NOT NULL",
    "{events_archive}",
    "{events}"
);

/// Deletes all that belongs to the stream, and does this to its head; how many events it had.
macro_rules! deletes {
    ($head:literal) => {
        concat!(
            "WITH head AS (",
            $head,
            "), live AS (DELETE FROM {events} WHERE partition = $1 AND tenant = $2 AND stream = $3 RETURNING 1),
            archived AS (DELETE FROM {events_archive} WHERE partition = $1 AND tenant = $2 AND stream = $3 RETURNING 1),
            folded AS (DELETE FROM {snapshots} WHERE partition = $1 AND tenant = $2 AND stream = $3)
            SELECT (SELECT count(*) FROM live) + (SELECT count(*) FROM archived)"
        )
    };
}

const DELETE: &str = deletes!(
    "UPDATE {streams} SET archived_at = NULL, live_from = stream_position + 1
     WHERE partition = $1 AND tenant = $2 AND stream = $3 AND (archived_at IS NOT NULL OR stream_position >= live_from)"
);

const FORGET: &str = deletes!("DELETE FROM {streams} WHERE partition = $1 AND tenant = $2 AND stream = $3");

const TRUNCATE: &str = "WITH head AS (
    UPDATE {streams} SET live_from = greatest(live_from, least($4::bigint, stream_position))
    WHERE partition = $1 AND tenant = $2 AND stream = $3 AND archived_at IS NULL AND stream_position >= live_from
    RETURNING live_from
  ), gone AS (
    DELETE FROM {events} e USING head
    WHERE e.partition = $1 AND e.tenant = $2 AND e.stream = $3 AND e.stream_position < head.live_from RETURNING 1)
  SELECT count(*) FROM gone";

const SNAPSHOT: &str = "SELECT schema_version, stream_position, state FROM {snapshots}
  WHERE partition = $1 AND tenant = $2 AND stream = $3 AND name = $4";

/// Under the lock of the head, so that it cannot outlive a stream that is being deleted.
const SAVE_SNAPSHOT: &str = "INSERT INTO {snapshots} AS n
    (partition, tenant, stream, name, schema_version, stream_position, created_at, state)
  SELECT partition, tenant, stream, $4, $5, $6, {now}(), $7 FROM {streams}
  WHERE partition = $1 AND tenant = $2 AND stream = $3 AND archived_at IS NULL
    AND $6 BETWEEN live_from AND stream_position FOR SHARE
  ON CONFLICT (partition, stream, tenant, name) DO UPDATE SET schema_version = excluded.schema_version,
    stream_position = excluded.stream_position, created_at = excluded.created_at, state = excluded.state
  WHERE n.schema_version <> excluded.schema_version OR n.stream_position < excluded.stream_position";

const CREATE_PARTITION: &str = "SELECT {create_event_partition}($1, $2)";

const DROP_PARTITION: &str = "SELECT {drop_event_partition}($1)";

const PARTITIONS: &str = "SELECT partition, tenant FROM {event_partitions} ORDER BY partition, tenant";

impl PgEventStore<'_> {
    pub(crate) async fn archive_stream(&self, stream: &StreamId) -> Result<bool> {
        Ok(self.locked(stream, of(ARCHIVE, stream)).await? > 0)
    }

    pub(crate) async fn restore_stream(&self, stream: &StreamId) -> Result<bool> {
        Ok(self.locked(stream, of(RESTORE, stream)).await? > 0)
    }

    pub(crate) async fn delete_events(&self, stream: &StreamId) -> Result<u64> {
        self.locked(stream, of(DELETE, stream)).await
    }

    pub(crate) async fn forget(&self, stream: &StreamId) -> Result<u64> {
        self.locked(stream, of(FORGET, stream)).await
    }

    pub(crate) async fn truncate(&self, stream: &StreamId, position: i64) -> Result<u64> {
        if position < 1 {
            return Err(Error::invalid("position", format!("{position} is below 1")));
        }
        self.locked(stream, of(TRUNCATE, stream).bind(position)).await
    }

    pub(crate) async fn load_snapshot(&self, stream: &StreamId, name: &str) -> Result<Option<Snapshot>> {
        let rows = self.db().run(of(SNAPSHOT, stream).bind(name.to_owned())).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (schema_version, position, state) = (count(row, 0)?, get(row, 1)?, get(row, 2)?);
        Ok(Some(Snapshot { schema_version, position, state }))
    }

    pub(crate) async fn keep_snapshot(
        &self,
        stream: &StreamId,
        name: &str,
        snapshot: Snapshot,
    ) -> Result<()> {
        stream.check_writable()?;
        snapshot.check(name)?;
        let query = of(SAVE_SNAPSHOT, stream)
            .bind(name.to_owned())
            .bind(i32::try_from(snapshot.schema_version).unwrap_or(i32::MAX))
            .bind(snapshot.position)
            .bind(snapshot.state);
        self.db().run(query).await.map(drop)
    }

    /// What `query` counts, under the lock of the head.
    async fn locked(&self, stream: &StreamId, query: Query) -> Result<u64> {
        stream.check_writable()?;
        let answers = self.db().together(vec![of(LOCK, stream), query]).await?;
        let count: i64 = answers.get(1).and_then(|rows| rows.first()).map_or(Ok(0), |row| get(row, 0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Makes the partition, or storage for the tenant in it. `None` when the partition does not exist.
    pub(crate) async fn make_partition(&self, partition: &str, tenant: &str) -> Result<Option<bool>> {
        let query = Query::new(CREATE_PARTITION).bind(partition.to_owned()).bind(tenant.to_owned());
        let answers = self.db().together(vec![query]).await?;
        answers.first().and_then(|rows| rows.first()).map_or(Ok(None), |row| get(row, 0))
    }

    /// How many events went with it; `None` when there is no such partition.
    pub(crate) async fn unmake_partition(&self, partition: &str) -> Result<Option<u64>> {
        let answers = self.db().together(vec![Query::new(DROP_PARTITION).bind(partition.to_owned())]).await?;
        let gone: Option<i64> =
            answers.first().and_then(|rows| rows.first()).map_or(Ok(None), |row| get(row, 0))?;
        Ok(gone.and_then(|gone| u64::try_from(gone).ok()))
    }

    /// Every partition that was made, and every tenant with storage of its own in one.
    pub(crate) async fn made_partitions(&self) -> Result<Vec<(String, String)>> {
        let rows = self.db().all(PARTITIONS, &[]).await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }
}

//! Streams of one type in one partition that nobody appends to any more, found by walking over their heads.

use mainspring_core::{EventStore, Result, StreamId, Timestamp, event::STREAMS};
use mainspring_events::PgEventStore;
use mainspring_pg::{
    Db,
    row::{get, time},
};

const PARTITIONS: &str = "SELECT partition FROM {event_partitions} WHERE tenant = '' ORDER BY partition";

/// Old is a stream whose last event is, and that everybody who follows the log has seen and nobody has parked.
macro_rules! heads {
    ($window:literal) => {
        concat!(
            "SELECT s.stream, s.tenant, s.stream_position, e.created_at,
               s.archived_at IS NULL AND s.stream_position >= s.live_from AND e.created_at <= c.old
               AND NOT EXISTS (SELECT FROM {processors} p WHERE p.position < e.global_position AND (p.partition = '*' OR $1 = ANY (string_to_array(p.partition, ','))))
               AND NOT EXISTS (SELECT FROM {parked} k WHERE k.partition = $1 AND k.tenant = s.tenant AND k.stream = s.stream)
             FROM (SELECT {now}() - $3::bigint * interval '1 microsecond' AS old OFFSET 0) c CROSS JOIN (
               SELECT * FROM {streams} h WHERE h.partition = $1 AND h.stream >= $2 || '-' AND h.stream < $2 || '.' ",
            $window,
            ") s LEFT JOIN {events} e ON e.partition = $1 AND e.tenant = s.tenant AND e.stream = s.stream
               AND e.stream_position = s.stream_position"
        )
    };
}

const WINDOW: &str = heads!("AND (h.stream, h.tenant) > ($4, $5) ORDER BY h.stream, h.tenant LIMIT $6");

const COUNT: &str = concat!(
    "SELECT count(*), min(created_at) FROM (",
    heads!(""),
    ") AS all_of(stream, tenant, position, created_at, is_old) WHERE is_old"
);

/// Those to which nobody has appended since they were looked at.
const LOCK: &str =
    "SELECT s.stream, s.tenant FROM unnest($2::text[], $3::text[], $4::bigint[]) AS u(stream, tenant, position)
  JOIN {streams} s ON s.partition = $1 AND s.stream = u.stream AND s.tenant = u.tenant
  WHERE s.stream_position = u.position AND s.archived_at IS NULL
  ORDER BY s.stream, s.tenant FOR UPDATE OF s";

/// The partitions in which streams may be.
pub(crate) async fn partitions(db: &Db<'_>) -> Result<Vec<String>> {
    let mut all = vec![STREAMS.to_owned()];
    for row in db.all(PARTITIONS, &[]).await? {
        all.push(get(&row, 0)?);
    }
    Ok(all)
}

pub(crate) async fn count(
    db: &Db<'_>,
    partition: &str,
    kind: &str,
    age: i64,
) -> Result<(u64, Option<Timestamp>)> {
    let row = db.one(COUNT, &[&partition, &kind, &age]).await?;
    Ok((u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0), time(&row, 1)?))
}

/// How far a walk has come: the last stream and its tenant.
pub(crate) type Place = (String, String);

/// What a look at some heads found.
#[derive(Default)]
pub(crate) struct Window {
    streams: Vec<String>,
    tenants: Vec<String>,
    positions: Vec<i64>,
    /// Where the next one begins; `None` at the end.
    pub(crate) next: Option<Place>,
}

impl Window {
    /// Looks at so many heads after a place.
    pub(crate) async fn look(
        db: &Db<'_>,
        (partition, kind): (&str, &str),
        age: i64,
        (stream, tenant): &Place,
        limit: i64,
    ) -> Result<Self> {
        let rows = db.all(WINDOW, &[&partition, &kind, &age, stream, tenant, &limit]).await?;
        let mut window = Self::default();
        for row in &rows {
            if get::<Option<bool>>(row, 4)? == Some(true) {
                window.streams.push(get(row, 0)?);
                window.tenants.push(get(row, 1)?);
                window.positions.push(get(row, 2)?);
            }
        }
        if let Some(last) = rows.last().filter(|_| i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit) {
            window.next = Some((get(last, 0)?, get(last, 1)?));
        }
        Ok(window)
    }

    /// Takes out what is old, in the transaction it is given; how many streams.
    pub(crate) async fn take(&self, tx: &Db<'_>, partition: &str, archive: bool) -> Result<u64> {
        if self.streams.is_empty() {
            return Ok(0);
        }
        let (events, mut gone) = (PgEventStore::new(tx), 0);
        for row in tx.all(LOCK, &[&partition, &self.streams, &self.tenants, &self.positions]).await? {
            let stream = StreamId::new(get::<String>(&row, 0)?).in_partition(partition);
            let stream = stream.of_tenant(get::<String>(&row, 1)?);
            gone += match archive {
                true => u64::from(events.archive(&stream).await?),
                false => u64::from(events.delete_stream(&stream).await? > 0),
            };
        }
        Ok(gone)
    }
}

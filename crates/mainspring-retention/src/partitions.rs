//! Partitions of the log that go whole, as tables.

use std::{collections::BTreeMap, time::Duration};

use mainspring_core::{EventStore, Result, Timestamp};
use mainspring_events::PgEventStore;
use mainspring_pg::{
    Db,
    row::{get, time},
};

/// The last event of a partition, or its making; and whether everybody who follows the log has seen that.
const LAST: &str = "SELECT coalesce(e.created_at, p.created_at),
    coalesce(e.created_at, p.created_at) <= (SELECT {now}() - $2::bigint * interval '1 microsecond')
    AND NOT EXISTS (SELECT FROM {processors} r WHERE r.position < e.global_position AND (r.partition = '*' OR $1 = ANY (string_to_array(r.partition, ','))))
  FROM {event_partitions} p LEFT JOIN LATERAL (
    SELECT x.created_at, x.global_position FROM {events} x WHERE x.partition = $1 ORDER BY x.global_position DESC LIMIT 1
  ) e ON true WHERE p.partition = $1 AND p.tenant = ''";

/// As the drop itself does it, so that nobody appends between the look and the drop.
const HOLD_STREAMS: &str = "LOCK TABLE {streams} IN SHARE ROW EXCLUSIVE MODE";
const HOLD_EVENTS: &str = "LOCK TABLE {events} IN ACCESS EXCLUSIVE MODE";

/// After how long this partition goes, by its name or the longest beginning of it.
pub(crate) fn rule(rules: &BTreeMap<String, Duration>, partition: &str) -> Option<Duration> {
    if let Some(after) = rules.get(partition) {
        return Some(*after);
    }
    let begins = rules
        .iter()
        .filter(|(name, _)| name.strip_suffix('*').is_some_and(|beginning| partition.starts_with(beginning)));
    begins.max_by_key(|(name, _)| name.len()).map(|(_, after)| *after)
}

/// The time of its last event, if it is old enough.
pub(crate) async fn old(db: &Db<'_>, partition: &str, age: i64) -> Result<Option<Timestamp>> {
    match db.opt(LAST, &[&partition, &age]).await? {
        Some(row) if get::<bool>(&row, 1)? => time(&row, 0),
        _ => Ok(None),
    }
}

/// Drops it, in the transaction it is given, if it is still old; whether.
pub(crate) async fn take(tx: &Db<'_>, partition: &str, age: i64) -> Result<bool> {
    tx.exec(HOLD_STREAMS, &[]).await?;
    tx.exec(HOLD_EVENTS, &[]).await?;
    if old(tx, partition, age).await?.is_none() {
        return Ok(false);
    }
    PgEventStore::new(tx).drop_partition(partition).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_counts() {
        let seconds = Duration::from_secs;
        let rules = [("log-*", 1), ("log-2026*", 2), ("log-2026-01", 3)];
        let rules = rules.map(|(name, n)| (name.to_owned(), seconds(n))).into();
        let found = |name| rule(&rules, name).map(|after| after.as_secs());
        assert_eq!(found("log-2026-01"), Some(3));
        assert_eq!(found("log-2026-02"), Some(2));
        assert_eq!(found("log-2025"), Some(1));
        assert_eq!(found("lo"), None);
    }
}

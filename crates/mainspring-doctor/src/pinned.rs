//! What keeps old rows: open transactions, prepared ones and replication slots.

use std::time::Duration;

use mainspring_core::Result;
use mainspring_pg::{
    Db,
    row::{get, micros},
};

use crate::{Code, Finding, mend::quoted};

pub(crate) async fn check(db: &Db<'_>, age: Duration) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for row in db.all(SESSIONS, &[&micros(age)]).await? {
        let (pid, state, seconds): (i32, String, f64) = (get(&row, 0)?, get(&row, 2)?, get(&row, 3)?);
        let (application, pins): (String, bool) = (get(&row, 1)?, get(&row, 4)?);
        let keeps = if pins { ", and keeps every row that was needed since" } else { "" };
        let problem = format!("`{application}` has a transaction open for {seconds:.0} s ({state}){keeps}");
        let finding = Finding::new(Code::TransactionOld, format!("session {pid}"), problem);
        found.push(finding.mended_by(format!("SELECT pg_terminate_backend({pid});")));
    }
    for row in db.all(PREPARED, &[&micros(age)]).await? {
        let (gid, seconds): (String, f64) = (get(&row, 0)?, get(&row, 1)?);
        let problem = format!("was prepared {seconds:.0} s ago, and neither committed nor rolled back");
        let finding = Finding::new(Code::PreparedOld, format!("prepared transaction {gid}"), problem);
        found.push(finding.mended_by(format!("ROLLBACK PREPARED '{}';", gid.replace('\'', "''"))));
    }
    for row in db.all(SLOTS, &[]).await? {
        let (slot, old, bytes): (String, Option<i32>, Option<i64>) =
            (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
        let mut keeps = Vec::new();
        keeps.extend(old.map(|age| format!("rows of {age} transactions")));
        keeps.extend(bytes.map(|bytes| format!("{bytes} bytes of WAL")));
        let problem = format!("nobody reads from it, and it keeps {}", keeps.join(" and "));
        let finding = Finding::new(Code::SlotPins, format!("replication slot {}", quoted(&slot)), problem);
        found.push(
            finding.mended_by(format!("SELECT pg_drop_replication_slot('{}');", slot.replace('\'', "''"))),
        );
    }
    Ok(found)
}

/// Those of other databases keep no rows of this one.
const SESSIONS: &str = "SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.state, ''),
    extract(epoch FROM clock_timestamp() - a.xact_start)::double precision, a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL
  FROM pg_catalog.pg_stat_activity a
  WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
    AND a.xact_start <= clock_timestamp() - $1::bigint * interval '1 microsecond' ORDER BY a.xact_start";

const PREPARED: &str = "SELECT p.gid, extract(epoch FROM clock_timestamp() - p.prepared)::double precision FROM pg_catalog.pg_prepared_xacts p
  WHERE p.database = current_database() AND p.prepared <= clock_timestamp() - $1::bigint * interval '1 microsecond' ORDER BY p.prepared";

const SLOTS: &str = "SELECT s.slot_name::text, greatest(age(s.xmin), age(s.catalog_xmin)),
    CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint END
  FROM pg_catalog.pg_replication_slots s
  WHERE NOT s.active AND NOT s.temporary AND (s.restart_lsn IS NOT NULL OR s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL)
    AND (s.database IS NULL OR s.database = current_database()) ORDER BY s.slot_name";

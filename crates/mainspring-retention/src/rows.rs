//! What is over of one table, by itself: how much, and a batch of it taken out in one statement.
//!
//! `$1` is the age in microseconds. To take: `$2` is how many at most, `$3` whether they are archived.

use mainspring_core::{Result, Timestamp};
use mainspring_pg::{
    Db,
    row::{get, time},
};

use crate::Kind;

/// The statements of one kind.
pub(crate) struct Rows {
    count: &'static str,
    take: &'static str,
}

/// The moment before which something has to be over.
macro_rules! before {
    () => {
        "WITH c AS MATERIALIZED (SELECT {now}() - $1::bigint * interval '1 microsecond' AS old) "
    };
}

macro_rules! rows {
    ($table:literal, $kind:literal, is $is:literal, by $order:literal, $id:literal, of $tenant:literal, ended $ended:literal, $data:literal) => {
        rows!($table, $kind, is $is, counted $is, by $order, $id, of $tenant, ended $ended, $data)
    };
    ($table:literal, $kind:literal, is $is:literal, counted $counted:literal, by $order:literal, $id:literal, of $tenant:literal, ended $ended:literal, $data:literal) => {
        Rows {
            count: concat!(before!(), "SELECT count(*), min(", $ended, ") FROM ", $table, " x WHERE ", $counted),
            take: concat!(
                before!(), ", gone AS (DELETE FROM ", $table, " x WHERE x.ctid = ANY (ARRAY(
                  SELECT x.ctid FROM ", $table, " x WHERE ", $is, " ORDER BY ", $order, " LIMIT $2 FOR UPDATE OF x SKIP LOCKED))
                  RETURNING x.*
                ), kept AS (
                  INSERT INTO {archive} (kind, id, tenant, ended_at, archived_at, data)
                  SELECT '", $kind, "', ", $id, ", ", $tenant, ", ", $ended, ", {now}(), ", $data, " FROM gone x WHERE $3
                ) SELECT count(*) FROM gone"
            ),
        }
    };
}

const JOBS: Rows = rows!(
    "{jobs}", "jobs",
    is "x.finished_at <= (SELECT old FROM c)
        AND EXISTS (SELECT FROM {executions} p WHERE p.id = x.execution_id AND p.finished_at IS NOT NULL)",
    by "x.finished_at", "x.id", of "x.tenant", ended "x.finished_at", "to_jsonb(x)"
);

/// Their hashes stay nowhere.
const TOKENS: Rows = rows!(
    "{resume_tokens}", "tokens",
    is "x.created_at <= (SELECT old FROM c) AND (x.status <> 'pending' OR x.expires_at <= (SELECT {now}()))",
    by "x.created_at", "x.id",
    of "coalesce((SELECT p.tenant FROM {executions} p WHERE p.id = x.execution_id), '')",
    ended "x.created_at", "to_jsonb(x) - 'hash'"
);

/// A value is older than the end of its execution.
const CONTEXTS: Rows = rows!(
    "{context_values}", "contexts",
    is "x.created_at <= (SELECT old FROM c)
        AND EXISTS (SELECT FROM {executions} p WHERE p.id = x.execution_id AND p.finished_at <= (SELECT old FROM c))",
    by "x.created_at", "x.execution_id || '/' || x.key",
    of "coalesce((SELECT p.tenant FROM {executions} p WHERE p.id = x.execution_id), '')",
    ended "x.created_at", "to_jsonb(x)"
);

/// The chunks go with the row, after the statement.
const OUTPUTS: Rows = rows!(
    "{output_streams}", "outputs",
    is "x.owner = '' AND x.closed_at <= (SELECT old FROM c)",
    by "x.closed_at", "x.name", of "''", ended "x.closed_at",
    "to_jsonb(x) || jsonb_build_object('data', (SELECT coalesce(jsonb_agg(encode(k.data, 'base64') ORDER BY k.index), '[]')
       FROM {output_chunks} k WHERE k.stream = x.id))"
);

const MESSAGES: Rows = rows!(
    "{finished}", "messages",
    is "x.keep_until <= (SELECT old FROM c)",
    by "x.keep_until", "x.id", of "x.tenant", ended "x.finished_at", "to_jsonb(x)"
);

/// As long as its queue says. Nothing that keeps its place goes: its key would go on as if nothing had happened.
const DEAD_AS_SAID: Rows = rows!(
    "{dead_letters}", "dead_letters",
    is "x.keep_until <= (SELECT old FROM c) AND NOT x.placed",
    by "x.keep_until", "x.id", of "x.tenant", ended "x.dead_at", "to_jsonb(x)"
);

/// The oldest of each queue, by its index.
const DEAD: Rows = rows!(
    "{dead_letters}", "dead_letters",
    is "NOT x.placed AND x.ctid = ANY (ARRAY(
        WITH RECURSIVE q AS (
          (SELECT d.queue FROM {dead_letters} d ORDER BY d.queue LIMIT 1)
          UNION ALL
          SELECT (SELECT d.queue FROM {dead_letters} d WHERE d.queue > q.queue ORDER BY d.queue LIMIT 1) FROM q WHERE q.queue IS NOT NULL
        ) SELECT o.row FROM q CROSS JOIN LATERAL (
          SELECT d.ctid AS row FROM {dead_letters} d
          WHERE d.queue = q.queue AND d.dead_at <= (SELECT old FROM c) AND NOT d.placed ORDER BY d.dead_at LIMIT $2) o LIMIT $2))",
    counted "NOT x.placed AND x.dead_at <= (SELECT old FROM c) AND (x.keep_until IS NULL OR x.keep_until > (SELECT {now}()))",
    by "x.dead_at", "x.id", of "x.tenant", ended "x.dead_at", "to_jsonb(x)"
);

/// In any order: keys and times go together, so that a bitmap of the oldest blocks is all that is read.
const RECEIPTS: Rows = rows!(
    "{receipts}", "receipts",
    is "x.keep_until <= (SELECT old FROM c)",
    by "NULL::integer", "x.queue || '/' || x.key", of "''", ended "x.keep_until", "to_jsonb(x)"
);

const FIRES: Rows = rows!(
    "{schedule_fires}", "fires",
    is "x.fired_at <= (SELECT old FROM c)",
    by "x.fired_at", "x.queue || '/' || x.key", of "''", ended "x.fired_at", "to_jsonb(x)"
);

/// The latest count is what queues hold as far as is known.
const STATS: Rows = rows!(
    "{queue_stats}", "stats",
    is "x.at <= (SELECT old FROM c) AND x.at < (SELECT max(l.at) FROM {queue_stats} l)",
    by "x.at", "x.queue", of "''", ended "x.at", "to_jsonb(x)"
);

const WARNINGS: Rows = rows!(
    "{queue_warnings}", "warnings",
    is "x.at <= (SELECT old FROM c)",
    by "x.at", "x.kind || '/' || x.subject", of "''", ended "x.at", "to_jsonb(x)"
);

const ARCHIVE: Rows = rows!(
    "{archive}", "archive",
    is "x.archived_at <= (SELECT old FROM c)",
    by "x.seq", "x.id", of "x.tenant", ended "x.archived_at", "to_jsonb(x)"
);

/// The statements of a kind that is in one table: those of `said` where each row says itself when it goes.
pub(crate) const fn of(kind: Kind, said: bool) -> Option<&'static Rows> {
    Some(match kind {
        Kind::Jobs => &JOBS,
        Kind::Tokens => &TOKENS,
        Kind::Contexts => &CONTEXTS,
        Kind::Outputs => &OUTPUTS,
        Kind::Messages => &MESSAGES,
        Kind::DeadLetters if said => &DEAD_AS_SAID,
        Kind::DeadLetters => &DEAD,
        Kind::Receipts => &RECEIPTS,
        Kind::Fires => &FIRES,
        Kind::Stats => &STATS,
        Kind::Warnings => &WARNINGS,
        Kind::Archive => &ARCHIVE,
        Kind::Executions | Kind::Streams | Kind::Partitions => return None,
    })
}

impl Rows {
    /// How many are over, and since when the longest.
    pub(crate) async fn count(&self, db: &Db<'_>, age: i64) -> Result<(u64, Option<Timestamp>)> {
        let row = db.one(self.count, &[&age]).await?;
        Ok((u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0), time(&row, 1)?))
    }

    /// Takes out a batch; how many it had.
    pub(crate) async fn take(&self, db: &Db<'_>, age: i64, limit: i64, archive: bool) -> Result<u64> {
        let row = db.one(self.take, &[&age, &limit, &archive]).await?;
        Ok(u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0))
    }
}

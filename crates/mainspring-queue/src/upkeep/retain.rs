//! Forgetting what is old, in batches, each a transaction of its own under the term.

use std::time::Duration;

use mainspring_core::{OutputStore, Result, Timestamp};
use mainspring_pg::Db;

use super::{options::Retention, term::Term};
use crate::{PgQueue, row::micros};

/// Rows of one transaction.
const BATCH: i64 = 1_000;
/// Batches of one table in one round; what is left is for the next.
const BATCHES: u32 = 20;

/// How many rows went.
pub(super) async fn all(db: &Db<'_>, term: &Term, retention: &Retention) -> Result<u64> {
    let tables = [(FIRES, retention.fires), (STATS, retention.stats), (WARNINGS, retention.warnings)];
    let mut forgotten = 0;
    for (sql, age) in tables.into_iter().filter(|(_, age)| !age.is_zero()) {
        for _ in 0..BATCHES {
            let gone = batch(db, term, sql, age).await?;
            forgotten += gone;
            if gone < BATCH.unsigned_abs() {
                break;
            }
        }
    }
    for _ in 0..BATCHES {
        let gone = messages(db, term).await?;
        forgotten += gone;
        if gone == 0 {
            break;
        }
    }
    Ok(forgotten)
}

/// Streams that were closed before `before`. Safe from any process, so it needs no fence; asking first only spares the work.
pub(super) async fn outputs(
    db: &Db<'_>,
    term: &Term,
    outputs: &dyn OutputStore,
    before: Timestamp,
) -> Result<u64> {
    let mut forgotten = 0;
    for _ in 0..BATCHES {
        term.check(db).await?;
        let gone = outputs.delete_old(before).await?;
        forgotten += gone;
        if gone == 0 {
            break;
        }
    }
    Ok(forgotten)
}

/// Messages that were kept as long as their queue says.
async fn messages(db: &Db<'_>, term: &Term) -> Result<u64> {
    let gone = db.with_tx(async |tx| {
        term.check(tx).await?;
        PgQueue::new(tx).sweep_once().await
    });
    gone.await
}

async fn batch(db: &Db<'_>, term: &Term, sql: &'static str, age: Duration) -> Result<u64> {
    let gone = db.with_tx(async |tx| {
        term.check(tx).await?;
        tx.exec(sql, &[&micros(age), &BATCH]).await
    });
    gone.await
}

const FIRES: &str = "DELETE FROM {schedule_fires} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {schedule_fires}
    WHERE fired_at < (SELECT {now}()) - $1::bigint * interval '1 microsecond' ORDER BY fired_at LIMIT $2))";

/// The latest count stays, however old, since it is what queues hold as far as is known.
const STATS: &str = "DELETE FROM {queue_stats} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {queue_stats}
    WHERE at < (SELECT least((SELECT {now}()) - $1::bigint * interval '1 microsecond', (SELECT max(at) FROM {queue_stats})))
    ORDER BY at LIMIT $2))";

const WARNINGS: &str = "DELETE FROM {queue_warnings} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {queue_warnings}
    WHERE at < (SELECT {now}()) - $1::bigint * interval '1 microsecond' ORDER BY at LIMIT $2))";

//! Work that stands still: executions and messages that are due and that nobody drives, and a log that is held up.

use std::time::Duration;

use mainspring_core::Result;
use mainspring_pg::{
    Db,
    row::{get, micros},
};

use crate::{Code, DoctorOptions, Finding};

pub(crate) async fn check(db: &Db<'_>, options: &DoctorOptions) -> Result<Vec<Finding>> {
    let mut found = fence(db, options.fence_age).await?;
    for (code, sql, problem) in [
        (Code::ExecutionStranded, STRANDED, "the messages that should drive them are gone"),
        (
            Code::ExecutionOrphaned,
            ORPHANED,
            "their holders are dead, and nobody takes them over: is a worker running?",
        ),
        (
            Code::ExecutionLate,
            LATE,
            "they are due, and nobody drives them: is a worker running for their queues?",
        ),
        (
            Code::MessageOrphaned,
            HELD,
            "their holders are dead, and nobody takes them back: is a worker running?",
        ),
    ] {
        let row = db.one(sql, &[&micros(options.late)]).await?;
        let (count, some): (i64, Vec<String>) = (get(&row, 0)?, get(&row, 1)?);
        if count > 0 {
            let what = if code == Code::MessageOrphaned { "messages" } else { "executions" };
            let more = if count > 5 { ", …" } else { "" };
            found.push(Finding::new(code, format!("{count} {what} ({}{more})", some.join(", ")), problem));
        }
    }
    for row in db.all(OLD, &[&micros(options.message_age)]).await? {
        let (queue, ready, seconds): (String, i64, f64) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
        let problem = format!("{ready} messages are ready, the oldest was pushed {seconds:.0} s ago");
        found.push(Finding::new(Code::MessageOld, format!("queue {queue}"), problem));
    }
    let row = db.one(UPKEEP, &[&micros(options.late)]).await?;
    let overdue: i64 = get(&row, 0)?;
    if overdue > 0 {
        let problem =
            format!("{overdue} schedules and messages put off are overdue: run a worker or `QueueUpkeep`");
        found.push(Finding::new(Code::UpkeepMissing, "upkeep", problem));
    }
    Ok(found)
}

async fn fence(db: &Db<'_>, age: Duration) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for row in db.all(FENCE, &[&micros(age)]).await? {
        let (held_by, pid, waiting): (String, Option<i32>, i64) =
            (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
        let problem = format!("readers wait behind {waiting} positions for the transaction of `{held_by}`");
        found.push(match pid {
            Some(pid) => Finding::new(Code::FenceLag, format!("session {pid}"), problem)
                .mended_by(format!("SELECT pg_terminate_backend({pid});")),
            None => Finding::new(Code::FenceLag, "prepared transactions", problem)
                .mended_by("SELECT gid FROM pg_prepared_xacts; -- and ROLLBACK PREPARED '…'"),
        });
    }
    Ok(found)
}

/// Who a prepared transaction belongs to cannot be seen, so it always counts.
const FENCE: &str = "SELECT b.held_by, b.pid, b.waiting FROM {v_blockers} b WHERE b.kind = 'log_fence'
  AND (b.pid IS NULL OR b.since <= clock_timestamp() - $1::bigint * interval '1 microsecond') ORDER BY b.since";

macro_rules! count {
    ($what:literal) => {
        concat!("SELECT count(*), coalesce((array_agg(s.id ORDER BY s.id))[1:5], '{}') FROM (", $what, ") s")
    };
}

/// One that waits for the end of a job or child has agreed on a message that is not there yet.
const STRANDED: &str = count!(
    "SELECT x.id FROM {executions} x
     WHERE x.finished_at IS NULL AND x.driver IS NOT NULL AND x.holder IS NULL
       AND (x.status IN ('pending', 'running') OR x.wake_at IS NOT NULL)
       AND x.updated_at <= {now}() - $1::bigint * interval '1 microsecond'
       AND NOT EXISTS (SELECT FROM {messages} m WHERE m.id = x.driver)
       AND NOT EXISTS (SELECT FROM {deferred} m WHERE m.id = x.driver)
       AND NOT EXISTS (SELECT FROM {held} m WHERE m.id = x.driver)
       AND NOT EXISTS (SELECT FROM {blocked} m WHERE m.id = x.driver)"
);

const ORPHANED: &str = count!(
    "SELECT x.id FROM {executions} x
     WHERE x.holder IS NOT NULL AND x.finished_at IS NULL
       AND x.updated_at <= {now}() - $1::bigint * interval '1 microsecond'
       AND NOT EXISTS (SELECT FROM {workers} w WHERE w.id = x.holder
         AND w.expires_at > {now}() - $1::bigint * interval '1 microsecond')"
);

const LATE: &str = count!(
    "SELECT x.id FROM {executions} x
     WHERE x.finished_at IS NULL AND least(x.wake_at, x.deadline_at, x.wait_deadline_at) <= {now}() - $1::bigint * interval '1 microsecond'
       AND NOT EXISTS (SELECT FROM {queues} q WHERE q.name = x.queue AND q.paused)"
);

const HELD: &str = count!(
    "SELECT m.queue || '/' || m.id AS id FROM {messages} m
     WHERE m.holder IS NOT NULL AND NOT EXISTS (SELECT FROM {workers} w WHERE w.id = m.holder
       AND w.expires_at > {now}() - $1::bigint * interval '1 microsecond')"
);

const OLD: &str = "SELECT m.queue, count(*), extract(epoch FROM {now}() - min(m.created_at))::double precision FROM {messages} m
  WHERE m.holder IS NULL AND NOT EXISTS (SELECT FROM {queues} q WHERE q.name = m.queue AND q.paused)
  GROUP BY m.queue HAVING min(m.created_at) <= {now}() - $1::bigint * interval '1 microsecond' ORDER BY 1";

const UPKEEP: &str = "SELECT
  (SELECT count(*) FROM {schedules} s WHERE s.due_at <= {now}() - $1::bigint * interval '1 microsecond')
  + (SELECT count(*) FROM {deferred} d WHERE d.available_at <= {now}() - $1::bigint * interval '1 microsecond')";

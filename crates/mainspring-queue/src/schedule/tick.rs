//! Firing: what is due, decided without the database, made durable by a compare-and-set in one transaction.
//!
//! ```text
//! read what is due ─► decide (pure) ─► BEGIN · term? · compare-and-set of next_fire_at ─► for those that won: push, record ─► COMMIT
//! ```
//! Any number of processes may do so at once: a tick is whose compare-and-set holds. One that dies anywhere leaves either
//! nothing or all of it. When a push is refused, the schedules of the batch are fired one by one, and the guilty one is
//! tried again later, with its error in its row.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use mainspring_core::{NewMessage, QueueDriver, Result, Timestamp, limits};
use mainspring_pg::{Db, row::get};

use super::{
    fire,
    row::{COLUMNS, FireOutcome, ScheduleState, state_from_row},
    store::PgSchedules,
    ticks::Due,
};
use crate::{PgQueue, row::micros, upkeep::Term};

/// Schedules that are looked at in one go.
const BATCH: usize = 100;
/// Messages of one transaction, unless a single schedule has more.
const MESSAGES: usize = 1_000;
/// A schedule that could not be fired is tried again after this long.
const AGAIN: Duration = Duration::from_secs(30);

/// What one call of [`PgSchedules::tick`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticked {
    /// Messages pushed.
    pub fired: u64,
    /// Schedules that could not be fired; the reason is in their [`last_error`](ScheduleState::last_error).
    pub failed: u64,
    /// When the next schedule is to be looked at; `None` when none will ever fire.
    pub next_due: Option<Timestamp>,
}

/// A schedule, and what its ticks say is to be done.
struct Planned {
    state: ScheduleState,
    tick: Timestamp,
    due: Due,
}

impl PgSchedules<'_> {
    /// Fires everything that is due. Upkeep calls it; call it yourself only where no upkeep runs. Safe from any number of
    /// processes at once: each tick fires exactly once.
    ///
    /// # Errors
    /// Of the database; what was fired before stays fired.
    pub async fn tick(&self) -> Result<Ticked> {
        self.tick_in(None).await
    }

    /// The same, changing nothing when the term is over.
    pub(crate) async fn tick_in(&self, term: Option<&Term>) -> Result<Ticked> {
        let mut ticked = Ticked::default();
        loop {
            let rows = self.db.all(DUE, &[&i64::try_from(BATCH).unwrap_or(i64::MAX)]).await?;
            let mut planned = Vec::new();
            for row in &rows {
                let now: Timestamp = get::<SystemTime>(row, COLUMNS)?.into();
                match state_from_row(row).and_then(|state| plan(state, now)) {
                    Ok(plan) => planned.extend(plan),
                    Err(error) => {
                        let (queue, key): (String, String) = (get(row, 0)?, get(row, 1)?);
                        self.put_off(term, &queue, &key, get(row, 2)?, &error).await?;
                        ticked.failed += 1;
                    }
                }
            }
            let before = ticked.fired + ticked.failed;
            for batch in batches(planned) {
                self.fire_or_put_off(term, batch, &mut ticked).await?;
            }
            // nothing won: another process is at it
            if rows.len() < BATCH || ticked.fired + ticked.failed == before {
                break;
            }
        }
        ticked.next_due = get::<Option<SystemTime>>(&self.db.one(NEXT, &[]).await?, 0)?.map(Timestamp::from);
        Ok(ticked)
    }

    async fn fire_or_put_off(
        &self,
        term: Option<&Term>,
        batch: Vec<Planned>,
        ticked: &mut Ticked,
    ) -> Result<()> {
        match self.fire(term, &batch).await {
            Ok(fired) => ticked.fired += fired,
            Err(error) if !is_of_the_schedule(&error) => return Err(error),
            Err(error) if batch.len() == 1 => {
                for Planned { state, .. } in &batch {
                    let (queue, key) = (&state.schedule.message.queue, &state.schedule.key);
                    self.put_off(term, queue, key, state.revision, &error).await?;
                    ticked.failed += 1;
                }
            }
            Err(_) => {
                for one in batch {
                    Box::pin(self.fire_or_put_off(term, vec![one], ticked)).await?;
                }
            }
        }
        Ok(())
    }

    async fn fire(&self, term: Option<&Term>, batch: &[Planned]) -> Result<u64> {
        let pushed = self.db.with_tx(async |tx| fire_in(tx, term, batch).await).await?;
        if let Some(hints) = &self.hints {
            hints.offer(pushed.iter().map(String::as_str));
        }
        Ok(pushed.len() as u64)
    }

    async fn put_off(
        &self,
        term: Option<&Term>,
        queue: &str,
        key: &str,
        revision: i64,
        error: &mainspring_core::Error,
    ) -> Result<()> {
        tracing::warn!(queue, key, error = %error.chain(), "a schedule could not be fired");
        let text = limits::clip_error(&error.chain());
        let put_off = self.db.with_tx(async |tx| {
            if let Some(term) = term {
                term.check(tx).await?;
            }
            tx.exec(PUT_OFF, &[&queue, &key, &revision, &text, &micros(AGAIN)]).await
        });
        put_off.await.map(drop)
    }
}

/// Whether another schedule could be fired although this one cannot.
fn is_of_the_schedule(error: &mainspring_core::Error) -> bool {
    !error.is_retryable() && !error.is_fenced() && !error.is_commit_unknown()
}

/// `None` when it is not due after all.
fn plan(state: ScheduleState, now: Timestamp) -> Result<Option<Planned>> {
    let Some(tick) = state.next.filter(|tick| *tick <= now) else { return Ok(None) };
    let due = state.ticks()?.due(tick, now, state.schedule.missed);
    Ok(Some(Planned { state, tick, due }))
}

fn batches(planned: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut batches: Vec<Vec<Planned>> = Vec::new();
    let mut messages = MESSAGES;
    for plan in planned {
        let fires = plan.due.fires.len();
        match batches.last_mut() {
            Some(batch) if messages + fires <= MESSAGES => {
                messages += fires;
                batch.push(plan);
            }
            _ => {
                messages = fires;
                batches.push(vec![plan]);
            }
        }
    }
    batches
}

/// The queues of the messages that were pushed, one entry for each.
async fn fire_in(tx: &Db<'_>, term: Option<&Term>, batch: &[Planned]) -> Result<Vec<String>> {
    if let Some(term) = term {
        term.check(tx).await?;
    }
    let column = |of: fn(&Planned) -> String| batch.iter().map(of).collect::<Vec<_>>();
    let revisions: Vec<i64> = batch.iter().map(|p| p.state.revision).collect();
    let ticks: Vec<SystemTime> = batch.iter().map(|p| p.tick.into()).collect();
    let next: Vec<Option<SystemTime>> = batch.iter().map(|p| p.due.next.map(Into::into)).collect();
    let last: Vec<Option<SystemTime>> =
        batch.iter().map(|p| p.due.fires.last().map(|tick| SystemTime::from(*tick))).collect();
    let queues = column(|p| p.state.schedule.message.queue.clone());
    let keys = column(|p| p.state.schedule.key.clone());
    let rows = tx.all(FIRE, &[&queues, &keys, &revisions, &ticks, &next, &last]).await?;
    let won: HashSet<(String, String)> =
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_>>()?;
    let mut messages = Vec::new();
    let mut record = Record::default();
    for Planned { state, due, .. } in batch {
        let schedule = &state.schedule;
        if !won.contains(&(schedule.message.queue.clone(), schedule.key.clone())) {
            continue;
        }
        for (i, tick) in due.fires.iter().enumerate() {
            // what was missed is told once, with the first fire after it
            let missed = if i == 0 { due.missed } else { 0 };
            let message = fire::traced(schedule, *tick, missed);
            record.add(&message, &schedule.key, *tick, FireOutcome::Fired, missed);
            messages.push(message);
        }
        if due.fires.is_empty() {
            record.add(&schedule.message, &schedule.key, due.last, FireOutcome::Skipped, due.missed);
        }
    }
    let pushed = messages.iter().map(|message| message.queue.clone()).collect();
    if !messages.is_empty() {
        PgQueue::new(tx).push(messages).await?;
    }
    record.write(tx).await?;
    Ok(pushed)
}

/// Rows of the history, by column.
#[derive(Default)]
struct Record {
    queues: Vec<String>,
    keys: Vec<String>,
    ticks: Vec<SystemTime>,
    outcomes: Vec<&'static str>,
    missed: Vec<i32>,
    messages: Vec<Option<String>>,
}

impl Record {
    fn add(&mut self, message: &NewMessage, key: &str, tick: Timestamp, outcome: FireOutcome, missed: u32) {
        self.queues.push(message.queue.clone());
        self.keys.push(key.to_owned());
        self.ticks.push(tick.into());
        self.outcomes.push(outcome.as_str());
        self.missed.push(i32::try_from(missed).unwrap_or(i32::MAX));
        self.messages.push((outcome == FireOutcome::Fired).then(|| message.id.to_string()));
    }

    async fn write(&self, tx: &Db<'_>) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let Self { queues, keys, ticks, outcomes, missed, messages } = self;
        tx.exec(RECORD, &[queues, keys, ticks, outcomes, missed, messages]).await.map(drop)
    }
}

const FIRE: &str = include_str!("../sql/fire.sql");

const DUE: &str =
    "SELECT queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at,
    next_fire_at, last_fire_at, last_error, created_at, updated_at, {now}() FROM {schedules}
  WHERE due_at <= (SELECT {now}()) ORDER BY due_at LIMIT $1";

const NEXT: &str = "SELECT min(due_at) FROM {schedules} WHERE due_at IS NOT NULL";

const PUT_OFF: &str =
    "UPDATE {schedules} SET last_error = $4, due_at = {now}() + $5::bigint * interval '1 microsecond'
  WHERE queue = $1 AND key = $2 AND revision = $3 AND due_at IS NOT NULL";

const RECORD: &str = "INSERT INTO {schedule_fires} (queue, key, tick, outcome, missed, fired_at, message_id)
  SELECT u.queue, u.key, u.tick, u.outcome, u.missed, c.at, u.message
  FROM (SELECT {now}() AS at OFFSET 0) c,
    unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::int[], $6::text[])
      AS u(queue, key, tick, outcome, missed, message)";

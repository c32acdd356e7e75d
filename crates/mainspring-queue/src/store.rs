//! The driver: the verbs of a queue, each in one or two statements.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use mainspring_core::{
    BoxFuture, ClaimRequest, Claimed, DeadLetter, DeadLetterQuery, Error, MessageLease, NewMessage, Pushed,
    QueueDriver, QueueStats, Result, Settle, Settlement, Upkeep, WorkerId, execution::page_size,
    message::check_lease, queue::check_messages, trace,
};
use mainspring_pg::{AfterCommit, Db, Hints, Query, Share, TxRef, row::get};
use tracing::Instrument;

use crate::{
    claim::Known,
    copy::COPY_FROM,
    floors::Floors,
    looks::Looks,
    meter::count_pushed,
    push::{Push, pushed, queues},
    receipt::Receipts,
    row::{delivery_from_row, micros, remains_of_row},
    settle::{settle_queries, settled},
    shared_push::{LARGE, Pushes},
    spans,
};

/// The queue on Postgres; see the crate.
#[derive(Clone)]
pub struct PgQueue<'t> {
    pub(crate) db: Db<'t>,
    pub(crate) hints: Option<Hints>,
    pub(crate) known: Known,
    pub(crate) floors: Floors,
    pub(crate) looks: Looks,
    shared: Option<Share<Pushes>>,
    pub(crate) receipts: Option<Share<Receipts>>,
}

impl PgQueue<'static> {
    /// The same queue, where pushes of many tasks at the same time are one statement and one commit. Each is still all or
    /// nothing and answered by itself. Once begun, a push happens even when its caller goes away. Receipts that many tasks look
    /// for at the same time are one statement, too.
    #[must_use]
    pub fn with_shared_pushes(mut self) -> Self {
        self.shared = None;
        self.shared = Some(Share::new(Pushes(self.clone())));
        self.receipts = Some(Share::new(Receipts(self.db.clone())));
        self
    }
}

impl<'t> PgQueue<'t> {
    /// A queue without hints: workers find new messages by polling.
    pub fn new(db: &Db<'t>) -> Self {
        let (known, floors, looks) = (Known::default(), Floors::default(), Looks::default());
        Self { db: db.clone(), hints: None, known, floors, looks, shared: None, receipts: None }
    }

    /// The same queue with hints, so that waiting workers start at once.
    #[must_use]
    pub fn with_hints(mut self, hints: Hints) -> Self {
        self.hints = Some(hints);
        self
    }

    /// The same queue, standing on your transaction. Messages pushed there are visible to workers after your commit; they
    /// find them by polling, unless they are told: see [`after_commit`](Self::after_commit).
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgQueue<'u> {
        PgQueue {
            db: self.db.on(tx),
            hints: self.hints.as_ref().map(Hints::kept_back),
            known: self.known.clone(),
            floors: self.floors.clone(),
            looks: Looks::default(),
            shared: None,
            receipts: None,
        }
    }

    /// What tells workers about what was pushed here, once your transaction is committed: take it before, and send it after.
    ///
    /// ```
    /// use mainspring_core::{NewMessage, QueueDriver};
    /// use serde_json::json;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let test = mainspring_testing::TestDb::new().await;
    /// # let queue = mainspring_queue::PgQueue::new(&test.db());
    /// let mut client = test.pool().get().await?;
    /// let tx = client.transaction().await?;
    /// let here = queue.on(&*tx);
    /// here.push(vec![NewMessage::new("mail", "welcome", json!({}))]).await?;
    /// let hints = here.after_commit();
    /// tx.commit().await?;
    /// hints.send();
    /// # Ok(()) }
    /// ```
    pub fn after_commit(&self) -> AfterCommit {
        AfterCommit::of(self.hints.as_ref())
    }

    async fn push_checked(&self, mut messages: Vec<NewMessage>) -> Result<()> {
        check_messages(&messages)?;
        let span = spans::push(&messages);
        span.in_scope(|| trace::stamp(messages.iter_mut().map(|message| &mut message.headers)));
        self.push_now(messages).instrument(span).await
    }

    async fn push_now(&self, messages: Vec<NewMessage>) -> Result<()> {
        match &self.shared {
            Some(shared) if (1..=LARGE).contains(&messages.len()) => shared.ask(messages).await,
            _ => self.push_all(&messages).await.map(drop),
        }
    }

    /// Pushes messages that were checked.
    pub(crate) async fn push_all(&self, messages: &[NewMessage]) -> Result<Vec<Pushed>> {
        let refs: Vec<&NewMessage> = messages.iter().collect();
        let (pushed, held) = match messages.len() > COPY_FROM {
            true => self.push_large(messages).await?,
            false => {
                let (mut queries, numbers) = Push::of(&refs).split();
                let answers = match queries.len() {
                    0 => Vec::new(),
                    1 => vec![self.db.run(queries.remove(0)).await?],
                    _ => self.db.together(queries).await?,
                };
                pushed(messages, &numbers, &answers)?
            }
        };
        if held && !self.db.in_transaction() {
            // Not with the push: whoever waits for a key must not keep those waiting who settle what it waits for.
            self.db.all(ADMIT_ALL, &[&queues(&refs)]).await?;
        }
        let fresh = messages.iter().zip(&pushed).filter(|(_, pushed)| !pushed.duplicate);
        count_pushed(fresh.map(|(message, _)| message.queue.as_str()));
        self.offer(messages.iter().map(|m| m.queue.as_str()));
        Ok(pushed)
    }

    /// Wakes whoever waits for one of these queues, since something about it has changed.
    pub(crate) fn notify<'q>(&self, queues: impl IntoIterator<Item = &'q str>) {
        if let Some(hints) = &self.hints {
            hints.notify(queues);
        }
    }

    /// Says of each queue as often as it is named that there is a message more.
    fn offer<'q>(&self, queues: impl IntoIterator<Item = &'q str>) {
        if let Some(hints) = &self.hints {
            hints.offer(queues);
        }
    }

    pub(crate) async fn promote(&self) -> Result<u64> {
        let rows = self.db.run(Query::new(PROMOTE)).await?;
        let queues: Vec<String> = rows.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
        queues.iter().for_each(|queue| self.floors.forget(queue)); // they keep their numbers
        self.offer(queues.iter().map(String::as_str));
        Ok(rows.len() as u64)
    }

    pub(crate) async fn settle_all(&self, settles: Vec<Settle>) -> Result<Vec<Result<()>>> {
        let checked: Vec<Result<()>> = settles.iter().map(Settle::check).collect();
        let sound: Vec<&Settle> =
            settles.iter().zip(&checked).filter(|(_, checked)| checked.is_ok()).map(|(s, _)| s).collect();
        let mut held = HashSet::new();
        let (mut admitted, mut woken) = (false, Vec::new());
        for query in settle_queries(&sound) {
            let rows = self.db.run(query).await?;
            held.extend(settled(&rows)?);
            if let Some(row) = rows.first().filter(|row| row.len() > 2) {
                admitted = get::<i32>(row, 2)? > 0;
                woken = get::<Option<Vec<String>>>(row, 3)?.unwrap_or_default();
            }
        }
        let back = settles.iter().filter(|settle| settle.settlement == Settlement::PutBack);
        back.for_each(|settle| self.floors.forget(&settle.lease.queue));
        let free = |s: &&Settle| s.settlement == Settlement::PutBack || (admitted && s.lease.managed);
        self.offer(settles.iter().filter(free).map(|s| s.lease.queue.as_str()));
        self.notify(woken.iter().map(String::as_str));
        let answer = |(settle, checked): (&Settle, Result<()>)| {
            checked.and_then(|()| match held.contains(&(settle.lease.seq, settle.lease.token)) {
                true => Ok(()),
                false => Err(settle.fenced()),
            })
        };
        Ok(settles.iter().zip(checked).map(answer).collect())
    }
}

const PROMOTE: &str = include_str!("sql/promote.sql");

const ADMIT_ALL: &str = "SELECT {admit}(name) FROM {queues} WHERE name = ANY ($1) AND gated ORDER BY name";

const REGISTER: &str = "INSERT INTO {workers} (id, expires_at, started_at, lease_us)
  VALUES ($1, {now}() + $2::bigint * interval '1 microsecond', {now}(), $2)
  ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, lease_us = excluded.lease_us";

const EXTEND: &str =
    "UPDATE {workers} SET expires_at = {now}() + $2::bigint * interval '1 microsecond', lease_us = $2
  WHERE id = $1";

/// Waits for a claim of the holder that is under way; one that comes later enters it anew.
const LEAVE: &str = "DELETE FROM {workers} WHERE id = $1";

/// A statement of its own, as [`RECLAIM`] is, and for the same reason.
const RELEASE: &str = "UPDATE {messages} SET holder = NULL, token = 0 WHERE holder = $1";

/// Whose lease is over. Their rows are locked, so that a holder that extends at this moment is either seen alive or finds itself
/// gone, and a claim that is under way ends before or waits. A lease that lasts longer than any did when it began is from before
/// the clock went back: it begins anew now.
const DEAD: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at), ahead AS (
    UPDATE {workers} w SET expires_at = c.at + w.lease_us * interval '1 microsecond' FROM c
    WHERE w.expires_at > c.at + w.lease_us * interval '1 microsecond' + interval '1 second'
  )
  SELECT id FROM {workers} WHERE expires_at < (SELECT {now}()) ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED";

/// Takes back all that they hold and forgets them. A statement of its own: what a holder claimed in a transaction that ended while
/// its row was being locked is not seen by the statement that locks it, and would stay claimed by nobody.
const RECLAIM: &str = "WITH dead AS MATERIALIZED (SELECT unnest($1::text[]) AS id), forgotten AS (
    DELETE FROM {workers} w USING dead WHERE w.id = dead.id RETURNING w.id
  ), freed AS (
    UPDATE {messages} m SET holder = NULL, token = 0, lost = lost + 1 FROM dead WHERE m.holder = dead.id RETURNING m.seq
  )
  SELECT (SELECT count(*) FROM forgotten), (SELECT count(*) FROM freed)";

const EXPIRE: &str = "SELECT {expire_tries}(), {expire_beats}()";

const STATS: &str = "SELECT
  (SELECT count(*) FROM {messages} WHERE queue = $1 AND holder IS NULL),
  (SELECT count(*) FROM {messages} WHERE queue = $1 AND holder IS NOT NULL),
  (SELECT count(*) FROM {deferred} WHERE queue = $1),
  (SELECT count(*) FROM {held} WHERE queue = $1),
  (SELECT count(*) FROM {blocked} WHERE queue = $1),
  (SELECT count(*) FROM {dead_letters} WHERE queue = $1)";

const DEAD_LETTERS: &str =
    "SELECT priority, seq, 0::bigint, failures, lost, delays, max_attempts, created_at, id, tenant, type,
    source, subject, recipient, data, headers, dead_at, managed, key, options, NULL::bigint, NULL::bigint, reason
  FROM {dead_letters} WHERE queue = $1 AND ($3::text IS NULL OR reason->>'code' = $3)
    AND (dead_at, seq) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::bigint, 0)) ORDER BY dead_at DESC, seq DESC LIMIT $2";

/// How many holders were dead, and how many messages they had.
async fn reclaim(tx: &Db<'_>) -> Result<(u64, u64)> {
    let rows = tx.all(DEAD, &[]).await?;
    let dead: Vec<String> = rows.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
    if dead.is_empty() {
        return Ok((0, 0));
    }
    let row = tx.one(RECLAIM, &[&dead]).await?;
    let count = |index| get::<i64>(&row, index).map(|n| u64::try_from(n).unwrap_or(0));
    Ok((count(0)?, count(1)?))
}

impl PgQueue<'_> {
    pub(crate) async fn dead(&self, queue: &str, query: DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        let (limit, (before, before_seq)) = (page_size(query.limit)?, query.before.unzip());
        let before = before.map(SystemTime::from);
        let rows = self.db.all(DEAD_LETTERS, &[&queue, &limit, &query.reason, &before, &before_seq]).await?;
        rows.iter()
            .map(|row| {
                let delivery = delivery_from_row(queue, row).or_else(|_| remains_of_row(queue, row))?;
                let reason = serde_json::from_value(get(row, 22)?)
                    .map_err(|e| Error::internal("reason of a dead letter cannot be read").with_source(e))?;
                Ok(DeadLetter {
                    message: delivery.message,
                    failures: delivery.failures,
                    lost: delivery.lost,
                    reason,
                    dead_at: get::<SystemTime>(row, 16)?.into(),
                    seq: get(row, 1)?,
                })
            })
            .collect()
    }
}

impl QueueDriver for PgQueue<'_> {
    fn push(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.push_checked(messages))
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<Claimed>> {
        Box::pin(self.claim_up_to(request))
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        Box::pin(self.settle_all(settles))
    }

    fn register<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_lease(lease)?;
            self.db.exec(REGISTER, &[&holder.as_str(), &micros(lease)]).await?;
            Ok(())
        })
    }

    fn extend<'a>(&'a self, holder: &'a WorkerId, lease: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_lease(lease)?;
            match self.db.exec(EXTEND, &[&holder.as_str(), &micros(lease)]).await? {
                0 => Err(Error::fenced(format!(
                    "worker `{holder}` was found dead and its leases were taken back"
                ))),
                _ => Ok(()),
            }
        })
    }

    fn touch(&self, leases: Vec<MessageLease>) -> BoxFuture<'_, Result<Vec<Result<()>>>> {
        Box::pin(self.touch_all(leases))
    }

    fn release<'a>(&'a self, holder: &'a WorkerId) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let leave = async |tx: &Db<'_>| {
                tx.exec(LEAVE, &[&holder.as_str()]).await?;
                tx.exec(RELEASE, &[&holder.as_str()]).await
            };
            let released = self.db.with_tx(leave).await?;
            if released > 0 {
                self.floors.forget_all();
            }
            Ok(released)
        })
    }

    fn maintain(&self) -> BoxFuture<'_, Result<Upkeep>> {
        Box::pin(async move {
            let (dead_holders, reclaimed) = self.db.with_tx(async |tx: &Db<'_>| reclaim(tx).await).await?;
            let mut upkeep = Upkeep { dead_holders, reclaimed, ..Upkeep::default() };
            if upkeep.reclaimed > 0 {
                self.floors.forget_all();
            }
            let row = self.db.one(EXPIRE, &[]).await?;
            upkeep.timed_out = u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0);
            upkeep.reclaimed += u64::try_from(get::<i64>(&row, 1)?).unwrap_or(0);
            upkeep.promoted = self.promote().await?;
            Ok(upkeep)
        })
    }

    fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<QueueStats>> {
        Box::pin(async move {
            let row = self.db.one(STATS, &[&queue]).await?;
            let count = |index| get::<i64>(&row, index).map(|n| u64::try_from(n).unwrap_or(0));
            Ok(QueueStats {
                ready: count(0)?,
                claimed: count(1)?,
                deferred: count(2)?,
                held: count(3)?,
                blocked: count(4)?,
                dead: count(5)?,
            })
        })
    }

    fn dead_letters<'a>(&'a self, queue: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        Box::pin(self.dead(queue, DeadLetterQuery { limit, ..DeadLetterQuery::default() }))
    }

    fn hears_all(&self) -> bool {
        self.hints.as_ref().is_some_and(Hints::counts)
    }

    fn hint(&self, name: &str) {
        if let Some(hints) = &self.hints {
            hints.notify([name]);
        }
    }

    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match &self.hints {
                Some(hints) => self.looks.wait(hints, queue, timeout).await,
                None => tokio::time::sleep(timeout).await,
            }
        })
    }
}

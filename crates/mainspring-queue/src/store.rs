//! The driver: the verbs of a queue, each in one or two statements.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mainspring_core::{
    BoxFuture, ClaimRequest, Claimed, DeadLetter, Error, NewMessage, QueueDriver, QueueStats, Result, Settle,
    Settlement, Timestamp, Upkeep, WorkerId, execution::page_size, message::check_lease,
};
use mainspring_pg::{Db, Hints, Query, TxRef, row::get};

use crate::{
    push::push_queries,
    row::{delivery_from_row, micros},
    settle::{settle_queries, settled},
    shared_push::{LARGE, SharedPush},
};

/// The queue on Postgres; see the crate.
#[derive(Clone)]
pub struct PgQueue<'t> {
    db: Db<'t>,
    hints: Option<Hints>,
    shared: Option<Arc<SharedPush>>,
}

impl PgQueue<'static> {
    /// The same queue, where pushes of many tasks at the same time are one statement and one commit. Each is still all or
    /// nothing and answered by itself. Once begun, a push happens even when its caller goes away.
    #[must_use]
    pub fn with_shared_pushes(mut self) -> Self {
        self.shared = None;
        self.shared = Some(Arc::new(SharedPush::new(self.clone())));
        self
    }
}

impl<'t> PgQueue<'t> {
    /// A queue without hints: workers find new messages by polling.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone(), hints: None, shared: None }
    }

    /// The same queue with hints, so that waiting workers start at once.
    #[must_use]
    pub fn with_hints(mut self, hints: Hints) -> Self {
        self.hints = Some(hints);
        self
    }

    /// The same queue, standing on your transaction. Messages pushed there are visible to workers after your commit; they
    /// find them by polling.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgQueue<'u> {
        PgQueue { db: self.db.on(tx), hints: None, shared: None }
    }

    async fn push_checked(&self, messages: Vec<NewMessage>) -> Result<()> {
        messages.iter().try_for_each(NewMessage::check)?;
        match &self.shared {
            Some(shared) if (1..=LARGE).contains(&messages.len()) => shared.push(messages).await,
            _ => self.push_all(messages).await,
        }
    }

    /// Pushes messages that were checked.
    pub(crate) async fn push_all(&self, messages: Vec<NewMessage>) -> Result<()> {
        let refs: Vec<&NewMessage> = messages.iter().collect();
        let mut queries = push_queries(&refs);
        match queries.len() {
            0 => return Ok(()),
            1 => drop(self.db.run(queries.remove(0)).await?),
            _ => drop(self.db.together(queries).await?),
        }
        if let Some(hints) = &self.hints {
            hints.notify(messages.iter().map(|m| m.queue.as_str()));
        }
        Ok(())
    }

    async fn claim_now(&self, request: &ClaimRequest, max: u32) -> Result<Claimed> {
        let query = Query::new(CLAIM)
            .bind(request.queue.clone())
            .bind(i64::from(max))
            .bind(request.holder.to_string())
            .bind(micros(request.lease))
            .bind(i64::from(request.suspects.min(max)));
        // Not alone, but as in a flight: planned to go by the index, in its order.
        let rows = self.db.together(vec![query]).await?.pop().unwrap_or_default();
        if let Some(row) = rows.first() {
            self.db.clock().observe(get::<SystemTime>(row, 16)?.into());
        }
        let mut deliveries: Vec<_> =
            rows.iter().map(|row| delivery_from_row(&request.queue, row)).collect::<Result<_>>()?;
        deliveries.sort_by_key(|d| (std::cmp::Reverse(d.lease.priority), d.lease.seq));
        Ok(Claimed { deliveries, next_due: None })
    }

    async fn claim_up_to(&self, request: ClaimRequest) -> Result<Claimed> {
        request.check()?;
        let mut claimed = self.claim_now(&request, request.max).await?;
        let missing =
            |claimed: &Claimed| request.max - u32::try_from(claimed.deliveries.len()).unwrap_or(request.max);
        if missing(&claimed) > 0 && self.promote().await? > 0 {
            let more = self.claim_now(&request, missing(&claimed)).await?;
            claimed.deliveries.extend(more.deliveries);
        }
        if missing(&claimed) > 0 {
            let row = self.db.one(NEXT_DUE, &[]).await?;
            self.db.clock().observe(get::<SystemTime>(&row, 1)?.into());
            claimed.next_due = get::<Option<SystemTime>>(&row, 0)?.map(Timestamp::from);
        }
        Ok(claimed)
    }

    async fn promote(&self) -> Result<u64> {
        let rows = self.db.run(Query::new(PROMOTE)).await?;
        if let Some(hints) = &self.hints {
            let queues: Vec<String> = rows.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
            hints.notify(queues.iter().map(String::as_str));
        }
        Ok(rows.len() as u64)
    }

    async fn settle_all(&self, settles: Vec<Settle>) -> Result<Vec<Result<()>>> {
        let refs: Vec<&Settle> = settles.iter().collect();
        let mut held = std::collections::HashSet::new();
        for query in settle_queries(&refs) {
            held.extend(settled(&self.db.run(query).await?)?);
        }
        if let Some(hints) = &self.hints {
            let back = settles.iter().filter(|s| s.settlement == Settlement::PutBack);
            hints.notify(back.map(|s| s.lease.queue.as_str()));
        }
        Ok(settles
            .iter()
            .map(|s| if held.contains(&(s.lease.seq, s.lease.token)) { Ok(()) } else { Err(s.fenced()) })
            .collect())
    }
}

const CLAIM: &str = include_str!("sql/claim.sql");
const PROMOTE: &str = include_str!("sql/promote.sql");

const NEXT_DUE: &str = "SELECT min(available_at), (SELECT {now}()) FROM {deferred}";

const REGISTER: &str = "INSERT INTO {workers} (id, expires_at, started_at)
  VALUES ($1, {now}() + $2::bigint * interval '1 microsecond', {now}())
  ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at";

const EXTEND: &str =
    "UPDATE {workers} SET expires_at = {now}() + $2::bigint * interval '1 microsecond' WHERE id = $1";

const RELEASE: &str = "WITH gone AS (DELETE FROM {workers} WHERE id = $1)
  UPDATE {messages} SET holder = NULL, token = 0 WHERE holder = $1";

/// Takes back all that dead holders hold and forgets them. Their rows are locked, so that a holder that extends at this
/// moment is either seen alive or finds itself gone.
const RECLAIM: &str = "WITH dead AS MATERIALIZED (
    SELECT id FROM {workers} WHERE expires_at < (SELECT {now}()) ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
  ), forgotten AS (
    DELETE FROM {workers} w USING dead WHERE w.id = dead.id RETURNING w.id
  ), freed AS (
    UPDATE {messages} m SET holder = NULL, token = 0, lost = lost + 1 FROM dead WHERE m.holder = dead.id RETURNING m.seq
  )
  SELECT (SELECT count(*) FROM forgotten), (SELECT count(*) FROM freed)";

const STATS: &str = "SELECT
  (SELECT count(*) FROM {messages} WHERE queue = $1 AND holder IS NULL),
  (SELECT count(*) FROM {messages} WHERE queue = $1 AND holder IS NOT NULL),
  (SELECT count(*) FROM {deferred} WHERE queue = $1),
  (SELECT count(*) FROM {dead_letters} WHERE queue = $1)";

const DEAD_LETTERS: &str =
    "SELECT priority, seq, 0::bigint, failures, lost, delays, max_attempts, created_at, id, tenant, type,
    source, subject, recipient, data, headers, reason, dead_at
  FROM {dead_letters} WHERE queue = $1 ORDER BY dead_at DESC, seq DESC LIMIT $2";

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

    fn release<'a>(&'a self, holder: &'a WorkerId) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { self.db.exec(RELEASE, &[&holder.as_str()]).await })
    }

    fn maintain(&self) -> BoxFuture<'_, Result<Upkeep>> {
        Box::pin(async move {
            let row = self.db.one(RECLAIM, &[]).await?;
            let count = |index| get::<i64>(&row, index).map(|n| u64::try_from(n).unwrap_or(0));
            let mut upkeep = Upkeep { dead_holders: count(0)?, reclaimed: count(1)?, promoted: 0 };
            upkeep.promoted = self.promote().await?;
            Ok(upkeep)
        })
    }

    fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<QueueStats>> {
        Box::pin(async move {
            let row = self.db.one(STATS, &[&queue]).await?;
            let count = |index| get::<i64>(&row, index).map(|n| u64::try_from(n).unwrap_or(0));
            Ok(QueueStats { ready: count(0)?, claimed: count(1)?, deferred: count(2)?, dead: count(3)? })
        })
    }

    fn dead_letters<'a>(&'a self, queue: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        Box::pin(async move {
            let rows = self.db.all(DEAD_LETTERS, &[&queue, &page_size(limit)?]).await?;
            rows.iter()
                .map(|row| {
                    let delivery = delivery_from_row(queue, row)?;
                    let reason = serde_json::from_value(get(row, 16)?).map_err(|e| {
                        Error::internal("reason of a dead letter cannot be read").with_source(e)
                    })?;
                    Ok(DeadLetter {
                        message: delivery.message,
                        failures: delivery.failures,
                        lost: delivery.lost,
                        reason,
                        dead_at: get::<SystemTime>(row, 17)?.into(),
                    })
                })
                .collect()
        })
    }

    fn wait<'a>(&'a self, queue: &'a str, timeout: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match &self.hints {
                Some(hints) => {
                    hints.wait(queue, timeout).await;
                }
                None => tokio::time::sleep(timeout).await,
            }
        })
    }
}

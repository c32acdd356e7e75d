//! Claims. A queue that was never created is served by one short statement; the first claim of another one comes back empty,
//! says so, and is asked again in the longer way from then on.

use std::{
    cmp::Reverse,
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::{Instant, SystemTime},
};

use mainspring_core::{ClaimRequest, Claimed, Result, Select, Timestamp};
use mainspring_pg::{Query, row::get};

use crate::{
    PgQueue,
    floors::Stretches,
    row::{delivery_from_row, micros, unreadable_row},
};

const CLAIM: &str = concat!(
    include_str!("sql/claim_front.sql"),
    include_str!("sql/claim_take.sql"),
    include_str!("sql/claim_return.sql")
);
const CLAIM_FROM: &str = concat!(
    include_str!("sql/claim_from.sql"),
    include_str!("sql/claim_take.sql"),
    include_str!("sql/claim_return.sql")
);

const CLAIM_MANAGED: &str = concat!(
    include_str!("sql/claim_managed_first.sql"),
    "  ORDER BY priority DESC, seq\n",
    include_str!("sql/claim_managed_room.sql"),
    include_str!("sql/claim_take.sql"),
    include_str!("sql/claim_managed_last.sql")
);

/// The oldest whatever their priority: the first few of each priority, of which the oldest are then locked.
const CLAIM_BY_AGE: &str = concat!(
    include_str!("sql/claim_managed_first.sql"),
    "    AND ctid = ANY (ARRAY(
      WITH RECURSIVE level AS (
        (SELECT x.priority FROM {messages} x WHERE x.queue = $1 AND x.priority <= $7 ORDER BY x.priority DESC LIMIT 1)
        UNION ALL
        SELECT (SELECT x.priority FROM {messages} x WHERE x.queue = $1 AND x.priority < l.priority ORDER BY x.priority DESC LIMIT 1)
        FROM level l WHERE l.priority >= $6
      )
      SELECT o.row FROM level l CROSS JOIN LATERAL (
        SELECT x.ctid AS row, x.seq FROM {messages} x
        WHERE x.queue = $1 AND x.priority = l.priority AND x.holder IS NULL AND x.lost < 2
          AND coalesce(x.options->>'group' <> ALL ($8::text[]), true) ORDER BY x.seq LIMIT $2) o
      WHERE l.priority BETWEEN $6 AND $7 ORDER BY o.seq LIMIT $2))
  ORDER BY seq\n",
    include_str!("sql/claim_managed_room.sql"),
    include_str!("sql/claim_take.sql"),
    include_str!("sql/claim_managed_last.sql")
);

/// Looks at what was pushed to a queue whose messages may be held back.
const ADMIT: &str = "SELECT {admit}(name) FROM {queues} WHERE name = $1 AND gated";

/// When to look again, the time, and whether the queue was created. A bucket without a whole message has one then.
const NEXT_DUE: &str = "SELECT least((SELECT min(d.available_at) FROM {deferred} d), (
    SELECT r.at + (1 - r.tokens) * (q.options->'rate'->>'per_us')::float8 / (q.options->'rate'->>'count')::float8 * interval '1 microsecond'
    FROM {rates} r JOIN {queues} q ON q.name = r.queue WHERE r.queue = $1 AND q.options ? 'rate' AND r.tokens < 1)),
  (SELECT {now}()), EXISTS (SELECT FROM {queues} q WHERE q.name = $1)";

/// Makes so many messages of one queue due now, the next first.
const HASTEN: &str = "UPDATE {deferred} d SET available_at = (SELECT {now}())
  WHERE d.seq = ANY (ARRAY(SELECT x.seq FROM {deferred} x WHERE x.queue = $1 AND x.available_at > (SELECT {now}())
    ORDER BY x.priority DESC, x.available_at, x.seq LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// Queues this process has found to be created. A hint: the statement for them serves any queue.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<RwLock<HashSet<String>>>);

impl Known {
    fn has(&self, queue: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(queue)
    }

    fn add(&self, queue: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(queue.to_owned());
    }
}

impl PgQueue<'_> {
    /// From where earlier claims came to, or from the front; the rest from the front when there is less than asked for.
    async fn claim_now(&self, request: &ClaimRequest, max: u32) -> Result<Claimed> {
        let plain = request.select == Select::default() && !self.known.has(&request.queue);
        if !plain || self.db.in_transaction() {
            return self.claim_along(request, max, None).await;
        }
        let stretches = self.floors.of(&request.queue, Instant::now());
        let whole = stretches.is_none();
        let mut claimed = self.claim_along(request, max, stretches).await?;
        let missing = max.saturating_sub(u32::try_from(claimed.deliveries.len()).unwrap_or(max));
        if missing == 0 {
            let leases = claimed.deliveries.iter().map(|delivery| &delivery.lease);
            self.floors.reached(&request.queue, leases, whole, Instant::now());
            return Ok(claimed);
        }
        self.floors.forget(&request.queue);
        if !whole {
            claimed.deliveries.extend(self.claim_along(request, missing, None).await?.deliveries);
        }
        Ok(claimed)
    }

    async fn claim_along(
        &self,
        request: &ClaimRequest,
        max: u32,
        stretches: Option<Stretches>,
    ) -> Result<Claimed> {
        let known = self.known.has(&request.queue);
        let sql = match &request.select {
            select if select.by_age => CLAIM_BY_AGE,
            select if known || *select != Select::default() => CLAIM_MANAGED,
            _ if stretches.is_some() => CLAIM_FROM,
            _ => CLAIM,
        };
        let mut query = Query::new(sql)
            .bind(request.queue.clone())
            .bind(i64::from(max))
            .bind(request.holder.to_string())
            .bind(micros(request.lease))
            .bind(i64::from(request.suspects.min(max)));
        if let Some(Stretches { best, worst, first }) = stretches.filter(|_| sql == CLAIM_FROM) {
            query = query.bind(best).bind(worst).bind(first);
        } else if sql != CLAIM {
            let select = &request.select;
            query = query
                .bind(*select.priorities.start())
                .bind(*select.priorities.end())
                .bind(select.but_groups.clone());
        }
        let mut queries = vec![query];
        if known {
            queries.insert(0, Query::new(ADMIT).bind(request.queue.clone()));
        }
        // Not alone, but as in a flight: planned to go by the index, in its order.
        let rows = self.db.together(queries).await?.pop().unwrap_or_default();
        if let Some(row) = rows.first() {
            self.db.clock().observe(get::<SystemTime>(row, 16)?.into());
        }
        let (mut deliveries, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in &rows {
            match delivery_from_row(&request.queue, row) {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => unreadable.push(unreadable_row(&request.queue, row, &error)?),
            }
        }
        if !unreadable.is_empty() {
            tracing::error!(
                queue = request.queue,
                count = unreadable.len(),
                "messages that cannot be read are given up"
            );
            self.settle_all(unreadable).await?;
        }
        match request.select.by_age {
            true => deliveries.sort_by_key(|d| d.lease.seq),
            false => deliveries.sort_by_key(|d| (Reverse(d.lease.priority), d.lease.seq)),
        }
        Ok(Claimed { deliveries, next_due: None })
    }

    pub(crate) async fn claim_up_to(&self, request: ClaimRequest) -> Result<Claimed> {
        request.check()?;
        let Some(hints) = &self.hints else { return Ok(self.claim_called(&request, 0).await?.0) };
        let tickets = self.looks.begin(hints, &request.queue);
        let (claimed, asked) = self.claim_called(&request, tickets).await?;
        let brought = request.max - missing(&request, &claimed);
        hints.claimed(&request.queue, tickets, brought);
        self.looks.end(&request.queue, request.max - brought, asked.then_some(claimed.next_due));
        Ok(claimed)
    }

    /// A claim that was called by so many tickets, and whether it asked what is due next. When it brings as many messages there
    /// is no need to ask: whoever counted them knows of no more.
    async fn claim_called(&self, request: &ClaimRequest, tickets: u32) -> Result<(Claimed, bool)> {
        if request.select.ignore_delay {
            self.db.exec(HASTEN, &[&request.queue, &i64::from(request.max)]).await?;
            self.promote().await?;
        }
        let mut claimed = self.claim_now(request, request.max).await?;
        let brought = request.max - missing(request, &claimed);
        if tickets > 0 && brought >= tickets {
            claimed.next_due = self.looks.next_due(&request.queue, self.db.clock().now());
            return Ok((claimed, false));
        }
        if missing(request, &claimed) > 0 && self.promote().await? > 0 {
            let more = self.claim_now(request, missing(request, &claimed)).await?;
            claimed.deliveries.extend(more.deliveries);
        }
        let short = missing(request, &claimed) > 0;
        if short {
            let row = self.db.one(NEXT_DUE, &[&request.queue]).await?;
            self.db.clock().observe(get::<SystemTime>(&row, 1)?.into());
            claimed.next_due = get::<Option<SystemTime>>(&row, 0)?.map(Timestamp::from);
            if get(&row, 2)? && !self.known.has(&request.queue) {
                self.known.add(&request.queue);
                let more = self.claim_now(request, missing(request, &claimed)).await?;
                claimed.deliveries.extend(more.deliveries);
            }
        }
        Ok((claimed, short))
    }
}

/// How many messages a claim brought less than it might.
fn missing(request: &ClaimRequest, claimed: &Claimed) -> u32 {
    request.max - u32::try_from(claimed.deliveries.len()).unwrap_or(request.max)
}

//! The state of the database as metrics: one look from time to time, whose cost goes with the number of queues, processors and
//! workers, and never with the number of messages.

use std::time::Duration;

use mainspring_core::{Result, metric};
use mainspring_events::GlobalReader;
use mainspring_pg::{Db, row::get};
use metrics::gauge;

use crate::PgStores;

/// What the database says of itself; see [`PgStores::gauges`].
#[derive(Clone)]
pub struct Gauges {
    db: Db<'static>,
    log: GlobalReader,
}

impl PgStores<'static> {
    /// The gauges of these stores, for one process of a deployment or for all: they say the same everywhere, but for the pool.
    ///
    /// # Errors
    /// Invalid, when the stores stand in a transaction.
    pub fn gauges(&self) -> Result<Gauges> {
        Ok(Gauges { db: self.db().clone(), log: GlobalReader::new(self.db())? })
    }
}

impl Gauges {
    /// Looks once, and tells whoever listens to `metrics`.
    ///
    /// # Errors
    /// Those of the database; what was read until then is told.
    pub async fn read(&self) -> Result<()> {
        gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        if let Some((size, idle, waiting)) = self.db.pool_use() {
            gauge!(metric::DB_POOL_SIZE).set(size as f64);
            gauge!(metric::DB_POOL_IDLE).set(idle as f64);
            gauge!(metric::DB_POOL_WAITING).set(waiting as f64);
        }
        gauge!(metric::SCHEMA_VERSION).set(f64::from(get::<i32>(&self.db.one(VERSION, &[]).await?, 0)?));
        self.queues().await?;
        for row in self.db.all(WORKERS, &[]).await? {
            gauge!(metric::WORKERS, "state" => get::<String>(&row, 0)?).set(get::<i64>(&row, 1)? as f64);
        }
        let fence = self.log.fence().await?;
        gauge!(metric::FENCE_LAG_EVENTS).set((fence.last - fence.settled) as f64);
        for row in self.db.all(CONSUMERS, &[]).await? {
            let consumer: String = get(&row, 0)?;
            gauge!(metric::CONSUMER_LAG_EVENTS, "consumer" => consumer.clone())
                .set(get::<i64>(&row, 1)? as f64);
            gauge!(metric::CONSUMER_LAG_SECONDS, "consumer" => consumer).set(get::<f64>(&row, 2)?);
        }
        Ok(())
    }

    async fn queues(&self) -> Result<()> {
        for row in self.db.all(QUEUES, &[]).await? {
            let queue: String = get(&row, 0)?;
            for (index, state) in (1..).zip(["ready", "claimed", "deferred", "held", "blocked"]) {
                let depth: i64 = get(&row, index)?;
                gauge!(metric::QUEUE_DEPTH, "queue" => queue.clone(), "state" => state).set(depth as f64);
            }
            gauge!(metric::DLQ_DEPTH, "queue" => queue.clone()).set(get::<i64>(&row, 6)? as f64);
            gauge!(metric::QUEUE_OLDEST_AGE, "queue" => queue).set(get::<f64>(&row, 7)?);
        }
        Ok(())
    }

    /// Looks every `every` until `shutdown` is done. A look that fails is told by `tracing`, and is no reason to stop.
    pub async fn run_until(self, every: Duration, shutdown: impl Future<Output = ()>) {
        let looks = async {
            loop {
                if let Err(error) = self.read().await {
                    tracing::warn!(error = %error.chain(), "the gauges could not be read");
                }
                tokio::time::sleep(every).await;
            }
        };
        tokio::select! {
            () = looks => {}
            () = shutdown => {}
        }
    }
}

const VERSION: &str = "SELECT coalesce(max(version), 0)::integer FROM {schema_history}";

/// A queue that nobody has counted has nothing to say.
const QUEUES: &str = "SELECT q.queue, q.ready, q.claimed, q.deferred, q.held, q.blocked, q.dead, q.oldest_seconds FROM {v_queues} q
  WHERE q.counted_at IS NOT NULL";

const WORKERS: &str =
    "SELECT s.state, count(w.id) FROM (VALUES ('live', true), ('expired', false)) AS s(state, live)
  LEFT JOIN {workers} w ON (w.expires_at > {now}()) = s.live GROUP BY s.state";

/// The slowest shard of the newest version counts; the first event beyond it is found by its position.
const CONSUMERS: &str = "WITH last AS (SELECT last_value - (NOT is_called)::int AS position FROM {event_position}),
    slowest AS (SELECT DISTINCT ON (p.name) p.name, p.position FROM {processors} p ORDER BY p.name, p.version DESC, p.position)
  SELECT s.name, greatest(l.position - s.position, 0),
    coalesce(extract(epoch FROM {now}() - e.created_at), 0)::double precision
  FROM slowest s CROSS JOIN last l LEFT JOIN LATERAL (
    SELECT e.created_at FROM {events} e WHERE e.global_position > s.position ORDER BY e.global_position LIMIT 1) e ON true";

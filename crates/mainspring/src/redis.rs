//! A world on Postgres with Redis beside it: what is durable is in Postgres, and Redis says when to look.
//!
//! ```no_run
//! use mainspring::redis::{HybridOptions, create_world};
//!
//! # async fn example() -> mainspring::Result<()> {
//! let hybrid = create_world(HybridOptions::default())?; // WORKFLOW_POSTGRES_URL, WORKFLOW_REDIS_URL
//! let world = hybrid.builder().build()?;
//! world.start().await?;
//! println!("{:?}", hybrid.health().await?);
//! # Ok(()) }
//! ```
//!
//! The tables are those of every other world, made by [`Migrator`](crate::Migrator) and read by the same views:
//!
//! ```sql
//! -- What failed in the last 24 hours
//! SELECT * FROM ms_v_executions WHERE status = 'failed' AND created_at > now() - interval '24 hours';
//! -- What became of the steps of one run
//! SELECT * FROM ms_v_steps WHERE execution_id = 'your-run-id' ORDER BY position;
//! -- Together with the application's own tables
//! SELECT x.*, u.email FROM ms_v_executions x JOIN users u ON u.id = x.attributes->>'user' WHERE x.status = 'running';
//! ```

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mainspring_core::{Error, Result, Timestamp};
use mainspring_pg::row::get;
use mainspring_world::{World, WorldBuilder, WorldSettings};

pub use mainspring_queue_redis::{Kind, Redis, RedisHealth, RedisOptions, RedisSettings, Tally};

use crate::{PgStoreOptions, PgStores};

/// Where a hybrid world is. What is `None` comes from the environment, and then from the defaults.
#[derive(Debug, Clone)]
pub struct HybridOptions {
    /// The rest of the world: its database from `WORKFLOW_POSTGRES_URL`, then `DATABASE_URL`; the prefix of its queues from
    /// `WORKFLOW_POSTGRES_JOB_PREFIX`; handlers at the same time from `WORKFLOW_POSTGRES_WORKER_CONCURRENCY`.
    pub world: WorldSettings,
    /// Redis. From `WORKFLOW_REDIS_URL`, then `REDIS_URL`; defaults to `redis://localhost:6379`.
    pub redis: Option<RedisOptions>,
    /// How long a claim holds without a sign of life of its worker, `http_timeout` at least. Workers give one every third of
    /// it, so a call may take much longer than that. Defaults to `http_timeout` and a minute.
    pub visibility: Option<Duration>,
    /// How long a call to the application may take, as [`HttpOptions`](crate::world::http) has it. Defaults to 60 s.
    pub http_timeout: Duration,
}

impl Default for HybridOptions {
    fn default() -> Self {
        let (world, http_timeout) = (WorldSettings::default(), Duration::from_secs(60));
        Self { world, redis: None, visibility: None, http_timeout }
    }
}

impl HybridOptions {
    fn visibility(&self) -> Result<Duration> {
        let visibility = self.visibility.unwrap_or(self.http_timeout + Duration::from_secs(60));
        if visibility < self.http_timeout {
            let problem = format!("{visibility:?} is shorter than a call may take, {:?}", self.http_timeout);
            return Err(Error::invalid("visibility", problem));
        }
        Ok(visibility)
    }
}

/// [`HybridWorld`] as `options`, the environment and the defaults say, in this order. Nothing is connected yet.
///
/// # Errors
/// Invalid, naming the option or the variable.
pub fn create_world(options: HybridOptions) -> Result<HybridWorld> {
    create_world_from(options, |name| std::env::var(name).ok())
}

/// The same with variables from elsewhere.
///
/// # Errors
/// As there.
pub fn create_world_from(
    options: HybridOptions,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<HybridWorld> {
    let visibility = options.visibility()?;
    let redis = options.redis.map_or_else(|| RedisOptions::from_vars(&variable), Ok)?;
    let settings = options.world.or_from(&variable)?;
    let redis = Redis::new(redis)?;
    let carrier = Some(Arc::new(redis.clone()) as _);
    let stores =
        PgStores::connect(settings.database_url()?, PgStoreOptions { carrier, ..PgStoreOptions::default() })?;
    Ok(HybridWorld { stores, redis, settings, visibility })
}

/// The parts of a world on Postgres with Redis beside it.
#[derive(Clone)]
pub struct HybridWorld {
    /// All stores; what they commit is said through Redis.
    pub stores: PgStores<'static>,
    /// Redis.
    pub redis: Redis,
    /// The settings as they came out.
    pub settings: WorldSettings,
    visibility: Duration,
}

impl HybridWorld {
    /// The world, to be put together.
    pub fn builder(&self) -> WorldBuilder {
        self.settings.apply(World::builder(self.stores.clone())).lease(self.visibility)
    }

    /// How it is.
    ///
    /// # Errors
    /// Of the database. That Redis is away is no error.
    pub async fn health(&self) -> Result<HybridHealth> {
        let row = self.stores.db().one(HEALTH, &[]).await?;
        let count = |index| get::<i64>(&row, index).map(|count| u64::try_from(count).unwrap_or(0));
        let now: Timestamp = get::<SystemTime>(&row, 3)?.into();
        let oldest = get::<Option<SystemTime>>(&row, 4)?.map(|at| now.since(at.into()));
        let (pending, claimed, reclaimed) = (count(0)?, count(1)?, count(2)?);
        Ok(HybridHealth { redis: self.redis.health(), pending, oldest, claimed, reclaimed })
    }
}

const HEALTH: &str = "SELECT count(*) FILTER (WHERE holder IS NULL), count(holder), coalesce(sum(lost), 0)::bigint, (SELECT {now}()),
  min(created_at) FILTER (WHERE holder IS NULL) FROM {messages}";

/// How a hybrid world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HybridHealth {
    /// Redis, as this process knows it.
    pub redis: RedisHealth,
    /// Messages that nobody has claimed yet: what Redis should call somebody for.
    pub pending: u64,
    /// How long ago the oldest of them was pushed.
    pub oldest: Option<Duration>,
    /// Messages at work.
    pub claimed: u64,
    /// How often messages that are still here were taken back from a worker that was lost.
    pub reclaimed: u64,
}

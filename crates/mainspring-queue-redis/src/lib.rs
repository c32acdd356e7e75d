//! Redis beside Postgres: the fast path that can be lost without losing anything.
//!
//! ```text
//! push or commit ─► row in Postgres ─► done
//!                       │ after the commit
//!                       └─► ticket in Redis, and a call ─► a waiting worker takes the ticket ─► claims in Postgres, fenced
//!                                                          nobody else looks
//! ```
//! Postgres keeps every message, claims, settles and counts as without Redis. Redis says when to look, and to whom: it counts
//! for each queue how many messages nobody has claimed yet, its *tickets*, and a worker that waits takes as many as it has room
//! for. So of many waiting processes one looks into the database for each message, and an idle one does not have to. Readers of
//! output streams and of the log are called the same way and read on from Postgres.
//!
//! What Redis loses, makes up, or says twice costs time: a message without a ticket is found by the next poll, a ticket without
//! a message, a *ghost*, is a look for nothing. Without Redis everybody polls.
//!
//! ```
//! use std::sync::Arc;
//! use mainspring::{PgStoreOptions, create_pg_stores};
//! use mainspring_queue_redis::{Redis, RedisOptions};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::with_prefix("fm_").await; let pool = test.pool();
//! let redis = Redis::new(RedisOptions::parse("redis://localhost:6379")?)?; // connects when it is needed
//! let options = PgStoreOptions { table_prefix: "fm_".into(), carrier: Some(Arc::new(redis)), ..Default::default() };
//! let stores = create_pg_stores(pool, options)?;
//! # drop(stores); Ok(()) }
//! ```

mod health;
mod line;
mod listener;
mod options;
mod redis;
mod wire;

pub use health::{RedisHealth, RedisSettings, Tally};
pub use options::{Kind, RedisOptions};
pub use redis::Redis;

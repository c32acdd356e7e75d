//! Leases on Postgres: who may act on a thing right now, fenced by a token.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db) and the migrations. Each call is one statement, and nothing is held between
//! two of them: no connection, no lock of Postgres.
//!
//! ```
//! use std::time::Duration;
//! use mainspring_core::LeaseStore;
//! use mainspring_leases::PgLeaseStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let leases = PgLeaseStore::new(&db);
//! let minute = Duration::from_secs(60);
//!
//! let mine = leases.acquire("report", "me", minute).await?.expect("it was free");
//! assert_eq!(leases.acquire("report", "you", minute).await?, None);
//! let mine = leases.extend(&mine, minute).await?;
//! assert!(leases.release(&mine).await?);
//! assert!(leases.acquire("report", "you", minute).await?.is_some());
//! assert!(leases.extend(&mine, minute).await.unwrap_err().is_fenced());
//! # Ok(()) }
//! ```

mod store;

pub use store::PgLeaseStore;

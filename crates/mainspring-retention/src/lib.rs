//! Retention: how long what is over stays, and where it goes then. One policy for everything in the database.
//!
//! ```text
//! policy ──plan──► what would go, and how much ──run──► batches: [guard · lock what is over · archive it · delete it] · …
//! ```
//! A batch is one short transaction in which a row is archived and deleted, or neither. Rows that somebody else holds are passed
//! over. So it may be killed at any point, run again, and run by several processes at once: nothing is archived twice, and nothing
//! goes unarchived. Nothing that is not over ever goes, whatever the policy says.
//!
//! ```
//! use std::time::Duration;
//! use mainspring_retention::{Kind, Retention, RetentionPolicy, Rule};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let day = Duration::from_secs(24 * 3_600);
//! let policy = RetentionPolicy::default()
//!     .with(Kind::Executions, Rule::Archive(90 * day))
//!     .flow("heartbeat", Rule::Delete(day))
//!     .with(Kind::DeadLetters, Rule::Archive(30 * day))
//!     .stream("cart", Rule::Archive(365 * day));
//! let retention = Retention::new(&db, policy)?;
//! for planned in retention.plan().await? {
//!     println!("{} {}: {}", planned.target.kind, planned.target.name, planned.count);
//! }
//! assert!(retention.run(|_| {}).await?.is_empty(), "nothing is over");
//! # Ok(()) }
//! ```

mod executions;
mod partitions;
mod policy;
mod rows;
mod run;
mod streams;

pub use policy::{Kind, RetentionPolicy, Rule};
pub use run::{Guard, Planned, Progress, Removed, Retention, Target, expire};

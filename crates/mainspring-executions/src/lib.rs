//! Executions on Postgres: one row per running instance, guarded by its revision.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db) and the migrations. Every write is a compare-and-set on the revision
//! the caller read, so two writers can never overwrite each other, and a create with an idempotency key succeeds once within
//! the key's window whatever races.
//!
//! ```
//! use mainspring_core::{Execution, ExecutionId, ExecutionStatus, ExecutionStore, Expect};
//! use mainspring_executions::PgExecutionStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let executions = PgExecutionStore::new(&db);
//!
//! let order = Execution::new(ExecutionId::new("order-42")?, "order", "1.0.0", "validate");
//! let order = executions.create(order).await?;
//! assert_eq!(order.revision, 1);
//!
//! let mut changed = order.clone();
//! changed.status = ExecutionStatus::Running;
//! executions.update(changed.clone(), Expect::Revision(1)).await?;
//! let late = executions.update(changed, Expect::Revision(1)).await;
//! assert!(late.unwrap_err().is_conflict());
//! # Ok(()) }
//! ```

mod row;
mod search;
mod store;
mod write;

pub use store::PgExecutionStore;

// The statements of these tables, for the one transaction in which the crate `mainspring` commits: nobody's API.
#[doc(hidden)]
pub use write::{Written, bind_creates, bind_updates, create_query, free_keys_query, update_query};

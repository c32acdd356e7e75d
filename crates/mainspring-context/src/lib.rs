//! Large context values on Postgres, beside the execution that owns them.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db), the migrations, and the row of the execution that owns a value.
//!
//! A context travels with every step of its execution, so what is large is kept here once, and the context holds a
//! [`ContextRef`](mainspring_core::ContextRef): where it is, how big, and a short description. Values go with their
//! execution when it is deleted.
//!
//! ```
//! use mainspring_context::PgContextStore;
//! use mainspring_core::{ContextStore, Execution, ExecutionId, ExecutionStore};
//! use mainspring_executions::PgExecutionStore;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let order = ExecutionId::new("order-42")?;
//! PgExecutionStore::new(&db).create(Execution::new(order.clone(), "order", "1.0.0", "scan")).await?;
//!
//! let context = PgContextStore::new(&db);
//! let pages = json!(vec!["a long page"; 1_000]);
//! let reference = context.set(&order, "pages", pages.clone()).await?;
//! assert_eq!(reference.reference, "storage://order-42/pages");
//! assert_eq!(reference.summary, "Array(1000)");
//!
//! assert_eq!(context.get(&order, "pages").await?, pages);
//! assert_eq!(context.clear_execution(&order).await?, 1);
//! assert!(context.get(&order, "pages").await.unwrap_err().is_not_found());
//! # Ok(()) }
//! ```

mod store;

pub use store::{MAX_VALUE, PgContextStore};

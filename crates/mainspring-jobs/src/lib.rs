//! Jobs on Postgres: out-of-line work with claim tokens, checkpoints and progress.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db), the migrations, and the row of the execution a job works for.
//!
//! ```text
//! pending ──claim──► running ──complete──► completed
//!    ▲                  │ ├──── fail, attempts left ──► pending
//!    │                  │ └──── fail, none left ──────► failed
//!    └── stalled, reset ┘            any but terminal ─► cancelled
//! ```
//!
//! Every claim draws a token from a sequence, so tokens only grow; every later write of the worker names the token it was
//! given and changes nothing when another claim came after. A worker that was thought dead and comes back is told `false`.
//!
//! Failures and lost workers are counted apart: `attempts` grows with every claim, `lost` with every claim that was taken
//! from its holder, and only the difference uses up `max_attempts`. What a worker saved as a checkpoint stays for the next.
//!
//! ```
//! use mainspring_core::{Execution, ExecutionId, ExecutionStore, Job, JobStore, WorkerId};
//! use mainspring_executions::PgExecutionStore;
//! use mainspring_jobs::PgJobStore;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let order = ExecutionId::new("order-42")?;
//! PgExecutionStore::new(&db).create(Execution::new(order.clone(), "order", "1.0.0", "ship")).await?;
//!
//! let jobs = PgJobStore::new(&db);
//! let job = jobs.create(Job::new(order, "ship", "print-labels", json!({"parcels": 2}))).await?;
//!
//! let (slow, quick) = (WorkerId::generate(), WorkerId::generate());
//! let lease = jobs.claim(&job.id, &slow).await?.expect("it is pending").lease();
//! jobs.save_checkpoint(&lease, "printed", json!(1)).await?;
//!
//! // The first worker is found dead; another one goes on where it stopped.
//! let taken = jobs.take_over(&job.id, &quick).await?.expect("its holder is dead");
//! assert_eq!(taken.checkpoint["printed"], 1);
//! assert!(jobs.complete(&taken.lease(), json!({"labels": 2})).await?);
//!
//! // The first one was only slow. Its claim was superseded, and nothing it writes counts.
//! assert!(!jobs.complete(&lease, json!(null)).await?);
//! # Ok(()) }
//! ```
//!
//! [`create_query`], [`settle_query`] and [`cancel_all_query`] are the same writes as values, for many jobs in one
//! statement.

mod row;
mod store;
mod write;

pub use store::PgJobStore;

// The statements of these tables, for the one transaction in which the crate `mainspring` commits: nobody's API.
#[doc(hidden)]
pub use write::{JobEnd, cancel_all_query, create_query, decode_settled, settle_query};

//! Consumers of the event log: projectors and reactors that never skip an event and never stall.
//!
//! ```text
//!                       ┌─► projector ─► your tables ──┐
//! log ─► fence ─► feed ─┤                              ├─ and the checkpoint, one transaction
//!                       └─► reactor ──► Changes ───────┘
//! ```
//! A [`Consumer`] reads the log once for several *processors*. Each has a name, under which its checkpoint and its lease
//! are kept, and goes at its own pace: one that fails holds up nobody else.
//!
//! - A [`Projector`] changes tables in the transaction of its checkpoint, so each event counts exactly once.
//! - A [`Reactor`] does something outside any transaction, at least once for each event, and answers [`Changes`]
//!   that are committed with the checkpoint: those count exactly once too.
//! - A checkpoint is moved on only by the holder of the lease, from the position the holder knows. Whoever lost it commits
//!   nothing.
//! - What is new is found by looking, at most every [`poll_interval`](Consumer::poll_interval), or at once with hints.
//!
//! ```
//! use mainspring_consumer::{Consumer, projector_fn};
//! use mainspring_core::{Append, EventStore, NewEvent};
//! use mainspring_events::PgEventStore;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! # test.client().await.batch_execute("CREATE TABLE totals (stream text PRIMARY KEY, n bigint)").await.unwrap();
//! let added = |n: i64| NewEvent::new("Added", json!({"n": n}));
//! PgEventStore::new(&db).append(Append::to("cart-1", vec![added(2), added(3)])).await?;
//!
//! let totals = projector_fn(async |tx, events| {
//!     for event in events {
//!         let n = event.event.data["n"].as_i64().unwrap_or(0);
//!         let sql = "INSERT INTO totals VALUES ($1, $2) ON CONFLICT (stream) DO UPDATE SET n = totals.n + excluded.n";
//!         tx.exec(sql, &[&event.stream, &n]).await?;
//!     }
//!     Ok(())
//! });
//! Consumer::new(&db, "shop").projector("totals", totals).run_to_end().await?;
//!
//! let row = db.one("SELECT n FROM totals WHERE stream = 'cart-1'", &[]).await?;
//! assert_eq!(row.get::<_, i64>(0), 5);
//! # Ok(()) }
//! ```
//!
//! [`Changes`]: mainspring_core::Changes

mod commits;
mod consumer;
mod document;
mod empty;
mod feed;
mod handler;
mod lease;
mod parked;
mod processor;
mod processors;
mod progress;
mod projection;
mod registry;
mod run;
mod shard;
mod spans;
mod work;
mod workflow;

pub use commits::{AppendsOnly, Commits};
pub use consumer::{Consumer, Running, StopWhen};
pub use document::{Compare, Document, DocumentProjection, Documents, Find};
pub use empty::OldDocuments;
pub use handler::{
    ApplyFn, ApplyWith, BoxError, Next, Projector, ProjectorFn, ProjectorWith, Reactor, ReactorFn,
    projector_fn, projector_with, reactor_fn,
};
pub use parked::Parked;
pub use processor::{LeasePolicy, OnError, Processor, StartFrom, Then};
pub use processors::{ProcessorState, Processors};
pub use progress::{Activity, ProcessorProgress};
pub use projection::{Inline, Projection};
pub use registry::{Kept, ProjectionState, ProjectionStatus, Projections};
pub use workflow::WorkflowReactor;

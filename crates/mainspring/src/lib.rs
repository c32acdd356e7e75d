//! Durable workflows, queues and event streams on the Postgres you already run.
//!
//! A message is delivered to a handler; the handler decides; the decision is committed in one Postgres transaction. The
//! decision is a value, [`Changes`], and everything in it becomes durable together: the state of an execution, its history,
//! messages to queues, jobs, resume tokens, and the end of the message that caused it all.
//!
//! ```
//! use mainspring::{Engine, ExecutionStatus, Flow, Outcome, PgStoreOptions, create_pg_stores, flow::Step};
//! use serde_json::{Value, json};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let test = mainspring_testing::TestDb::with_prefix("fm_").await; let pool = test.pool();
//! let stores = create_pg_stores(pool, PgStoreOptions { table_prefix: "fm_".into(), ..Default::default() })?;
//!
//! let flow = Flow::builder("order", "1.0.0")
//!     .step(Step::new("charge", "charge").input(json!({"path": "total"})).output_key("receipt"))
//!     .build()?;
//! let engine = Engine::builder(stores.clone())
//!     .handle_fn("charge", async |_call, total: Value| Ok(Outcome::success(json!({"paid": total}))))
//!     .flow(flow)
//!     .build()?;
//!
//! let order = engine.create("order", json!({"total": 42})).idempotency_key("order-42").run().await?;
//! assert_eq!(order.status, ExecutionStatus::Completed);
//! assert_eq!(order.context["receipt"], json!({"paid": 42}));
//! # Ok(()) }
//! ```
//!
//! | to | use |
//! |---|---|
//! | create and check the tables | [`Migrator`] or `mainspring migrate up` |
//! | get all stores | [`create_pg_stores`], [`PgStores::connect`] |
//! | run flows | [`Engine`] |
//! | write in your own transaction | [`PgStores::on`] |
//! | commit a decision of your own | [`Backend::commit`] with [`Changes`] |
//! | follow the log | [`PgStores::consumer`] |
//! | see how full it is | [`Gauges`], and the catalogue in [`metric`] |
//! | route events to handlers, orchestrate | [`Broker`](broker::Broker), [`connect_machine_memory`] |
//! | keep runs whose code is elsewhere | [`world::Storage`], [`World`] |
//! | use one store alone | its crate: `mainspring-executions`, `-flows`, `-jobs`, `-events`, `-tokens`, `-context`, `-queue`, `-output`, `-leases` |

mod commit;
mod from_env;
mod gauges;
mod machine_memory;
#[cfg(feature = "server")]
mod ops;
#[cfg(feature = "prometheus")]
mod prometheus;
mod reactions;
#[cfg(feature = "redis")]
pub mod redis;
mod stores;
#[cfg(feature = "otel")]
pub mod telemetry;
mod tx;

pub use from_env::{connect_world, world_from, world_from_env};

pub use machine_memory::{
    LockConfig, MachineMemoryConfig, MemoryConnection, Migrate, PgMachineMemory, connect_machine_memory,
    release_machine_memory, release_postgress_machine_memory,
};

pub use gauges::Gauges;
#[cfg(feature = "prometheus")]
pub use prometheus::collect_prometheus;
pub use tx::{CxTx, Tx};

pub use stores::{PgStoreOptions, PgStores, create_pg_stores};

pub use mainspring_broker as broker;
pub use mainspring_consumer as consumer;
pub use mainspring_consumer::{
    Consumer, Processor, Projector, Reactor, projector_fn, projector_with, reactor_fn,
};
pub use mainspring_context::PgContextStore;
pub use mainspring_core::*;
pub use mainspring_engine::*;
pub use mainspring_events::{
    CommandError, ConflictRetry, EventStoreExt, Fence, Folded, GlobalFilter, GlobalReader, Handled, HeldBy,
    InlineProjection, LOG_HINT, Page, PgEventStore, Schemas, Settled, Snapshots, Streams, Versioned,
};
pub use mainspring_executions::PgExecutionStore;
pub use mainspring_flows::PgFlowStore;
pub use mainspring_jobs::PgJobStore;
pub use mainspring_leases::PgLeaseStore;
pub use mainspring_output::PgOutputStore;
pub use mainspring_pg::{
    AfterCommit, Db, Deadlines, Migrator, Mode, Names, Pool, Prefix, Schema, Settings, Statements, pool,
};
pub use mainspring_queue::{PgQueue, schedule, stats, topic, upkeep};
pub use mainspring_retention as retention;
pub use mainspring_retention::RetentionPolicy;
pub use mainspring_tokens::PgTokenStore;
pub use mainspring_worker::{
    Activity, BatchVerdict, Deliver, Event as WorkerEvent, Running, Snapshot, Spy, State as SpyState,
    Verdict, Worker, WorkerHandle, deliver_batch_fn, deliver_fn,
};
pub use mainspring_world as world;
pub use mainspring_world::{World, WorldSettings};

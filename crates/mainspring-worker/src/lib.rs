//! The worker loop: claims deliveries from any queue driver and drives handlers.
//!
//! ```text
//!        ┌─────────────────── there is room again ◄───────────────────┐
//!        ▼                                                            │
//! claim what there is room for ──► waiting ──► runners call handlers ──► settle what is finished, in one call
//!        ▲                                         │
//!   nothing there: wait for a hint,                └── cancelled when the lease is lost: settles nothing
//!   a due message, or the next poll
//! ```
//!
//! Beside the loop run a *heartbeat*, which keeps all leases with one write every third of a lease, and *upkeep*, which
//! takes back the leases of dead workers. Neither ever gives up: a database that is away makes them slower, not dead.
//!
//! What a worker claims, it claims under the name of its present *term*, a [`WorkerId`](mainspring_core::WorkerId) with a
//! liveness row. A worker that was found dead cancels what it has in flight and goes on with a new term, and a claim whose
//! answer was lost is given back with its term, so no message is ever left in nobody's hands.
//!
//! ```
//! use std::sync::Arc;
//! use mainspring_core::{NewMessage, QueueDriver, Settlement};
//! use mainspring_testing::MemoryBackend;
//! use mainspring_worker::{Verdict, Worker, deliver_fn};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! let queue = Arc::new(MemoryBackend::new());
//! queue.push(vec![NewMessage::new("mail", "welcome", json!({"to": "ada"}))]).await?;
//!
//! let handler = deliver_fn(|delivery, _cancel| async move {
//!     assert_eq!(delivery.message.data["to"], "ada");
//!     Verdict::Settle(Settlement::Done)
//! });
//! let delivered = Worker::new(queue, Arc::new(handler)).queue("mail").concurrency(4).drain().await?;
//! assert_eq!(delivered, 1);
//! # Ok(()) }
//! ```

mod backend_queue;
mod backoff;
mod beat;
mod claim;
mod crew;
mod deliver;
mod event;
mod flight;
mod handle;
mod meter;
mod options;
mod panic;
mod run;
mod runner;
mod seat;
mod settle;
mod shared;
mod snapshot;
mod spans;
mod spy;
mod term;
mod touch;
mod within_time;
mod worker;

pub use backend_queue::BackendQueue;
pub use backoff::{jittered, retry_delay};
pub use deliver::{
    BatchVerdict, Deliver, DeliverBatchFn, DeliverFn, Verdict, deliver_batch_fn, deliver_fn, worker_lost,
};
pub use event::{Activity, Event};
pub use handle::WorkerHandle;
pub use panic::{Panic, caught};
pub use snapshot::{Running, Snapshot};
pub use spy::{Spy, State};
pub use within_time::{deadline, within_time};
pub use worker::Worker;

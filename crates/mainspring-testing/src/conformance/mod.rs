//! One suite for each store trait: what every backend does alike.
//!
//! A suite takes a function that makes a fresh backend and the clock that goes with it, and gives each of its cases one of
//! its own. A case is a function too, so one that fails can be run alone. Cases panic when the backend is wrong.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use mainspring_testing::{MemoryBackend, conformance};
//!
//! let fresh = async || {
//!     let backend = MemoryBackend::new();
//!     (backend.clone(), backend)
//! };
//! conformance::tokens::suite(fresh).await;
//! conformance::commit::a_taken_id_undoes_everything(&MemoryBackend::new()).await;
//! # });
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a case ends in a panic when it fails"
)]

pub mod commit;
pub mod context;
pub mod events;
pub mod executions;
pub mod flows;
pub mod jobs;
pub mod leases;
pub mod outputs;
pub mod queue;
pub mod receipts;
pub mod streams;
pub mod tokens;
pub mod traces;

mod make;

use std::{any::type_name_of_val, time::Duration};

use mainspring_core::Backend;

use crate::TimeTravel;

/// The longest a case may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every suite, one after the other.
pub async fn all<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    Box::pin(all_but_queue(&fresh)).await;
    Box::pin(queue::suite(&fresh)).await;
    Box::pin(queue::policies::suite(&fresh)).await;
    Box::pin(queue::keys::suite(&fresh)).await;
    Box::pin(queue::parents::suite(&fresh)).await;
    Box::pin(queue::beats::suite(&fresh)).await;
    Box::pin(queue::ends::suite(&fresh)).await;
    Box::pin(queue::admin::suite(&fresh)).await;
    Box::pin(queue::deaths::suite(&fresh)).await;
}

/// Every suite but those of the queue, which can run beside it.
pub async fn all_but_queue<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    Box::pin(executions::suite(&fresh)).await;
    Box::pin(flows::suite(&fresh)).await;
    Box::pin(jobs::suite(&fresh)).await;
    Box::pin(events::suite(&fresh)).await;
    Box::pin(streams::suite(&fresh)).await;
    Box::pin(tokens::suite(&fresh)).await;
    Box::pin(context::suite(&fresh)).await;
    Box::pin(outputs::suite(&fresh)).await;
    Box::pin(leases::suite(&fresh)).await;
    Box::pin(commit::suite(&fresh)).await;
    Box::pin(receipts::suite(&fresh)).await;
    Box::pin(traces::suite(&fresh)).await;
}

/// Runs one case on a backend of its own.
async fn on<B: Backend, T: TimeTravel>(fresh: &impl AsyncFn() -> (B, T), case: impl AsyncFn(&dyn Backend)) {
    let (backend, _time) = fresh().await;
    within_patience(type_name_of_val(&case), case(&backend)).await;
}

/// Runs one case that moves time.
async fn on_time<B: Backend, T: TimeTravel>(
    fresh: &impl AsyncFn() -> (B, T),
    case: impl AsyncFn(&dyn Backend, &dyn TimeTravel),
) {
    let (backend, time) = fresh().await;
    within_patience(type_name_of_val(&case), case(&backend, &time)).await;
}

async fn within_patience(name: &str, case: impl Future<Output = ()>) {
    if tokio::time::timeout(PATIENCE, Box::pin(case)).await.is_err() {
        panic!("{name} took longer than {PATIENCE:?}");
    }
}

//! End to end, on a real Postgres, with real processes: what breaks, and what must be true afterwards. The numbers are those of
//! the list of faults (faults F01 to F97) and of the scenarios every façade must pass (X1 …).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests are tests too"
)]

mod away;
mod broker;
mod chaos;
mod clocks;
mod collector;
mod command;
mod connection;
mod crashes;
mod durable_chaos;
mod durable_kills;
mod failover;
mod gates;
mod here;
mod kills;
mod lost_tail;
mod mixed;
mod names;
mod over;
mod partitions;
mod poison;
mod pool;
mod pooler;
mod postgres;
mod pressure;
mod queue_faults;
mod races;
mod redis;
mod resumes;
mod signals;
mod sleep;
mod starved;
mod stop;
mod traced;
mod unknown;
mod unreadable;
mod wakeups;
mod world_kills;
mod zombies;

use futures_util::{StreamExt, future::LocalBoxFuture, stream};
use mainspring_testing::ChildWorker;
use mainspring_tests::PATIENCE;

/// The program of a worker in a process of its own.
const WORKER: &str = env!("CARGO_BIN_EXE_chaos-worker");

/// Waits until an armed fault is hit: a fault that is never hit tests nothing.
async fn hit(child: &mut ChildWorker, point: &str) {
    child.line(&format!("hit {point}"), PATIENCE).await.unwrap();
}

/// Runs scenarios, a few at once.
fn all<'a>(
    scenarios: impl IntoIterator<Item = impl Future<Output = ()> + 'a> + 'a,
) -> LocalBoxFuture<'a, Vec<()>> {
    Box::pin(stream::iter(scenarios).map(Box::pin).buffer_unordered(4).collect())
}

//! What the end-to-end fault tests share: a laboratory with a database, workers to kill, and what to check afterwards.
//!
//! ```text
//! Lab ── database, ledger
//!  ├── engine(), worker()     workers of this process
//!  ├── child()                a worker in a process of its own (`chaos-worker`), to be killed and stopped
//!  └── verdict()              history, queue and invariants, when the dust has settled
//! ```
//!
//! The handlers write every effect into the [`Ledger`], a file the system under test knows nothing of, so that it cannot hide
//! what was done twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test kit: what does not work is a failed test"
)]

mod book;
mod bouncer;
pub mod broker;
pub mod called;
pub mod chaos;
mod child;
pub mod durable;
mod invariants;
mod lab;
mod ledger;
pub mod order;
mod pair;
pub mod storm;
pub mod traced;
mod wait;

use std::time::Duration;

pub use {
    bouncer::Bouncer,
    child::{ChildPlan, work},
    invariants::broken_invariants,
    lab::{Lab, worker},
    ledger::{Effect, Ledger},
    pair::{Pair, Replication},
    wait::{eventually, until},
};

/// How long a worker of the tests counts as alive.
pub const LEASE: Duration = Duration::from_secs(1);
/// How often a worker of the tests looks for messages and for dead workers.
pub const LOOK: Duration = Duration::from_millis(200);
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

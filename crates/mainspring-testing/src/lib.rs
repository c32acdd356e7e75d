//! Test kit of Mainspring: memory backend, conformance suites, test databases, faults.

pub mod conformance;
pub mod db;
pub mod faults;
pub mod history;
pub mod memory;
mod time;

pub use {
    db::TestDb,
    faults::{Action, ChildWorker, Cluster, ClusterOptions, Cut, Faults, FaultyBackend, Proxy},
    history::{History, Report, StepProblem, Violation},
    memory::MemoryBackend,
    time::TimeTravel,
};

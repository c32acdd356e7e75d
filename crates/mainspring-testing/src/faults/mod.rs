//! Faults: processes that die, connections that break, and calls that fail at a named point.
//!
//! | what breaks | with |
//! |---|---|
//! | Postgres | [`Cluster`]: `kill9`, `restart`, `pause`, `resume` |
//! | a worker's process | [`ChildWorker`]: `kill9`, `stop`, `cont` |
//! | the connection to Postgres | [`Proxy`]: cut before or after a COMMIT, lose its answer, swallow everything |
//! | one call of a backend | [`FaultyBackend`]: die, fail, pause before or after it |
//!
//! Production code has no fault points: they are in the decorator, so a worker under test is built on a
//! [`FaultyBackend`] around its real one and told by its parent, in [`VARIABLE`], where to break.

mod backend;
mod child;
mod flows;
mod plan;
mod proxy;
mod proxy_commit;
mod queue;

pub use {
    backend::FaultyBackend,
    child::ChildWorker,
    mainspring_embedded::{Cluster, Options as ClusterOptions},
    plan::{Action, Faults, VARIABLE},
    proxy::{Cut, Proxy},
};

//! Streams as an application uses them: commands, folds, snapshots, schema versions, inline projections, imports; and random
//! use that agrees with a model, on Postgres and in memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod commands;
mod empty;
mod folds;
mod imports;
mod inline;
mod model;
mod places;
mod spans;

use mainspring_core::NewEvent;
use serde_json::json;

fn event(kind: &str) -> NewEvent {
    NewEvent::new(kind, json!({"kind": kind}))
}

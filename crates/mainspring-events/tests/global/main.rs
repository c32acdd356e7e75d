//! Reading the log in global order while it is written to: E12 to E17, fault F57, X8, and the stress that is the release gate.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod fence;
mod stress;

use mainspring_core::{Append, NewEvent};
use serde_json::json;

fn events(stream: &str, n: usize) -> Append {
    Append::to(stream, (0..n).map(|n| NewEvent::new("Added", json!({"n": n}))).collect())
}

//! The benches of durable functions: steps side by side, one step after the other, a long history, and executions that are
//! parked and woken.

mod parked;
mod steps;

use std::error::Error;

use serde_json::{Value, json};

use super::Bench;

pub const NAMES: [&str; 7] = [
    "workflow.steps",
    "workflow.steps.16",
    "workflow.steps.256",
    "workflow.latency",
    "workflow.history",
    "workflow.resume",
    "workflow.parked",
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(super) async fn run(bench: &Bench, name: &str) -> Result<()> {
    match name {
        "workflow.steps" => steps::side_by_side(bench, name, 64).await,
        "workflow.steps.16" => steps::side_by_side(bench, name, 16).await,
        "workflow.steps.256" => steps::side_by_side(bench, name, 256).await,
        "workflow.latency" => steps::one_by_one(bench, name).await,
        "workflow.history" => steps::long(bench, name).await,
        "workflow.resume" => parked::woken(bench, name).await,
        _ => parked::memory(bench, name).await,
    }
}

/// Prints what was measured, one line: a name and its value each.
fn say(bench: &Bench, name: &str, values: &Value) {
    if bench.json {
        let mut line = json!({"bench": name});
        if let (Some(line), Some(values)) = (line.as_object_mut(), values.as_object()) {
            line.extend(values.clone());
        }
        println!("{line}");
    } else {
        let values = values.as_object().into_iter().flatten();
        let words: Vec<String> = values.map(|(name, value)| format!("{name} {value}")).collect();
        println!("{name:<19} {}", words.join("   "));
    }
}

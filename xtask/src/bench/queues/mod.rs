//! The queue's benches: pushing, draining through the real worker, latency, and what bends other queues: a long backlog, an
//! old snapshot, many processes, many queues, and having nothing to do.
//!
//! Each prints ours, its floor, and their ratio; drain and push also what a message costs in log, commits and processor time.

mod cost;
mod drain;
mod idle;
mod lanes;
mod many;
mod one;
mod pinned;
mod push;
mod stuck;
mod wal;

use std::error::Error;

use mainspring::{NewMessage, PgStores, QueueDriver};

use super::{Bench, floor::payload};

pub use drain::{DrainerArgs, FLOOR_CLAIM, FLOOR_COMPLETE, run_drainer};
pub(super) use {
    cost::{Before, Cost},
    drain::quick,
};

pub const NAMES: [&str; 13] = [
    "queue.push",
    "queue.single",
    "queue.drain",
    "queue.one",
    "queue.4p",
    "queue.latency",
    "queue.backlog",
    "queue.pinned",
    "queue.cpu",
    "queue.many",
    "queue.stuck",
    "queue.wal",
    "queue.lanes",
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Messages of one push, and of one claim of the floor.
const BATCH: usize = 1_000;

pub(super) async fn run(bench: &Bench, name: &str) -> Result<()> {
    match name {
        "queue.push" => push::many(bench).await,
        "queue.single" => push::single(bench).await,
        "queue.drain" => drain::one_process(bench).await,
        "queue.one" => one::at_a_time(bench).await,
        "queue.4p" => drain::four_processes(bench).await,
        "queue.latency" => idle::latency(bench).await,
        "queue.backlog" => many::backlog(bench).await,
        "queue.pinned" => pinned::run(bench).await,
        "queue.cpu" => idle::cpu(bench).await,
        "queue.stuck" => stuck::run(bench).await,
        "queue.wal" => wal::run(bench).await,
        "queue.lanes" => lanes::run(bench).await,
        _ => many::queues(bench).await,
    }
}

/// One line of results.
pub(super) struct Line<'a> {
    pub(super) bench: &'a str,
    pub(super) ours: f64,
    pub(super) floor: f64,
    pub(super) unit: &'a str,
    /// What each message cost, ours and the floor's.
    pub(super) costs: Option<(Cost, Cost)>,
}

impl Line<'_> {
    pub(super) fn print(&self, bench: &Bench) {
        let Self { bench: name, ours, floor, unit, costs } = self;
        let ratio = ours / floor;
        if bench.json {
            let mut line = serde_json::json!({"bench": name, "ours": round(*ours), "floor": round(*floor),
                "ratio": (ratio * 100.0).round() / 100.0, "unit": unit});
            if let Some((ours, floor)) = costs {
                line["cost"] = serde_json::json!({"ours": ours.json(), "floor": floor.json()});
            }
            println!("{line}");
        } else {
            println!(
                "{name:<18} ours {:>9}   floor {:>9}   ratio {ratio:>5.2}   {unit}",
                round(*ours),
                round(*floor)
            );
            if let Some((ours, floor)) = costs {
                println!("{:<18} a message: ours {ours}; floor {floor}", "");
            }
        }
    }
}

/// Three figures or none after the point.
fn round(value: f64) -> f64 {
    if value >= 100.0 { value.round() } else { (value * 1000.0).round() / 1000.0 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The value below which so much of all lies.
pub(super) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len().saturating_sub(1)) as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or(0.0)
}

fn batch(queue: &str, count: usize) -> Vec<NewMessage> {
    (0..count).map(|n| NewMessage::new(queue, "bench", payload(n))).collect()
}

pub(super) async fn empty(stores: &PgStores<'static>) -> Result<()> {
    stores.db().exec("TRUNCATE {messages}, {deferred}, {dead_letters}", &[]).await?;
    Ok(())
}

/// Fills a queue and lets the server rest.
pub(super) async fn fill(stores: &PgStores<'static>, queue: &str, count: usize) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let now = left.min(BATCH);
        stores.queue.push(batch(queue, now)).await?;
        left -= now;
    }
    stores.db().exec("ANALYZE {messages}", &[]).await?;
    stores.db().exec("CHECKPOINT", &[]).await?;
    Ok(())
}

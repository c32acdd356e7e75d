//! `queue.pinned`: the rate while another session keeps an old snapshot open, so that no dead row can be cleaned away.

use std::time::{Duration, Instant};

use mainspring::QueueDriver;
use tokio::time::sleep;

use super::{Bench, Line, Result, batch, drain::quick, empty};

const QUEUE: &str = "pinned";
const WINDOWS: usize = 6;
/// As much is kept in the queue.
const DEPTH: u64 = 10_000;

pub async fn run(bench: &Bench) -> Result<()> {
    empty(&bench.stores).await?;
    bench.stores.queue.push(batch(QUEUE, 1_000)).await?;
    bench.stores.db().exec("ANALYZE {messages}", &[]).await?;
    let pin = bench.floor.client().await?;
    pin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class").await?;

    let worker = quick(&bench.stores, QUEUE).start()?;
    let (queue, mut pushed) = (bench.stores.queue.clone(), 1_000_u64);
    let window = bench.time * 5;
    let mut rates: Vec<f64> = Vec::new();
    let (mut from, mut begin) = (0, Instant::now());
    while rates.len() < WINDOWS {
        let done = worker.snapshot().completed;
        if pushed - done < DEPTH {
            queue.push(batch(QUEUE, 1_000)).await?;
            pushed += 1_000;
        } else {
            sleep(Duration::from_millis(1)).await;
        }
        if begin.elapsed() >= window {
            rates.push((done - from) as f64 / begin.elapsed().as_secs_f64());
            (from, begin) = (done, Instant::now());
        }
    }
    worker.stop_now().await?;
    pin.batch_execute("COMMIT").await?;
    let each: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    let unit = format!("messages/s in the last {window:?}; floor: the first; all: {}", each.join(" "));
    let (first, last) = (rates[0], rates[WINDOWS - 1]);
    Line { bench: "queue.pinned", ours: last, floor: first, unit: &unit, costs: None }.print(bench);
    Ok(())
}

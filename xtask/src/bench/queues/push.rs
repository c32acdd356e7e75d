//! `queue.push`: 1,000 messages in one call; `queue.single`: 16 tasks push one message each at the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring::QueueDriver;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{BATCH, Bench, Cost, Line, Result, batch, cost::Before, empty};
use crate::bench::floor::payload;

const TASKS: usize = 16;

pub async fn many(bench: &Bench) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let client = bench.floor.client().await?;
        client.batch_execute("TRUNCATE floor.q").await?;
        let insert = client.prepare("INSERT INTO floor.q (data) SELECT * FROM unnest($1::jsonb[])").await?;
        let (before, stop, mut count) = (Before::now(bench).await?, Instant::now() + bench.time, 0);
        while Instant::now() < stop {
            let batch: Vec<Value> = (0..BATCH).map(payload).collect();
            client.execute(&insert, &[&batch]).await?;
            count += BATCH;
        }
        floor.push(before.cost(bench, count).await?);

        empty(&bench.stores).await?;
        let (before, stop, mut count) = (Before::now(bench).await?, Instant::now() + bench.time, 0);
        while Instant::now() < stop {
            bench.stores.queue.push(batch("bench", BATCH)).await?;
            count += BATCH;
        }
        ours.push(before.cost(bench, count).await?);
    }
    print(bench, "queue.push", &ours, &floor);
    Ok(())
}

pub async fn single(bench: &Bench) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        bench.floor.client().await?.batch_execute("TRUNCATE floor.q").await?;
        let mut clients = Vec::new();
        for _ in 0..TASKS {
            clients.push(Arc::new(bench.floor.client().await?));
        }
        let before = Before::now(bench).await?;
        let count = at_once(bench.time, |n, stop, done| {
            let client = Arc::clone(&clients[n]);
            async move {
                let insert = client.prepare("INSERT INTO floor.q (data) VALUES ($1)").await?;
                while Instant::now() < stop {
                    client.execute(&insert, &[&payload(n)]).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        floor.push(before.cost(bench, count.await?).await?);

        empty(&bench.stores).await?;
        let before = Before::now(bench).await?;
        let count = at_once(bench.time, |_, stop, done| {
            let queue = bench.stores.queue.clone();
            async move {
                while Instant::now() < stop {
                    queue.push(batch("bench", 1)).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        ours.push(before.cost(bench, count.await?).await?);
    }
    print(bench, "queue.single", &ours, &floor);
    Ok(())
}

type Sent = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs one task for each client for so long; how much they did.
async fn at_once<F, Fut>(time: Duration, work: F) -> Result<usize>
where
    F: Fn(usize, Instant, Arc<AtomicUsize>) -> Fut,
    Fut: Future<Output = Sent> + Send + 'static,
{
    let (done, stop) = (Arc::new(AtomicUsize::new(0)), Instant::now() + time);
    let mut tasks = JoinSet::new();
    for n in 0..TASKS {
        tasks.spawn(work(n, stop, Arc::clone(&done)));
    }
    for ended in tasks.join_all().await {
        ended.map_err(|e| e.to_string())?;
    }
    Ok(done.load(Ordering::Relaxed))
}

fn print(bench: &Bench, name: &str, ours: &[Cost], floor: &[Cost]) {
    let (ours, floor) = (Cost::median(ours), Cost::median(floor));
    let costs = Some((ours, floor));
    Line { bench: name, ours: ours.rate, floor: floor.rate, unit: "messages/s", costs }.print(bench);
}

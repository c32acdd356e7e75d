//! `queue.stuck`: the rate of free messages beside 100,000 messages of two keys that are blocked.

use std::time::Duration;

use mainspring::{
    ClaimRequest, Failure, NewMessage, Policy, QueueDriver, QueueOptions, QueueStore, Settle, Settlement,
    WorkerId,
};

use super::{BATCH, Bench, Line, Result, batch, cost::Before, drain::quick, median};

const QUEUE: &str = "stuck";
const BLOCKED: [&str; 2] = ["a", "b"];

pub async fn run(bench: &Bench) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        clear(bench).await?;
        floor.push(free(bench).await?);
        block(bench).await?;
        ours.push(free(bench).await?);
    }
    clear(bench).await?;
    let unit = format!("free messages/s beside {} of two blocked keys; floor: without them", bench.messages);
    Line { bench: "queue.stuck", ours: median(ours), floor: median(floor), unit: &unit, costs: None }
        .print(bench);
    Ok(())
}

/// An empty queue in whose keys strict order holds.
async fn clear(bench: &Bench) -> Result<()> {
    let options = QueueOptions {
        policy: Policy::KeyStrictFifo,
        keep_finished: Duration::ZERO,
        ..QueueOptions::default()
    };
    bench
        .stores
        .db()
        .exec("TRUNCATE {messages}, {held}, {gates}, {arrivals}, {keys}, {dead_letters}", &[])
        .await?;
    let queue = &bench.stores.queue;
    queue.create_queue(QUEUE, options.clone()).await?;
    queue.recreate_queue(QUEUE, options).await?;
    Ok(())
}

/// Pushes messages of two keys, and gives up the first of each.
async fn block(bench: &Bench) -> Result<()> {
    let queue = &bench.stores.queue;
    for (n, _) in (0..bench.messages).step_by(BATCH).enumerate() {
        let key = BLOCKED.get(n % BLOCKED.len()).map(|key| (*key).to_owned());
        let keyed = |message| NewMessage { key: key.clone(), ..message };
        queue.push(batch(QUEUE, BATCH).into_iter().map(keyed).collect()).await?;
    }
    let request = ClaimRequest::new(QUEUE, WorkerId::generate(), Duration::from_secs(60), 1_000);
    let first = queue.claim(request).await?.deliveries;
    assert_eq!(first.len(), BLOCKED.len(), "the first of each key");
    let dead = || Settlement::DeadLetter(Failure::new("STUCK", "blocks its key"));
    let settles = first.into_iter().map(|d| Settle::new(d.lease, dead()));
    queue.settle(settles.collect()).await?.into_iter().collect::<mainspring::Result<Vec<_>>>()?;
    Ok(())
}

/// The rate of messages that each have a key of their own.
async fn free(bench: &Bench) -> Result<f64> {
    let count = (bench.messages / 5).max(BATCH);
    for from in (0..count).step_by(BATCH) {
        let keyed = |(n, message)| NewMessage { key: Some(format!("free {}", from + n)), ..message };
        bench.stores.queue.push(batch(QUEUE, BATCH).into_iter().enumerate().map(keyed).collect()).await?;
    }
    bench.stores.db().exec("ANALYZE {messages}, {held}, {gates}", &[]).await?;
    bench.stores.db().exec("CHECKPOINT", &[]).await?;
    let before = Before::now(bench).await?;
    let drained = quick(&bench.stores, QUEUE).drain().await?;
    assert_eq!(drained, count as u64, "every free message is delivered once");
    Ok(before.cost(bench, count).await?.rate)
}

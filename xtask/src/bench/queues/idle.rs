//! `queue.latency`: how soon an idle worker begins with a new message, by hint and by polling; `queue.cpu`: what 20 idle
//! workers cost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mainspring::{QueueDriver, Settlement, Verdict, Worker, deliver_fn};
use tokio::{sync::mpsc, time::sleep};

use super::{Bench, Line, Result, batch, empty, percentile};

const QUEUE: &str = "latency";
const POLL: Duration = Duration::from_millis(100);

pub async fn latency(bench: &Bench) -> Result<()> {
    empty(&bench.stores).await?;
    let mut floor = pickup_floor(bench, 200).await?;
    let mut hint = pickup(bench, true, 200).await?;
    let mut poll = pickup(bench, false, 40).await?;
    for (part, name) in [(0.5, "latency.p50"), (0.99, "latency.p99")] {
        let (ours, floor) = (percentile(&mut hint, part), percentile(&mut floor, part));
        Line { bench: &format!("queue.{name}"), ours, floor, unit: "ms by hint", costs: None }.print(bench);
    }
    let interval = POLL.as_secs_f64() * 1e3;
    for (part, name) in [(0.5, "latency.p50"), (0.99, "latency.p99")] {
        let unit = "ms by polling; floor: the poll interval";
        let ours = percentile(&mut poll, part);
        Line { bench: &format!("queue.{name}"), ours, floor: interval, unit, costs: None }.print(bench);
    }
    Ok(())
}

/// From before the push in one process to the handler in another, in milliseconds.
async fn pickup(bench: &Bench, by_hint: bool, times: usize) -> Result<Vec<f64>> {
    let (there, here) = (bench.elsewhere(by_hint)?, bench.elsewhere(false)?);
    let (tell, mut begun) = mpsc::unbounded_channel();
    let handler = deliver_fn(move |_, _| {
        let told = tell.send(Instant::now());
        async move {
            told.ok();
            Verdict::Settle(Settlement::Done)
        }
    });
    let worker = Worker::new(Arc::new(there.queue.clone()), Arc::new(handler)).queue(QUEUE);
    let running = worker.poll_interval(if by_hint { Duration::from_secs(1) } else { POLL }).start()?;
    let mut took = Vec::new();
    for n in 0..times + 5 {
        // Long enough that the worker polls as seldom as it does.
        sleep(if by_hint { Duration::from_millis(20 + 7 * (n as u64 % 5)) } else { POLL * 4 }).await;
        let before = Instant::now();
        here.queue.push(batch(QUEUE, 1)).await?;
        let at = begun.recv().await.ok_or("the worker ended")?;
        if n >= 5 {
            took.push((at - before).as_secs_f64() * 1e3);
        }
    }
    running.stop().await?;
    Ok(took)
}

/// The same with plain statements: an insert that notifies, and a claim as soon as that is heard.
async fn pickup_floor(bench: &Bench, times: usize) -> Result<Vec<f64>> {
    let (listener, mut heard) = bench.floor.listener("floor_q").await?;
    listener.batch_execute("TRUNCATE floor.q").await?;
    let (here, there) = (bench.floor.client().await?, bench.floor.client().await?);
    let insert = "WITH i AS (INSERT INTO floor.q (data) VALUES ($1) RETURNING id) SELECT id, pg_notify('floor_q', '') FROM i";
    let insert = here.prepare(insert).await?;
    let claim = "UPDATE floor.q SET state = 1, locked_at = now() WHERE id = (SELECT id FROM floor.q
        WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, data";
    let claim = there.prepare(claim).await?;
    let mut took = Vec::new();
    for n in 0..times {
        sleep(Duration::from_millis(20 + 7 * (n as u64 % 5))).await;
        let before = Instant::now();
        here.query_one(&insert, &[&crate::bench::floor::payload(n)]).await?;
        heard.recv().await.ok_or("nothing heard")?;
        there.query_one(&claim, &[]).await?;
        took.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

pub async fn cpu(bench: &Bench) -> Result<()> {
    const WORKERS: usize = 20;
    empty(&bench.stores).await?;
    let time = bench.time * 5;
    let mut running = Vec::new();
    for n in 0..WORKERS {
        let handler = deliver_fn(|_, _| async { Verdict::Settle(Settlement::Done) });
        let worker = Worker::new(Arc::new(bench.stores.queue.clone()), Arc::new(handler));
        running.push(worker.queue(format!("idle{n}")).start()?);
    }
    sleep(Duration::from_secs(3)).await; // until they poll as seldom as they do
    let (before, begin) = (bench.floor.meter.read(), Instant::now());
    sleep(time).await;
    let (spent, elapsed) = (bench.floor.meter.read().since(&before), begin.elapsed().as_secs_f64());
    for worker in &running {
        worker.stop().await?;
    }
    let share = |spent: Duration| spent.as_secs_f64() / elapsed * 100.0;
    let ours = share(spent.client) + spent.server.map_or(0.0, share);
    let unit = "% of a core for 20 idle workers, client and server; floor: 1";
    Line { bench: "queue.cpu", ours, floor: 1.0, unit, costs: None }.print(bench);
    Ok(())
}

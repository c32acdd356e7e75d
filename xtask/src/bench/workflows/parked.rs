//! Executions that are parked: what they hold, and how fast they are woken.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use mainspring::{Cx, Engine, ExecutionId, Workflow};
use serde_json::json;
use tokio::time::sleep;

use super::{Result, say};
use crate::bench::{
    Bench,
    floor::payload,
    load::{Load, Rate},
    median, print,
};

const WAIT: Workflow<u64, u64, String> = Workflow::new("bench-wait");
const QUICK: Workflow<u64, u64, String> = Workflow::new("bench-quick");
/// Executions that are woken, or `--messages` when that is fewer.
const WOKEN: usize = 10_000;
/// Starts and signals at the same time.
const WIDTH: usize = 64;
/// Deliveries of the worker at the same time.
const CONCURRENCY: usize = 64;
/// Runs of a workflow of one step while others are parked.
const PROBES: u64 = 50;

fn engine(bench: &Bench) -> mainspring::Result<Engine> {
    Engine::builder(bench.stores.clone())
        .queue("bench-workflows")
        .register(WAIT, async |cx: Cx, n: u64| {
            let first = cx.step("first", async || Ok::<_, String>(n)).await?;
            let word: u64 = cx.signal("go").await?;
            Ok(first + word)
        })
        .register(QUICK, async |cx: Cx, n: u64| Ok(cx.step("step", async || Ok::<_, String>(n)).await?))
        .build()
}

/// Does `each` for every number below `count`, many at the same time.
async fn all<Fut>(
    load: Load,
    count: usize,
    each: impl Fn(usize) -> Fut + Clone + Send + Sync + 'static,
) -> Result<()>
where
    Fut: Future<Output = mainspring::Result<()>> + Send,
{
    let each = Arc::new(each);
    let run = load.run(WIDTH, |width, _, done| {
        let each = Arc::clone(&each);
        async move {
            for n in (width..count).step_by(WIDTH) {
                each(n).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    });
    run.await.map(drop)
}

fn id(batch: u64, n: usize) -> String {
    format!("parked-{batch}-{n}")
}

/// Starts so many and lets a worker park them.
async fn park(bench: &Bench, engine: &Engine, batch: u64, count: usize) -> Result<()> {
    let starter = engine.clone();
    let start = move |n| {
        let start = starter.start(WAIT, &(n as u64)).id(id(batch, n));
        async move { start.await.map(drop) }
    };
    all(bench.load(), count, start).await?;
    engine.worker().concurrency(CONCURRENCY).drain().await?;
    Ok(())
}

/// `workflow.resume`: executions that each have a signal are woken, read their history and end. The floor claims a message,
/// reads the steps, and in one commit ends the run and deletes the message.
pub async fn woken(bench: &Bench, name: &str) -> Result<()> {
    let count = WOKEN.min(bench.messages);
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        floor.push(woken_floor(bench, count).await?);
        let (engine, batch) = (engine(bench)?, bench.floor.next_run());
        park(bench, &engine, batch, count).await?;
        let sender = engine.clone();
        let send = move |n| {
            let to = ExecutionId::new(id(batch, n)).map(|to| sender.signal(&to, "go", &1));
            async move { to?.await }
        };
        all(bench.load(), count, send).await?;
        let watch = bench.load().watch();
        engine.worker().concurrency(CONCURRENCY).drain().await?;
        ours.push(watch.stop(count as u64));
        engine.shutdown().await?;
    }
    print(name, Rate::median(&ours), Rate::median(&floor), bench.json);
    Ok(())
}

async fn woken_floor(bench: &Bench, count: usize) -> Result<Rate> {
    const FILL: &str = "TRUNCATE floor.q, floor.runs, floor.steps;
        INSERT INTO floor.q (data) SELECT jsonb_build_object('run', n) FROM generate_series(1, $count) n;
        INSERT INTO floor.runs (id, name, status) SELECT n, 'wf', 'waiting' FROM generate_series(1, $count) n;
        INSERT INTO floor.steps SELECT n, 0, '{\"ok\": 0}' FROM generate_series(1, $count) n; ANALYZE floor.q, floor.runs, floor.steps;";
    const CLAIM: &str = "UPDATE floor.q SET state = 1, locked_at = now() WHERE id = (SELECT id FROM floor.q
        WHERE state = 0 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, data->>'run'";
    const READ: &str = "SELECT seq, output FROM floor.steps WHERE run_id = $1 ORDER BY seq";
    const END: &str = "WITH done AS (DELETE FROM floor.q WHERE id = $3)
        UPDATE floor.runs SET status = 'completed', output = $2, updated_at = now() WHERE id = $1";
    let clients = bench.floor.clients(16).await?;
    clients[0].batch_execute(&FILL.replace("$count", &count.to_string())).await?;
    let run = bench.load().run(clients.len(), |n, _, done| {
        let client = Arc::clone(&clients[n]);
        async move {
            let (claim, read) = (client.prepare(CLAIM).await?, client.prepare(READ).await?);
            let end = client.prepare(END).await?;
            while let Some(row) = client.query_opt(&claim, &[]).await? {
                let (message, run): (i64, String) = (row.get(0), row.get(1));
                client.query(&read, &[&run]).await?;
                client.execute(&end, &[&run, &payload(n), &message]).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    });
    run.await
}

/// `workflow.parked`: resident memory of this process for each parked execution, `--messages` of them, and how long a workflow
/// of one step takes through a worker before and meanwhile.
pub async fn memory(bench: &Bench, name: &str) -> Result<()> {
    let engine = engine(bench)?;
    // What the process keeps anyway: connections, statements, the allocator's pages.
    park(bench, &engine, bench.floor.next_run(), 5_000).await?;
    let worker = engine.worker().concurrency(CONCURRENCY).start()?;
    let before = probe(&engine).await?;
    let resident = resident_bytes()?;
    let count = bench.messages;
    let starter = engine.clone();
    let batch = bench.floor.next_run();
    let start = move |n| {
        let start = starter.start(WAIT, &(n as u64)).id(id(batch, n));
        async move { start.await.map(drop) }
    };
    all(bench.load(), count, start).await?;
    loop {
        let stats = engine.backend().queue().stats("bench-workflows").await?;
        if stats.ready + stats.claimed == 0 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let meanwhile = probe(&engine).await?;
    let held = resident_bytes()?.saturating_sub(resident);
    worker.stop().await?;
    engine.shutdown().await?;
    let values = json!({"parked": count, "bytes_each": held / count.max(1) as u64,
        "resident_mb": resident_bytes()? / 1_000_000, "quick_ms_before": before, "quick_ms_meanwhile": meanwhile});
    say(bench, name, &values);
    Ok(())
}

/// How long a workflow of one step takes through the worker, in milliseconds, typically.
async fn probe(engine: &Engine) -> Result<f64> {
    let mut took = Vec::new();
    for n in 0..PROBES {
        let begin = Instant::now();
        let handle = engine.start(QUICK, &n).await?;
        handle.result().await.map_err(|error| error.to_string())?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(crate::bench::hundredth(median(took)))
}

/// The second number is pages in memory.
fn resident_bytes() -> Result<u64> {
    const PAGE: u64 = 4_096;
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).ok_or("no resident pages")?;
    Ok(pages.parse::<u64>()? * PAGE)
}

//! `queue.drain`: a full queue of messages that need nothing done, emptied by one worker at its best settings;
//! `queue.4p`: the same by four processes.

use std::{process::Stdio, sync::Arc, time::Duration};

use mainspring::{PgStoreOptions, PgStores, Settlement, Verdict, Worker, deliver_fn};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use super::{BATCH, Bench, Cost, Line, Result, cost::Before, empty, fill};
use crate::Outcome;

const QUEUE: &str = "drain";
const PROCESSES: usize = 4;

pub const FLOOR_CLAIM: &str =
    "UPDATE floor.q SET state = 1, locked_at = now() WHERE id = ANY (ARRAY(SELECT id FROM floor.q
     WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT $1)) RETURNING id, data";
pub const FLOOR_COMPLETE: &str = "DELETE FROM floor.q WHERE id = ANY ($1) AND state = 1";

/// What the documentation recommends for quick handlers.
pub fn quick(stores: &PgStores<'static>, queue: &str) -> Worker {
    let handler = deliver_fn(|_, _| async { Verdict::Settle(Settlement::Done) });
    Worker::new(Arc::new(stores.queue.clone()), Arc::new(handler)).queue(queue).concurrency(4).prefetch(4_000)
}

pub async fn one_process(bench: &Bench) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        floor.push(drain_floor(bench, bench.messages).await?);
        ours.push(drain(bench).await?);
    }
    let (ours, floor) = (Cost::median(&ours), Cost::median(&floor));
    let costs = Some((ours, floor));
    Line { bench: "queue.drain", ours: ours.rate, floor: floor.rate, unit: "messages/s", costs }.print(bench);
    Ok(())
}

pub async fn drain(bench: &Bench) -> Result<Cost> {
    empty(&bench.stores).await?;
    fill(&bench.stores, QUEUE, bench.messages).await?;
    let before = Before::now(bench).await?;
    let drained = quick(&bench.stores, QUEUE).drain().await?;
    assert_eq!(drained, bench.messages as u64, "a worker delivers every message once");
    before.cost(bench, bench.messages).await
}

/// Two clients that claim 1,000 and delete them, two commits.
pub async fn drain_floor(bench: &Bench, rows: usize) -> Result<Cost> {
    let client = bench.floor.client().await?;
    let fill = format!(
        "TRUNCATE floor.q; INSERT INTO floor.q (data) SELECT jsonb_build_object('n', g, 'to', 'user@example.com')
         FROM generate_series(1, {rows}) g; ANALYZE floor.q; CHECKPOINT"
    );
    client.batch_execute(&fill).await?;
    let clients = [client, bench.floor.client().await?];
    let before = Before::now(bench).await?;
    let each = clients.into_iter().map(|client| async move {
        let claim = client.prepare(FLOOR_CLAIM).await?;
        let complete = client.prepare(FLOOR_COMPLETE).await?;
        loop {
            let rows = client.query(&claim, &[&(BATCH as i64)]).await?;
            if rows.is_empty() {
                return Ok::<_, tokio_postgres::Error>(());
            }
            let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
            for row in &rows {
                ids.push(row.get(0));
                let _: serde_json::Value = row.get(1);
            }
            client.execute(&complete, &[&ids]).await?;
        }
    });
    futures_util::future::try_join_all(each).await?;
    before.cost(bench, rows).await
}

pub async fn four_processes(bench: &Bench) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        floor.push(drain(bench).await?.rate);
        ours.push(in_processes(bench).await?);
    }
    let (ours, floor) = (super::median(ours), super::median(floor));
    let unit = "messages/s; floor: one process of ours";
    Line { bench: "queue.4p", ours, floor, unit, costs: None }.print(bench);
    Ok(())
}

async fn in_processes(bench: &Bench) -> Result<f64> {
    empty(&bench.stores).await?;
    let mut children = Vec::new();
    for _ in 0..PROCESSES {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench-drainer", &bench.floor.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        lines.next_line().await?.ok_or("the drainer ended early")?;
        children.push((child, lines));
    }
    fill(&bench.stores, QUEUE, bench.messages).await?;
    let before = Before::now(bench).await?;
    for (child, _) in &mut children {
        child.stdin.as_mut().ok_or("no stdin")?.write_all(b"go\n").await?;
    }
    let mut drained = 0;
    for (_, lines) in &mut children {
        drained += lines.next_line().await?.ok_or("the drainer ended early")?.parse::<usize>()?;
    }
    let cost = before.cost(bench, bench.messages).await?;
    assert_eq!(drained, bench.messages, "together the processes deliver every message once");
    Ok(cost.rate)
}

#[derive(clap::Args)]
pub struct DrainerArgs {
    /// The database.
    url: String,
}

/// A process of `queue.4p`: says that it is ready, waits for a line, empties the queue, says how many it had.
pub fn run_drainer(args: DrainerArgs) -> Outcome {
    crate::block_on(async move {
        let options = PgStoreOptions { table_prefix: "bench_".into(), ..PgStoreOptions::default() };
        let stores = PgStores::connect(&args.url, options)?;
        quick(&stores, "nothing").drain().await?; // connects
        println!("ready");
        std::io::stdin().read_line(&mut String::new())?;
        println!("{}", quick(&stores, QUEUE).grace(Duration::from_secs(5)).drain().await?);
        Ok(std::process::ExitCode::SUCCESS)
    })?
}

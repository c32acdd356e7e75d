//! The benches of output streams: `streams.write`, chunks one at a time by many tasks; `streams.tail`, how soon the reader in
//! another process has a chunk, by hint.

use std::{
    error::Error,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use mainspring::{OutputStore, OutputStream, PgStores};
use tokio::time::sleep;
use tokio_postgres::Client;

use super::{
    Bench,
    load::{Load, Rate},
    print,
    queues::{Line, percentile},
};

pub const NAMES: [&str; 2] = ["streams.write", "streams.tail"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tasks that write, each to a stream of its own.
const WRITERS: usize = 16;
/// About a line of text.
const CHUNK: &[u8] = &[b'x'; 100];
/// Chunks whose way to the reader is measured.
const TIMES: i64 = 200;

/// One chunk at the end of a stream.
const ADD: &str = "WITH s AS (INSERT INTO floor.outputs AS s VALUES ($1, 1)
    ON CONFLICT (name) DO UPDATE SET chunks = s.chunks + 1 RETURNING chunks)
  INSERT INTO floor.chunks SELECT $1, chunks - 1, $2 FROM s";

pub(super) async fn run(bench: &Bench, name: &str) -> Result<()> {
    match name {
        "streams.write" => {
            let (mut ours, mut floor) = (Vec::new(), Vec::new());
            for _ in 0..bench.rounds {
                floor.push(write_floor(bench.floor.clients(WRITERS).await?, bench.load()).await?);
                ours.push(write(&bench.stores, bench.load()).await?);
            }
            print(name, Rate::median(&ours), Rate::median(&floor), bench.json);
        }
        _ => {
            let (mut ours, mut floor) = (tail(bench).await?, tail_floor(bench).await?);
            for (part, name) in [(0.5, "streams.tail.p50"), (0.99, "streams.tail.p99")] {
                let (ours, floor) = (percentile(&mut ours, part), percentile(&mut floor, part));
                Line { bench: name, ours, floor, unit: "ms by hint", costs: None }.print(bench);
            }
        }
    }
    Ok(())
}

async fn write(stores: &PgStores<'static>, load: Load) -> Result<Rate> {
    load.run(WRITERS, |n, stop, done| {
        let outputs = stores.outputs.clone();
        async move {
            let stream = OutputStream::named(format!("write-{n}"));
            while Instant::now() < stop {
                outputs.write(&stream, Bytes::from_static(CHUNK)).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

async fn write_floor(clients: Vec<Arc<Client>>, load: Load) -> Result<Rate> {
    load.run(clients.len(), |n, stop, done| {
        let client = Arc::clone(&clients[n]);
        async move {
            let (add, stream) = (client.prepare(ADD).await?, format!("write-{n}"));
            while Instant::now() < stop {
                client.execute(&add, &[&stream, &CHUNK]).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

/// Between two chunks: long enough that the reader waits again, and not always the same.
fn pause(n: i64) -> Duration {
    Duration::from_millis(20 + 7 * (n.unsigned_abs() % 5))
}

/// From before the write in one process to the chunk at the reader of another, in milliseconds.
async fn tail(bench: &Bench) -> Result<Vec<f64>> {
    let (there, here) = (bench.elsewhere(true)?, bench.elsewhere(false)?);
    let stream = OutputStream::named(format!("tail-{}", bench.floor.next_run()));
    let mut reader = there.outputs.read(&stream, 0);
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(_chunk) = reader.try_next().await? {
            seen.push(Instant::now());
        }
        Ok::<_, mainspring::Error>(seen)
    });
    let mut begun = Vec::new();
    for n in 0..TIMES {
        sleep(pause(n)).await;
        begun.push(Instant::now());
        here.outputs.write(&stream, Bytes::from_static(CHUNK)).await?;
    }
    here.outputs.close(&stream).await?;
    let seen = reading.await??;
    Ok(begun.iter().zip(&seen).skip(5).map(|(begun, seen)| (*seen - *begun).as_secs_f64() * 1e3).collect())
}

/// The same with plain statements: an insert, a notification after it, and a look as soon as that is heard.
async fn tail_floor(bench: &Bench) -> Result<Vec<f64>> {
    let (_listener, mut heard) = bench.floor.listener("floor_streams").await?;
    let (here, there) = (bench.floor.client().await?, bench.floor.client().await?);
    here.batch_execute("TRUNCATE floor.outputs, floor.chunks").await?;
    let add = here.prepare(ADD).await?;
    let look = there.prepare("SELECT data FROM floor.chunks WHERE stream = $1 AND index >= $2").await?;
    let mut took = Vec::new();
    for n in 0..TIMES {
        sleep(pause(n)).await;
        let before = Instant::now();
        here.execute(&add, &[&"tail", &CHUNK]).await?;
        here.batch_execute("NOTIFY floor_streams").await?;
        heard.recv().await.ok_or("nothing heard")?;
        there.query_one(&look, &[&"tail", &n]).await?;
        took.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

//! `events.catchup.100`, `events.catchup.1000`: 100,000 events through a projector that does nothing, with a checkpoint for
//! each batch; the floor reads the same pages and writes the same checkpoint. `events.project`: one event and the document it
//! changes, in one transaction.

use std::{
    error::Error,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use mainspring::{
    Append, EventStore, GlobalFilter, NewEvent, PgStores, Processor,
    consumer::{DocumentProjection, Inline, StartFrom},
    event::STREAMS,
    projector_fn,
};
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{
    floor::payload,
    load::{Load, Rate},
};

/// Events of the log that is caught up with.
const EVENTS: i64 = 100_000;
/// Writers, and streams of each.
const WRITERS: usize = 8;
const STREAMS_EACH: usize = 50;

const FILL: &str = "INSERT INTO {events_streams} (partition, tenant, stream, stream_position, created_at, type, data)
  SELECT 'streams', '', 'bench-' || g % 1000, g, {now}(), 'Added', jsonb_build_object('n', g, 'to', 'user@example.com')
  FROM generate_series(1, $1::bigint) g";

async fn fill(stores: &PgStores<'static>) -> Result<(), Box<dyn Error>> {
    let db = stores.db();
    db.exec("TRUNCATE {events}", &[]).await?;
    db.exec(FILL, &[&EVENTS]).await?;
    db.exec("ANALYZE {events}", &[]).await?;
    db.exec("CHECKPOINT", &[]).await?;
    Ok(())
}

pub async fn catch_up(stores: &PgStores<'static>, batch: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
    fill(stores).await?;
    let nothing =
        Processor::projector("bench", projector_fn(async |_, _| Ok(()))).start_from(StartFrom::Beginning);
    let streams = GlobalFilter { partitions: vec![STREAMS.to_owned()], ..GlobalFilter::default() };
    let watch = load.watch();
    stores.consumer("bench").only(streams).batch_size(batch).processor(nothing).run_to_end().await?;
    Ok(watch.stop(EVENTS.unsigned_abs()))
}

pub async fn catch_up_floor(
    stores: &PgStores<'static>,
    client: &Client,
    batch: usize,
    load: Load,
) -> Result<Rate, Box<dyn Error>> {
    fill(stores).await?;
    let table = stores.db().names().table("events_streams");
    let page = format!(
        "SELECT global_position, stream, stream_position, type, data FROM {table} WHERE global_position > $1
         ORDER BY global_position LIMIT $2"
    );
    let page = client.prepare(&page).await?;
    client.batch_execute("TRUNCATE floor.checkpoints; INSERT INTO floor.checkpoints VALUES (1, 0)").await?;
    let checkpoint = "UPDATE floor.checkpoints SET position = $2 WHERE id = 1 AND position = $1";
    let checkpoint = client.prepare(checkpoint).await?;
    let (watch, mut position, mut seen) = (load.watch(), 0_i64, 0);
    loop {
        let rows = client.query(&page, &[&position, &i64::try_from(batch)?]).await?;
        let Some(last) = rows.last() else { break };
        let next: i64 = last.get(0);
        seen += rows.iter().map(|row| row.get::<_, Value>(4)).filter(Value::is_object).count() as u64;
        client.execute(&checkpoint, &[&position, &next]).await?;
        position = next;
    }
    Ok(watch.stop(seen))
}

fn stream(writer: usize, n: usize) -> String {
    format!("doc-{writer}-{}", n % STREAMS_EACH)
}

pub async fn project(stores: &PgStores<'static>, load: Load) -> Result<Rate, Box<dyn Error>> {
    let count = |document: Option<Value>, _: &_| {
        let n = document.and_then(|document| document["n"].as_i64()).unwrap_or(0);
        Some(json!({"n": n + 1, "to": "user@example.com"}))
    };
    let projection = Inline::new(Arc::new(DocumentProjection::of_streams("bench", count)));
    let log = stores.events.clone().with_inline(Arc::new(projection));
    load.run(WRITERS, |writer, stop, done| {
        let log = log.clone();
        async move {
            for n in 0.. {
                if Instant::now() >= stop {
                    break;
                }
                log.append(Append::to(stream(writer, n), vec![NewEvent::new("Added", payload(n))])).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

pub async fn project_floor(clients: Vec<Arc<Client>>, load: Load) -> Result<Rate, Box<dyn Error>> {
    load.run(clients.len(), |writer, stop, done| {
        let client = clients.get(writer).cloned();
        async move {
            let client = client.ok_or("no client")?;
            let append = "INSERT INTO floor.log (stream, position, data) SELECT $1, coalesce(max(position), 0) + 1, $2
              FROM floor.log WHERE stream = $1";
            let append = client.prepare_typed(append, &[tokio_postgres::types::Type::TEXT]).await?;
            let read = client.prepare("SELECT data FROM floor.documents WHERE id = $1 FOR UPDATE").await?;
            let write = "INSERT INTO floor.documents VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET data = excluded.data";
            let write = client.prepare(write).await?;
            for n in 0.. {
                if Instant::now() >= stop {
                    break;
                }
                let stream = stream(writer, n);
                client.batch_execute("BEGIN").await?;
                client.execute(&append, &[&stream, &payload(n)]).await?;
                let before: Option<Value> = client.query_opt(&read, &[&stream]).await?.map(|row| row.get(0));
                let n = before.and_then(|document| document["n"].as_i64()).unwrap_or(0);
                client.execute(&write, &[&stream, &json!({"n": n + 1, "to": "user@example.com"})]).await?;
                client.batch_execute("COMMIT").await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

/// Clients of one floor.
pub const CLIENTS: usize = WRITERS;

//! `world.storage`: a run and a step are created, begun and the step is ended; five writes, each durable before the next one.

use std::{
    error::Error,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use mainspring::{
    PgStores,
    world::{Fact, NewRun, NewStep, RunEvent, Storage},
};
use serde_json::json;
use tokio_postgres::Client;

use super::{
    floor::payload,
    load::{Load, Rate},
};

const WRITES: u64 = 5;

pub async fn storage(stores: &PgStores<'static>, width: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
    let storage = Storage::new(stores.clone());
    load.run(width, |n, stop, done| {
        let storage = storage.clone();
        async move {
            let events = storage.events();
            while Instant::now() < stop {
                let run = storage.runs().create(NewRun::new("bench", payload(n))).await?.run_id;
                let step = NewStep { step_name: "s".into(), input: Some(payload(n)) };
                events.create(Some(&run), RunEvent::about("s1", Fact::StepCreated(step))).await?;
                events.create(Some(&run), Fact::RunStarted { run_input: None }).await?;
                let begun = Fact::StepStarted { create: None };
                events.create(Some(&run), RunEvent::about("s1", begun)).await?;
                let ended = Fact::StepCompleted { result: Some(json!({"ok": n})) };
                events.create(Some(&run), RunEvent::about("s1", ended)).await?;
                done.fetch_add(WRITES, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

/// The same rows and one event each, in one statement a write.
pub async fn storage_floor(clients: Vec<Arc<Client>>, load: Load) -> Result<Rate, Box<dyn Error>> {
    load.run(clients.len(), |n, stop, done| {
        let client = Arc::clone(&clients[n]);
        async move {
            let log = "INSERT INTO floor.log (stream, position, data)";
            let run = client
                .prepare(&format!(
                    "WITH r AS (INSERT INTO floor.runs (id, name, status, input) VALUES ($1, 'wf', 'pending', $2))
                     {log} VALUES ($1, 1, $2)"
                ))
                .await?;
            let step = client
                .prepare(&format!(
                    "WITH s AS (INSERT INTO floor.steps (run_id, seq, output) VALUES ($1, 1, $2))
                     {log} VALUES ($1, 2, $2)"
                ))
                .await?;
            let begin = client
                .prepare(&format!(
                    "WITH u AS (UPDATE floor.runs SET status = 'running', updated_at = now() WHERE id = $1)
                     {log} VALUES ($1, 3, '{{}}')"
                ))
                .await?;
            let step_row = |position: u32| {
                format!(
                    "WITH u AS (UPDATE floor.steps SET output = $2, at = now() WHERE run_id = $1 AND seq = 1)
                     {log} VALUES ($1, {position}, $2)"
                )
            };
            let (begun, ended) = (client.prepare(&step_row(4)).await?, client.prepare(&step_row(5)).await?);
            let mut count = 0_u64;
            while Instant::now() < stop {
                count += 1;
                let id = format!("world-{n}-{count}-{:?}", stop);
                let (input, output) = (payload(n), json!({"ok": n}));
                client.execute(&run, &[&id, &input]).await?;
                client.execute(&step, &[&id, &input]).await?;
                client.execute(&begin, &[&id]).await?;
                client.execute(&begun, &[&id, &json!({})]).await?;
                client.execute(&ended, &[&id, &output]).await?;
                done.fetch_add(WRITES, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

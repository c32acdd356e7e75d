//! The floors: the least SQL that does the same durable work, one prepared statement and one commit at a time.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring_pg::Settings;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use super::load::per_second;

const TABLES: &str = "
DROP SCHEMA IF EXISTS floor CASCADE; CREATE SCHEMA floor;
CREATE TABLE floor.ins (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data jsonb NOT NULL);
CREATE TABLE floor.runs (id text PRIMARY KEY, name text NOT NULL, status text NOT NULL, input jsonb, output jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE floor.steps (run_id text NOT NULL, seq int NOT NULL, output jsonb, at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run_id, seq));
CREATE TABLE floor.q (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint NOT NULL DEFAULT 0,
  data jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), locked_at timestamptz);
CREATE INDEX q_ready ON floor.q (id) WHERE state = 0;";

/// Messages of one push, on both sides.
pub const PUSH_BATCH: usize = 1_000;
/// Messages of one claim, on both sides.
pub const CLAIM_BATCH: usize = 100;
/// Consumers of a drain, on both sides.
pub const CONSUMERS: usize = 2;

/// Plain connections beside ours.
pub struct Floor {
    url: String,
    runs: Arc<AtomicU64>,
}

type Shared = Box<dyn Error + Send + Sync>;

impl Floor {
    pub async fn new(url: &str) -> Result<Self, Box<dyn Error>> {
        Settings::parse(url)?;
        let floor = Self { url: url.to_owned(), runs: Arc::default() };
        let client = floor.client().await?;
        client.batch_execute(TABLES).await?;
        client.batch_execute(super::floor_events::TABLES).await?;
        Ok(floor)
    }

    /// A number for names that are used once.
    pub fn next_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub async fn clients(&self, n: usize) -> Result<Vec<Arc<Client>>, tokio_postgres::Error> {
        let mut clients = Vec::new();
        for _ in 0..n {
            clients.push(Arc::new(self.client().await?));
        }
        Ok(clients)
    }

    /// Single-row inserts, each its own commit.
    pub async fn inserts(&self, width: usize, time: Duration) -> Result<f64, Box<dyn Error>> {
        let clients = self.clients(width).await?;
        per_second(width, time, |n, stop, done| {
            let client = Arc::clone(&clients[n]);
            async move {
                let insert = client.prepare("INSERT INTO floor.ins (data) VALUES ($1)").await?;
                while Instant::now() < stop {
                    client.execute(&insert, &[&payload(n)]).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Shared>(())
            }
        })
        .await
    }

    /// Five-step runs as seven commits: start, five steps, end. Counts steps.
    pub async fn flow_steps(&self, width: usize, time: Duration) -> Result<f64, Box<dyn Error>> {
        let clients = self.clients(width).await?;
        per_second(width, time, |n, stop, done| {
            let client = Arc::clone(&clients[n]);
            let runs = Arc::clone(&self.runs);
            async move {
                let start = client.prepare("INSERT INTO floor.runs (id, name, status, input) VALUES ($1, 'wf', 'running', $2)").await?;
                let step = client.prepare("INSERT INTO floor.steps (run_id, seq, output) VALUES ($1, $2, $3)").await?;
                let end = client
                    .prepare("UPDATE floor.runs SET status = 'completed', output = $2, updated_at = now() WHERE id = $1")
                    .await?;
                while Instant::now() < stop {
                    let id = format!("run-{}", runs.fetch_add(1, Ordering::Relaxed));
                    client.execute(&start, &[&id, &payload(n)]).await?;
                    for seq in 0..5_i32 {
                        client.execute(&step, &[&id, &seq, &json!({"ok": seq})]).await?;
                    }
                    client.execute(&end, &[&id, &json!({"ok": true})]).await?;
                    done.fetch_add(5, Ordering::Relaxed);
                }
                Ok::<_, Shared>(())
            }
        })
        .await
    }

    /// Multi-row inserts of [`PUSH_BATCH`] messages, one client.
    pub async fn push(&self, time: Duration) -> Result<f64, Box<dyn Error>> {
        let client = Arc::new(self.client().await?);
        client.batch_execute("TRUNCATE floor.q").await?;
        per_second(1, time, |_, stop, done| {
            let client = Arc::clone(&client);
            async move {
                let insert =
                    client.prepare("INSERT INTO floor.q (data) SELECT * FROM unnest($1::jsonb[])").await?;
                while Instant::now() < stop {
                    let batch: Vec<Value> = (0..PUSH_BATCH).map(payload).collect();
                    client.execute(&insert, &[&batch]).await?;
                    done.fetch_add(PUSH_BATCH as u64, Ordering::Relaxed);
                }
                Ok::<_, Shared>(())
            }
        })
        .await
    }

    /// Claim, then complete, in batches, two commits a batch.
    pub async fn drain(&self, time: Duration) -> Result<f64, Box<dyn Error>> {
        let clients = self.clients(CONSUMERS).await?;
        let rows = 200_000;
        clients[0]
            .batch_execute(&format!(
                "TRUNCATE floor.q; INSERT INTO floor.q (data) SELECT jsonb_build_object('n', g, 'to', 'user@example.com')
                 FROM generate_series(1, {rows}) g; ANALYZE floor.q; CHECKPOINT"
            ))
            .await?;
        per_second(CONSUMERS, time, |n, stop, done| {
            let client = Arc::clone(&clients[n]);
            async move {
                let claim = client
                    .prepare(
                        "UPDATE floor.q SET state = 1, locked_at = now() WHERE id = ANY (ARRAY(SELECT id FROM floor.q
                         WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT $1)) RETURNING id, data",
                    )
                    .await?;
                let complete = client.prepare("DELETE FROM floor.q WHERE id = ANY ($1) AND state = 1").await?;
                while Instant::now() < stop {
                    let batch = i64::try_from(CLAIM_BATCH)?;
                    let ids: Vec<i64> = client.query(&claim, &[&batch]).await?.iter().map(|row| row.get(0)).collect();
                    if ids.is_empty() {
                        break;
                    }
                    done.fetch_add(client.execute(&complete, &[&ids]).await?, Ordering::Relaxed);
                }
                Ok::<_, Shared>(())
            }
        })
        .await
    }
}

pub fn payload(n: usize) -> Value {
    json!({"n": n, "to": "user@example.com"})
}

//! The floors: the least SQL that does the same durable work, one prepared statement and one commit at a time.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use mainspring_pg::Settings;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls};

use super::{
    cpu::Meter,
    load::{Load, Rate},
};

const TABLES: &str = "
DROP SCHEMA IF EXISTS floor CASCADE; CREATE SCHEMA floor;
CREATE TABLE floor.ins (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data jsonb NOT NULL);
CREATE TABLE floor.runs (id text PRIMARY KEY, name text NOT NULL, status text NOT NULL, input jsonb, output jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE floor.steps (run_id text NOT NULL, seq int NOT NULL, output jsonb, at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run_id, seq));
CREATE TABLE floor.q (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint NOT NULL DEFAULT 0,
  data jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), locked_at timestamptz);
CREATE TABLE floor.checkpoints (id int PRIMARY KEY, position bigint NOT NULL);
CREATE TABLE floor.log (stream text NOT NULL, position bigint NOT NULL, data jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (stream, position));
CREATE TABLE floor.outputs (name text PRIMARY KEY, chunks bigint NOT NULL);
CREATE TABLE floor.chunks (stream text NOT NULL, index bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (stream, index));
CREATE TABLE floor.documents (id text PRIMARY KEY, data jsonb NOT NULL);
CREATE INDEX q_ready ON floor.q (id) WHERE state = 0;";

/// Plain connections beside ours.
pub struct Floor {
    /// Where the server is.
    pub url: String,
    /// Of the server of both sides.
    pub meter: Meter,
    runs: Arc<AtomicU64>,
}

type Shared = Box<dyn Error + Send + Sync>;

impl Floor {
    pub async fn new(url: &str) -> Result<Self, Box<dyn Error>> {
        Settings::parse(url)?;
        let client = connect(url).await?;
        client.batch_execute(TABLES).await?;
        client.batch_execute(super::floor_events::TABLES).await?;
        client.batch_execute(super::broker::TABLES).await?;
        Ok(Self { url: url.to_owned(), meter: Meter::new(&client).await?, runs: Arc::default() })
    }

    /// A number for names that are used once.
    pub fn next_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        connect(&self.url).await
    }

    pub async fn clients(&self, n: usize) -> Result<Vec<Arc<Client>>, tokio_postgres::Error> {
        let mut clients = Vec::new();
        for _ in 0..n {
            clients.push(Arc::new(self.client().await?));
        }
        Ok(clients)
    }

    /// A client that listens, and what it hears.
    pub async fn listener(
        &self,
        channel: &str,
    ) -> Result<(Client, mpsc::UnboundedReceiver<()>), tokio_postgres::Error> {
        let (client, mut wire) = tokio_postgres::connect(&self.url, NoTls).await?;
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|context| wire.poll_message(context)).await {
                if matches!(message, tokio_postgres::AsyncMessage::Notification(_)) {
                    tell.send(()).ok();
                }
            }
        });
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        Ok((client, heard))
    }

    /// Single-row inserts, each its own commit.
    pub async fn inserts(&self, width: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
        let clients = self.clients(width).await?;
        load.run(width, |n, stop, done| {
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
    pub async fn flow_steps(&self, width: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
        let clients = self.clients(width).await?;
        load.run(width, |n, stop, done| {
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
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub fn payload(n: usize) -> Value {
    json!({"n": n, "to": "user@example.com"})
}

//! `broker.route`, `broker.orchestrate`, `memory.write`, `memory.lock`: events through handlers, and machine memory.
//!
//! The floors write the same rows by hand: a message that is pushed, taken off and answered with the next one beside a receipt, the
//! state of a process and what it did, a lock. Each round trip is one commit. Nobody looks for work there: it is known.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use mainspring::{
    PgStores, QueueOptions,
    broker::{
        Broker, CloudEvent, Contract, Draft, HandlerError, HandlerOptions, Machine, MachineMemory, Metadata,
        Next, Orchestrator, Schema, Service, Terms,
    },
};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_postgres::Client;

use super::{
    floor::payload,
    load::{Load, Rate},
};

/// Chains of events under way at the same time.
const WIDTH: usize = 256;
/// Connections of the floors, and writers of memory.
pub const CLIENTS: usize = 64;

/// Dispatched, handled, heard.
const HOPS: u64 = 3;

type Shared = Box<dyn Error + Send + Sync>;

/// Who waits for which event's answer.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>);

impl Waiting {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer_to(&self, broker: &Broker, event: CloudEvent) -> Result<(), Shared> {
        let (tell, told) = oneshot::channel();
        self.table().insert(event.id().to_owned(), tell);
        broker.dispatch(event).await?;
        Ok(told.await?)
    }
}

fn contract(accepts: &str, says: &str) -> Contract {
    let terms = Terms::default().emitting(says, Schema::any());
    Contract::new(format!("#/{accepts}"), accepts).version("1.0.0", terms)
}

fn options() -> HandlerOptions {
    let queue = QueueOptions { keep_finished: Duration::ZERO, ..QueueOptions::default() };
    HandlerOptions { concurrency: WIDTH, prefetch: WIDTH, queue, ..HandlerOptions::default() }
}

struct TwoServices;

impl Machine for TwoServices {
    type State = u32;

    fn begin(&self, init: &CloudEvent) -> Result<Next<u32>, HandlerError> {
        Ok(Next::to(0).emit(Draft::new("cmd.bench.one", init.data())))
    }

    fn advance(&self, asked: u32, event: &CloudEvent) -> Result<Next<u32>, HandlerError> {
        Ok(match asked {
            0 => Next::to(1).emit(Draft::new("cmd.bench.two", event.data())),
            _ => Next::to(2).done(event.data()),
        })
    }
}

fn echo(accepts: &str, says: &'static str) -> Service {
    Service::new(contract(accepts, says), move |event, _| async move {
        Ok(vec![Draft::new(says, event.data().clone())])
    })
}

/// A broker with everything of both benches, and who waits.
async fn set_up(stores: &PgStores<'static>) -> Result<(Broker, Waiting), Box<dyn Error>> {
    let broker = Broker::builder(stores.clone()).build()?;
    let waiting = Waiting::default();
    let told = waiting.clone();
    let listener = move |event: CloudEvent| {
        if let Some(tell) = event.parent_id().and_then(|id| told.table().remove(id)) {
            let _ = tell.send(());
        }
        async { Ok(()) }
    };
    broker.on_workflow_complete("my.workflow", options(), listener).await?;
    broker.register(echo("cmd.bench.one", "evt.bench.one"), options()).await?;
    broker.register(echo("cmd.bench.two", "evt.bench.two"), options()).await?;
    let two = Orchestrator::new(orchestration()).version("1.0.0", TwoServices);
    broker.register(two, options()).await?;
    Ok((broker, waiting))
}

fn orchestration() -> Contract {
    Contract::of_orchestrator("#/two", "two")
        .version("1.0.0", Terms::default().emitting("arvo.orc.two.done", Schema::any()))
}

/// Chains of three hops, or whole orchestrations.
pub async fn events(
    stores: &PgStores<'static>,
    orchestrated: bool,
    load: Load,
) -> Result<Rate, Box<dyn Error>> {
    let (broker, waiting) = set_up(stores).await?;
    let (begins, counts) = match orchestrated {
        true => (orchestration(), 1),
        false => (contract("cmd.bench.one", "evt.bench.one"), HOPS),
    };
    let rate = load
        .run(WIDTH, |n, stop, done| {
            let (broker, waiting, begins) = (broker.clone(), waiting.clone(), begins.clone());
            async move {
                while Instant::now() < stop {
                    let event = begins.accept("1.0.0", "my.workflow")?.data(payload(n)).build()?;
                    waiting.answer_to(&broker, event).await?;
                    done.fetch_add(counts, Ordering::Relaxed);
                }
                Ok(())
            }
        })
        .await?;
    broker.stop().await?;
    Ok(rate)
}

pub const TABLES: &str = "
CREATE TABLE floor.messages (id text PRIMARY KEY, queue text NOT NULL, data jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE floor.receipts (queue text NOT NULL, key text NOT NULL, keep_until timestamptz NOT NULL, PRIMARY KEY (queue, key));
CREATE TABLE floor.states (subject text PRIMARY KEY, version int NOT NULL, status text NOT NULL, data jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE floor.locks (subject text PRIMARY KEY, token bigint NOT NULL, expires_at timestamptz NOT NULL);";

const PUSH: &str = "INSERT INTO floor.messages (id, queue, data) VALUES ($1, 'q', $2)";
const HANDLE: &str = "WITH d AS (DELETE FROM floor.messages WHERE id = $1),
  r AS (INSERT INTO floor.receipts VALUES ('q', $1, now() + interval '7 days'))
  INSERT INTO floor.messages (id, queue, data) VALUES ($2, 'q', $3)";
const HEAR: &str = "WITH d AS (DELETE FROM floor.messages WHERE id = $1)
  INSERT INTO floor.receipts VALUES ('q', $1, now() + interval '7 days')";
const BEGIN: &str = "WITH d AS (DELETE FROM floor.messages WHERE id = $1),
  r AS (INSERT INTO floor.receipts VALUES ('q', $1, now() + interval '7 days')),
  s AS (INSERT INTO floor.states (subject, version, status, data) VALUES ($4, 1, 'normal', $3)),
  l AS (INSERT INTO floor.log (stream, position, data) VALUES ($4, 1, $3), ($4, 2, $3))
  INSERT INTO floor.messages (id, queue, data) VALUES ($2, 'q', $3)";
const ADVANCE: &str = "WITH d AS (DELETE FROM floor.messages WHERE id = $1),
  r AS (INSERT INTO floor.receipts VALUES ('q', $1, now() + interval '7 days')),
  s AS (UPDATE floor.states SET version = version + 1, data = $3, updated_at = now() WHERE subject = $4),
  l AS (INSERT INTO floor.log (stream, position, data) VALUES ($4, $5, $3))
  INSERT INTO floor.messages (id, queue, data) VALUES ($2, 'q', $3)";

/// The rows of a chain, or of an orchestration, one commit for each event.
pub async fn events_floor(
    clients: Vec<Arc<Client>>,
    orchestrated: bool,
    load: Load,
) -> Result<Rate, Box<dyn Error>> {
    load.run(clients.len(), |n, stop, done| {
        let client = Arc::clone(&clients[n]);
        async move {
            let push = client.prepare(PUSH).await?;
            let handle = client.prepare(HANDLE).await?;
            let hear = client.prepare(HEAR).await?;
            let begin = client.prepare(BEGIN).await?;
            let advance = client.prepare(ADVANCE).await?;
            let mut count = 0_u64;
            while Instant::now() < stop {
                count += 1;
                // As large as the event of ours.
                let data = json!({"id": "01J0000000000000000000000", "source": "my.workflow", "specversion": "1.0",
                    "type": "cmd.bench.one", "subject": "x".repeat(216), "time": "2026-11-21T00:00:00.000000Z",
                    "datacontenttype": mainspring::broker::PROFILE, "dataschema": "#/cmd.bench.one/1.0.0",
                    "to": "cmd.bench.one", "data": payload(n)});
                let id = |step: u32| format!("{n}-{count}-{step}-{stop:?}");
                let subject = id(0);
                client.execute(&push, &[&id(1), &data]).await?;
                if orchestrated {
                    client.execute(&begin, &[&id(1), &id(2), &data, &subject]).await?;
                    client.execute(&handle, &[&id(2), &id(3), &data]).await?;
                    client.execute(&advance, &[&id(3), &id(4), &data, &subject, &3_i64]).await?;
                    client.execute(&handle, &[&id(4), &id(5), &data]).await?;
                    client.execute(&advance, &[&id(5), &id(6), &data, &subject, &4_i64]).await?;
                    client.execute(&hear, &[&id(6)]).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                } else {
                    client.execute(&handle, &[&id(1), &id(2), &data]).await?;
                    client.execute(&hear, &[&id(2)]).await?;
                    done.fetch_add(HOPS, Ordering::Relaxed);
                }
            }
            Ok(())
        }
    })
    .await
}

/// A process is written again and again; with a lock around each write when `locked`.
pub async fn memory(
    stores: &PgStores<'static>,
    locked: bool,
    run: u64,
    load: Load,
) -> Result<Rate, Box<dyn Error>> {
    let memory = MachineMemory::new(stores.clone(), Default::default())?;
    let about = Metadata { source: "bench".to_owned(), ..Metadata::default() };
    load.run(CLIENTS, |n, stop, done| {
        let (memory, about) = (memory.clone(), about.clone());
        async move {
            let subject = format!("memory-{run}-{n}");
            let data = |n: usize| match json!({"executionStatus": "normal", "data": payload(n)}) {
                serde_json::Value::Object(data) => data,
                _ => serde_json::Map::new(),
            };
            let mut revision = memory.write(&subject, data(n), None, &about).await?;
            while Instant::now() < stop {
                let lock = match locked {
                    true => Some(memory.lock(&subject).await?.ok_or("somebody else is there")?),
                    false => None,
                };
                revision = memory.write(&subject, data(n), Some(revision), &about).await?;
                if let Some(lock) = lock {
                    memory.unlock(&lock).await?;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

/// The same in one statement each.
pub async fn memory_floor(
    clients: Vec<Arc<Client>>,
    locked: bool,
    run: u64,
    load: Load,
) -> Result<Rate, Box<dyn Error>> {
    load.run(clients.len(), |n, stop, done| {
        let client = Arc::clone(&clients[n]);
        async move {
            let insert = "INSERT INTO floor.states (subject, version, status, data) VALUES ($1, 1, 'normal', $2)";
            let subject = format!("memory-{run}-{n}");
            let data = json!({"executionStatus": "normal", "data": payload(n)});
            client.execute(insert, &[&subject, &data]).await?;
            let write = client
                .prepare("UPDATE floor.states SET version = version + 1, status = 'normal', data = $2, updated_at = now()
                          WHERE subject = $1 AND version = $3 RETURNING version")
                .await?;
            let lock = client
                .prepare("INSERT INTO floor.locks AS l VALUES ($1, 1, now() + interval '2 minutes') ON CONFLICT (subject)
                          DO UPDATE SET token = l.token + 1, expires_at = excluded.expires_at WHERE l.expires_at < now()
                          RETURNING token")
                .await?;
            let unlock = client.prepare("DELETE FROM floor.locks WHERE subject = $1 AND token = $2").await?;
            let mut version = 1_i32;
            while Instant::now() < stop {
                if locked {
                    client.query_one(&lock, &[&subject]).await?;
                }
                version = client.query_one(&write, &[&subject, &data, &version]).await?.get(0);
                if locked {
                    client.execute(&unlock, &[&subject, &1_i64]).await?;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

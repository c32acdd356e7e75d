//! `world.queue`: messages to a workflow that does nothing, pushed one by one by 16 tasks and delivered through an invoker, to a
//! function of this process or to a router on a port of this machine; at most 1,000 are under way.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring::{
    BoxFuture, PgStores, World,
    world::{
        CallOptions,
        http::{
            Call, Credential, Endpoint, FunctionInvoker, Guard, HttpInvoker, HttpOptions, Invoker, Reply,
            RouterOptions, Secret, ServeOptions, serve,
        },
    },
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_postgres::Client;

use super::{
    floor::payload,
    load::{Load, Rate},
    queues::{FLOOR_CLAIM, FLOOR_COMPLETE},
};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const TASKS: usize = 16;
const UNDER_WAY: usize = 1_000;
/// Messages of one claim of the floor.
const BATCH: i64 = 1_000;
const LOOK: Duration = Duration::from_millis(2);

/// What is under way, and what was delivered.
#[derive(Clone)]
struct Road {
    room: Arc<Semaphore>,
    pushed: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
}

impl Road {
    fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(UNDER_WAY)), pushed: Arc::default(), delivered: Arc::default() }
    }

    async fn push(&self) -> Result<(), tokio::sync::AcquireError> {
        self.room.acquire().await?.forget();
        self.pushed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn deliver(&self, messages: usize) {
        self.delivered.fetch_add(messages as u64, Ordering::Relaxed);
        self.room.add_permits(messages);
    }

    fn is_empty(&self) -> bool {
        self.pushed.load(Ordering::Relaxed) == self.delivered.load(Ordering::Relaxed)
    }
}

impl Endpoint for Road {
    fn call(&self, _: Call) -> BoxFuture<'_, Reply> {
        self.deliver(1);
        Box::pin(std::future::ready(Reply::ok()))
    }
}

pub async fn ours(stores: &PgStores<'static>, http: bool, load: Load) -> Result<Rate> {
    let (road, secret) = (Road::new(), Secret::generate()?);
    let side = World::builder(stores.clone()).build()?;
    let invoker: Arc<dyn Invoker> = if http {
        let guard = Guard::secret(secret.clone());
        let router = side.router(Arc::new(road.clone()), guard, RouterOptions::default())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));
        Arc::new(HttpInvoker::new(&base, Credential::secret(secret), HttpOptions::default())?)
    } else {
        Arc::new(FunctionInvoker::new(side.endpoint(Arc::new(road.clone())), secret))
    };
    let world = World::builder(stores.clone()).invoker(invoker).concurrency(TASKS).build()?;
    world.start().await?;
    let watch = load.watch();
    let stop = Instant::now() + load.time;
    let mut tasks = JoinSet::new();
    for n in 0..TASKS {
        let (world, road) = (world.clone(), road.clone());
        tasks.spawn(async move {
            while Instant::now() < stop {
                road.push().await.map_err(|error| error.to_string())?;
                let message = json!({"runId": n});
                let pushed = world.queue("__wkf_workflow_nothing", message, CallOptions::default()).await;
                pushed.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    finish(tasks, &road).await?;
    let rate = watch.stop(road.delivered.load(Ordering::Relaxed));
    world.close().await?;
    Ok(rate)
}

/// Rows of their own inserts, claimed and deleted by the thousand by one client, and no call.
pub async fn floor(clients: Vec<Arc<Client>>, load: Load) -> Result<Rate> {
    let road = Road::new();
    let (worker, clients) = clients.split_last().ok_or("no clients")?;
    worker.batch_execute("TRUNCATE floor.q").await?;
    let (client, delivers) = (Arc::clone(worker), road.clone());
    let worker = tokio::spawn(async move {
        let claim = client.prepare(FLOOR_CLAIM).await?;
        let complete = client.prepare(FLOOR_COMPLETE).await?;
        loop {
            let rows = client.query(&claim, &[&BATCH]).await?;
            let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            if ids.is_empty() {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            rows.iter().for_each(|row| drop(row.get::<_, Value>(1)));
            client.execute(&complete, &[&ids]).await?;
            delivers.deliver(ids.len());
        }
        #[allow(unreachable_code, reason = "it names the type of the errors")]
        Ok::<(), tokio_postgres::Error>(())
    });
    let watch = load.watch();
    let stop = Instant::now() + load.time;
    let mut tasks = JoinSet::new();
    for (n, client) in clients.iter().cloned().enumerate() {
        let road = road.clone();
        tasks.spawn(async move {
            let insert = client.prepare("INSERT INTO floor.q (data) VALUES ($1)").await;
            let insert = insert.map_err(|error| error.to_string())?;
            while Instant::now() < stop {
                road.push().await.map_err(|error| error.to_string())?;
                client.execute(&insert, &[&payload(n)]).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        });
    }
    finish(tasks, &road).await?;
    let rate = watch.stop(road.delivered.load(Ordering::Relaxed));
    worker.abort();
    Ok(rate)
}

/// Until everything that was pushed is delivered.
async fn finish(mut tasks: JoinSet<Result<(), String>>, road: &Road) -> Result<()> {
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    while !road.is_empty() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

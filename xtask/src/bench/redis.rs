//! `redis.drain`, `redis.latency`, `redis.pgload`: the queue with Redis beside Postgres against the same queue with LISTEN and
//! NOTIFY. The floor is here the driver on Postgres alone.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use mainspring::{
    NewMessage, PgStoreOptions, PgStores, QueueDriver, Settlement, Verdict, Worker, deliver_fn,
    redis::{Redis, RedisOptions},
};
use mainspring_embedded::RedisServer;
use mainspring_pg::Settings;
use tokio::{sync::mpsc, time::sleep};

use super::{
    Bench, PREFIX,
    floor::payload,
    queues::{Before, Cost, Line, empty, fill, percentile, quick},
};

pub const NAMES: [&str; 3] = ["redis.drain", "redis.latency", "redis.pgload"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const QUEUE: &str = "redis";
/// Processes that wait for one queue.
const WAITING: usize = 20;
/// Between two messages of a trickle.
const TRICKLE: Duration = Duration::from_millis(20);

pub async fn run(bench: &Bench, name: &str) -> Result<()> {
    let server = RedisServer::start()?;
    empty(&bench.stores).await?;
    match name {
        "redis.drain" => drain(bench, &server).await,
        "redis.latency" => latency(bench, &server).await,
        _ => load(bench, &server).await,
    }
}

/// Stores as another process has them, with Redis or with LISTEN.
fn process(bench: &Bench, redis: Option<&RedisServer>) -> Result<PgStores<'static>> {
    let settings = Settings::parse(&bench.floor.url)?;
    let mut options = PgStoreOptions { table_prefix: PREFIX.into(), ..PgStoreOptions::default() };
    match redis {
        Some(server) => options.carrier = Some(Arc::new(Redis::new(RedisOptions::parse(server.url())?)?)),
        None => options.listen = Some(settings.clone()),
    }
    Ok(mainspring::create_pg_stores(mainspring_pg::pool(&settings, 4)?, options)?)
}

async fn drain(bench: &Bench, server: &RedisServer) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        for (redis, costs) in [(None, &mut floor), (Some(server), &mut ours)] {
            let stores = process(bench, redis)?;
            empty(&stores).await?;
            fill(&stores, QUEUE, bench.messages).await?;
            let before = Before::now(bench).await?;
            assert_eq!(quick(&stores, QUEUE).drain().await?, bench.messages as u64);
            costs.push(before.cost(bench, bench.messages).await?);
        }
    }
    let (ours, floor) = (Cost::median(&ours), Cost::median(&floor));
    let costs = Some((ours, floor));
    let unit = "messages/s; floor: Postgres alone";
    Line { bench: "redis.drain", ours: ours.rate, floor: floor.rate, unit, costs }.print(bench);
    Ok(())
}

async fn latency(bench: &Bench, server: &RedisServer) -> Result<()> {
    let mut floor = pickup(bench, None).await?;
    let mut ours = pickup(bench, Some(server)).await?;
    for (part, name) in [(0.5, "p50"), (0.99, "p99")] {
        for (from, begin) in ["before", "after"].into_iter().enumerate() {
            let (ours, floor) = (percentile(&mut ours[from], part), percentile(&mut floor[from], part));
            let name = if from == 0 {
                format!("redis.latency.{name}")
            } else {
                format!("redis.latency.idle.{name}")
            };
            let unit = format!("ms from {begin} the push to the handler elsewhere; floor: by NOTIFY");
            Line { bench: &name, ours, floor, unit: &unit, costs: None }.print(bench);
        }
    }
    Ok(())
}

/// From before the push in one process to the handler in another, and from when it was durable, in milliseconds.
async fn pickup(bench: &Bench, redis: Option<&RedisServer>) -> Result<[Vec<f64>; 2]> {
    let (here, there) = (process(bench, redis)?, process(bench, redis)?);
    let (tell, mut begun) = mpsc::unbounded_channel();
    let handler = deliver_fn(move |_, _| {
        let told = tell.send(Instant::now());
        async move {
            told.ok();
            Verdict::Settle(Settlement::Done)
        }
    });
    let worker = Worker::new(Arc::new(there.queue.clone()), Arc::new(handler)).queue(QUEUE).start()?;
    let mut took = [Vec::new(), Vec::new()];
    for n in 0..205_u64 {
        sleep(Duration::from_millis(20 + 7 * (n % 5))).await;
        let before = Instant::now();
        here.queue.push(vec![message()]).await?;
        let durable = Instant::now();
        let at = begun.recv().await.ok_or("the worker ended")?;
        if n >= 5 {
            for (took, since) in took.iter_mut().zip([before, durable]) {
                took.push(at.saturating_duration_since(since).as_secs_f64() * 1e3);
            }
        }
    }
    worker.stop().await?;
    Ok(took)
}

/// What a trickle of messages to many waiting processes costs Postgres, and what it costs when nothing comes.
async fn load(bench: &Bench, server: &RedisServer) -> Result<()> {
    let floor = trickle(bench, None).await?;
    let ours = trickle(bench, Some(server)).await?;
    let lines = [
        ("redis.pgload", ours.transactions, floor.transactions, "transactions a message, 20 processes wait"),
        ("redis.pgload.cpu", ours.server_us, floor.server_us, "us of Postgres a message, 20 processes wait"),
        ("redis.pgload.idle", ours.idle, floor.idle, "transactions/s while nothing comes, 20 processes wait"),
    ];
    for (bench_name, ours, floor, unit) in lines {
        Line { bench: bench_name, ours, floor, unit: &format!("{unit}; floor: Postgres alone"), costs: None }
            .print(bench);
    }
    Ok(())
}

struct Trickled {
    transactions: f64,
    server_us: f64,
    idle: f64,
}

async fn trickle(bench: &Bench, redis: Option<&RedisServer>) -> Result<Trickled> {
    let (done, mut dones) = mpsc::unbounded_channel();
    let mut workers = Vec::new();
    for _ in 0..WAITING {
        let stores = process(bench, redis)?;
        let done = done.clone();
        let handler = deliver_fn(move |_, _| {
            let told = done.send(());
            async move {
                told.ok();
                Verdict::Settle(Settlement::Done)
            }
        });
        workers.push(Worker::new(Arc::new(stores.queue.clone()), Arc::new(handler)).queue(QUEUE).start()?);
    }
    let pusher = process(bench, redis)?;
    sleep(Duration::from_secs(3)).await; // until they poll as seldom as they do
    let time = bench.time * 4;
    let (before, begin) = (transactions(bench).await?, Instant::now());
    sleep(time).await;
    let idle = (transactions(bench).await? - before) / begin.elapsed().as_secs_f64();

    let (before, spent, begin) = (transactions(bench).await?, bench.floor.meter.read(), Instant::now());
    let mut pushed = 0_u32;
    while begin.elapsed() < time {
        sleep(TRICKLE).await;
        pusher.queue.push(vec![message()]).await?;
        pushed += 1;
        dones.recv().await.ok_or("the workers ended")?;
    }
    let server = bench.floor.meter.read().since(&spent).server.unwrap_or_default();
    let after = transactions(bench).await?;
    for worker in &workers {
        worker.stop().await?;
    }
    let pushed = f64::from(pushed);
    Ok(Trickled {
        transactions: (after - before) / pushed,
        server_us: server.as_secs_f64() * 1e6 / pushed,
        idle,
    })
}

/// Transactions of this database so far, those that only read too. Each session says so about once in a second.
async fn transactions(bench: &Bench) -> Result<f64> {
    sleep(Duration::from_millis(1_500)).await;
    let sql = "SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()";
    Ok(bench.floor.client().await?.query_one(sql, &[]).await?.get(0))
}

fn message() -> NewMessage {
    NewMessage::new(QUEUE, "bench", payload(1))
}

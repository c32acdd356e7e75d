//! `cargo xtask bench`: ours against the floor, in one run.
//!
//! The floor of a bench is the minimal SQL for the same durable work, written by hand on plain prepared statements. Floor and
//! ours take turns, at least three rounds, and the medians are compared, so a busy machine slows both. The server is a
//! durable one of its own (fsync on) unless DATABASE_URL names another.

mod broker;
mod commit;
mod consume;
mod cpu;
mod events;
mod floor;
mod floor_events;
mod flow;
mod load;
pub mod queues;
mod redis;
mod streams;
mod workflows;
mod world;
mod world_queue;

use std::{process::ExitCode, time::Duration};

use mainspring::{PgStoreOptions, PgStores};
use mainspring_embedded::Options;
use mainspring_pg::{Migrator, Settings};

use crate::{Outcome, server};
use floor::Floor;
use load::{Load, Rate};

#[derive(clap::Args)]
pub struct Args {
    /// Only these: commit.single, commit.group, flow.steps.16, flow.steps, events.append, .batch, .hot, events.fence,
    /// events.read, events.catchup.100, .1000, events.project, world.storage, .16,
    /// broker.route, .orchestrate, memory.write, .lock,
    /// world.queue, .http, streams.write, .tail,
    /// workflow.steps, .16, .256, workflow.latency, .history, .resume, .parked,
    /// redis.drain, .latency, .pgload,
    /// and queue.push, .single, .drain, .one, .4p, .latency, .backlog, .pinned, .cpu, .many, .stuck, .wal, .lanes. The
    /// beginning of names means all of them.
    names: Vec<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Rounds of floor and ours.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Messages of a drain, and executions that are parked.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
}

/// What both sides of a bench are given.
struct Bench {
    floor: Floor,
    stores: PgStores<'static>,
    time: Duration,
    messages: usize,
    rounds: usize,
    json: bool,
}

const NAMES: [&str; 20] = [
    "commit.single",
    "commit.group",
    "flow.steps.16",
    "flow.steps",
    "events.append",
    "events.append.batch",
    "events.append.hot",
    "events.fence",
    "events.read",
    "events.catchup.100",
    "events.catchup.1000",
    "events.project",
    "world.storage",
    "world.storage.16",
    "world.queue",
    "world.queue.http",
    "broker.route",
    "broker.orchestrate",
    "memory.write",
    "memory.lock",
];

/// In front of the names of our tables.
const PREFIX: &str = "bench_";

/// Events of the stream that is read.
const LONG: usize = 10_000;

pub fn run(args: Args) -> Outcome {
    if cfg!(debug_assertions) {
        return in_release();
    }
    let known = || {
        NAMES
            .into_iter()
            .chain(streams::NAMES)
            .chain(workflows::NAMES)
            .chain(queues::NAMES)
            .chain(redis::NAMES)
    };
    if let Some(unknown) = args.names.iter().find(|name| !known().any(|known| known.starts_with(*name))) {
        let names: Vec<&str> = known().collect();
        return Err(format!("no bench `{unknown}`; there are {}", names.join(", ")).into());
    }
    let folder = std::env::temp_dir().join(format!("mainspring-bench-{}", std::process::id()));
    let server = server::find(None, Options::durable(&folder).shared_buffers("1GB").max_connections(200))?;
    let result = crate::block_on(measure(&server.url(), &args))?;
    drop(server);
    let _ = std::fs::remove_dir_all(folder);
    result
}

/// A debug build measures the compiler; the same command again, optimized.
fn in_release() -> Outcome {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = std::process::Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "xtask", "--locked", "--"])
        .args(std::env::args_os().skip(1))
        .current_dir(crate::root())
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(url: &str, args: &Args) -> Outcome {
    let options = PgStoreOptions { table_prefix: PREFIX.into(), ..PgStoreOptions::default() };
    Migrator::new(Settings::parse(url)?, options.names()?).run(mainspring_pg::Mode::DangerouslyForce).await?;
    let bench = Bench {
        floor: Floor::new(url).await?,
        stores: PgStores::connect(url, options)?,
        time: Duration::from_secs_f64(args.seconds),
        messages: args.messages.max(1_000),
        rounds: args.rounds.max(1),
        json: args.json,
    };
    let wanted = |name: &&str| args.names.is_empty() || args.names.iter().any(|n| name.starts_with(n));
    for name in NAMES.into_iter().filter(wanted) {
        let mut floor = Vec::new();
        let mut ours = Vec::new();
        for _ in 0..args.rounds.max(1) {
            floor.push(bench.floor_of(name).await?);
            ours.push(bench.ours_of(name).await?);
        }
        print(name, Rate::median(&ours), Rate::median(&floor), args.json);
    }
    for name in streams::NAMES.into_iter().filter(wanted) {
        streams::run(&bench, name).await?;
    }
    for name in workflows::NAMES.into_iter().filter(wanted) {
        workflows::run(&bench, name).await?;
    }
    for name in queues::NAMES.into_iter().filter(wanted) {
        queues::run(&bench, name).await?;
    }
    for name in redis::NAMES.into_iter().filter(wanted) {
        redis::run(&bench, name).await?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Bench {
    fn load(&self) -> Load {
        Load { meter: self.floor.meter, time: self.time }
    }

    /// Stores as another process has them.
    fn elsewhere(&self, listens: bool) -> Result<PgStores<'static>, Box<dyn std::error::Error>> {
        let settings = Settings::parse(&self.floor.url)?;
        let listen = listens.then(|| settings.clone());
        let options = PgStoreOptions { table_prefix: PREFIX.into(), listen, ..PgStoreOptions::default() };
        Ok(mainspring::create_pg_stores(mainspring_pg::pool(&settings, 4)?, options)?)
    }

    async fn floor_of(&self, name: &str) -> Result<Rate, Box<dyn std::error::Error>> {
        match name {
            "commit.single" => self.floor.inserts(1, self.load()).await,
            "commit.group" => self.floor.inserts(64, self.load()).await,
            "flow.steps.16" => self.floor.flow_steps(16, self.load()).await,
            "flow.steps" => self.floor.flow_steps(64, self.load()).await,
            "events.append" => self.floor.append(16, 1, self.load()).await,
            "events.append.batch" => self.floor.append(4, 100, self.load()).await,
            "events.append.hot" => self.floor.append_hot(16, self.load()).await,
            "events.fence" => events::append_unfenced(&self.floor, &self.stores, self.load()).await,
            "events.catchup.100" => self.catch_up_floor(100).await,
            "events.catchup.1000" => self.catch_up_floor(1_000).await,
            "events.project" => {
                consume::project_floor(self.floor.clients(consume::CLIENTS).await?, self.load()).await
            }
            "world.storage" => world::storage_floor(self.floor.clients(64).await?, self.load()).await,
            "world.storage.16" => world::storage_floor(self.floor.clients(16).await?, self.load()).await,
            "world.queue" | "world.queue.http" => {
                world_queue::floor(self.floor.clients(17).await?, self.load()).await
            }
            "broker.route" => self.broker_floor(false).await,
            "broker.orchestrate" => self.broker_floor(true).await,
            "memory.write" => self.memory_floor(false).await,
            "memory.lock" => self.memory_floor(true).await,
            _ => self.floor.read(LONG, self.load()).await,
        }
    }

    async fn broker_floor(&self, orchestrated: bool) -> Result<Rate, Box<dyn std::error::Error>> {
        broker::events_floor(self.floor.clients(broker::CLIENTS).await?, orchestrated, self.load()).await
    }

    async fn memory_floor(&self, locked: bool) -> Result<Rate, Box<dyn std::error::Error>> {
        let clients = self.floor.clients(broker::CLIENTS).await?;
        broker::memory_floor(clients, locked, self.floor.next_run(), self.load()).await
    }

    async fn catch_up_floor(&self, batch: usize) -> Result<Rate, Box<dyn std::error::Error>> {
        let clients = self.floor.clients(1).await?;
        consume::catch_up_floor(&self.stores, &clients[0], batch, self.load()).await
    }

    async fn ours_of(&self, name: &str) -> Result<Rate, Box<dyn std::error::Error>> {
        match name {
            "commit.single" => commit::changes(&self.stores, 1, self.load()).await,
            "commit.group" => commit::changes(&self.stores, 64, self.load()).await,
            "flow.steps.16" => flow::steps(&self.stores, 16, self.load()).await,
            "flow.steps" => flow::steps(&self.stores, 64, self.load()).await,
            "events.append" => events::append(&self.stores, 16, 1, self.load()).await,
            "events.append.batch" | "events.fence" => events::append(&self.stores, 4, 100, self.load()).await,
            "events.append.hot" => events::hot(&self.stores, 16, self.load()).await,
            "events.catchup.100" => consume::catch_up(&self.stores, 100, self.load()).await,
            "events.catchup.1000" => consume::catch_up(&self.stores, 1_000, self.load()).await,
            "events.project" => consume::project(&self.stores, self.load()).await,
            "world.storage" => world::storage(&self.stores, 64, self.load()).await,
            "world.storage.16" => world::storage(&self.stores, 16, self.load()).await,
            "world.queue" => world_queue::ours(&self.stores, false, self.load()).await,
            "world.queue.http" => world_queue::ours(&self.stores, true, self.load()).await,
            "broker.route" => broker::events(&self.stores, false, self.load()).await,
            "broker.orchestrate" => broker::events(&self.stores, true, self.load()).await,
            "memory.write" => broker::memory(&self.stores, false, self.floor.next_run(), self.load()).await,
            "memory.lock" => broker::memory(&self.stores, true, self.floor.next_run(), self.load()).await,
            _ => events::read(&self.stores, LONG, self.load()).await,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn print(bench: &str, ours: Rate, floor: Rate, json: bool) {
    let unit = match bench {
        "commit.single" | "commit.group" => "commits/s",
        "flow.steps" | "flow.steps.16" => "steps/s",
        "world.storage" | "world.storage.16" => "writes/s",
        "streams.write" => "chunks/s",
        "world.queue" | "world.queue.http" => "messages/s",
        "broker.orchestrate" => "orchestrations/s",
        "memory.write" => "writes/s",
        "memory.lock" => "cycles/s",
        "workflow.resume" => "executions/s",
        name if name.starts_with("workflow") => "steps/s",
        _ => "events/s",
    };
    let ratio = ours.per_second / floor.per_second;
    let cpu_ratio = floor.cpu_us() / ours.cpu_us();
    if json {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        let cost = |rate: Rate| serde_json::json!({"client_us": tenth(rate.client_us), "server_us": tenth(rate.server_us)});
        let line = serde_json::json!({"bench": bench, "ours": ours.per_second.round(),
            "floor": floor.per_second.round(), "ratio": hundredth(ratio), "unit": unit,
            "cost": {"ours": cost(ours), "floor": cost(floor)}, "cpu_ratio": hundredth(cpu_ratio)});
        println!("{line}");
    } else {
        println!(
            "{bench:<19} ours {:>9.0}   floor {:>9.0}   ratio {ratio:>5.2}   {unit}",
            ours.per_second, floor.per_second
        );
        println!(
            "{:<19} us of processor time each, client+server: ours {:.1}+{:.1}; floor {:.1}+{:.1}   ratio {cpu_ratio:>5.2}",
            "", ours.client_us, ours.server_us, floor.client_us, floor.server_us
        );
    }
}

fn hundredth(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

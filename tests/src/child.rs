//! A worker in a process of its own, seen from both sides.

use std::{env, error::Error, fs::File, io, process::Command};

use mainspring::{PgStoreOptions, Settings, Worker, create_pg_stores, pool};
use mainspring_testing::{ChildWorker, Faults, FaultyBackend, faults::VARIABLE as FAULTS};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Ledger, broker, called, chaos, durable,
    lab::{CONNECTIONS, carrier},
    order, worker,
};

const URL: &str = "CHAOS_URL";
const LEDGER: &str = "CHAOS_LEDGER";
const CONCURRENCY: &str = "CHAOS_CONCURRENCY";
const MAX_LOST: &str = "CHAOS_MAX_LOST";
const QUEUE: &str = "CHAOS_QUEUE";
const DURABLE: &str = "CHAOS_DURABLE";
const CALLED: &str = "CHAOS_CALLED";
const BROKER: &str = "CHAOS_BROKER";
const REDIS: &str = "CHAOS_REDIS";
const FILES: &str = "CHAOS_FILES";

/// How many files a starved child may have open, most of which it only holds.
const ALLOWED: &str = "64";

/// What a child is to be like; see [`Lab::child`](crate::Lab::child).
#[must_use = "nothing runs until it is spawned"]
#[derive(Debug)]
pub struct ChildPlan(Command);

impl ChildPlan {
    pub(crate) fn new(program: &str, url: &str, ledger: &Ledger, redis: Option<&str>) -> Self {
        let mut command = Command::new(program);
        command
            .env(URL, url)
            .env(LEDGER, ledger.path())
            .env(REDIS, redis.unwrap_or_default())
            .env_remove(FAULTS)
            .env_remove(QUEUE)
            .env_remove(DURABLE)
            .env_remove(CALLED)
            .env_remove(BROKER)
            .env_remove(FILES);
        Self(command)
    }

    /// Where it breaks, as [`Faults::parse`] reads it.
    pub fn faults(mut self, faults: &str) -> Self {
        self.0.env(FAULTS, faults);
        self
    }

    /// Deliveries in flight at once. Defaults to 1, so that it is known which one is hit.
    pub fn concurrency(mut self, deliveries: usize) -> Self {
        self.0.env(CONCURRENCY, deliveries.to_string());
        self
    }

    /// It works on the queue of the chaos run instead of running flows.
    pub fn queue(mut self) -> Self {
        self.0.env(QUEUE, "1");
        self
    }

    /// It runs durable functions instead of flows.
    pub fn durable(mut self) -> Self {
        self.0.env(DURABLE, "1");
        self
    }

    /// It is the worker and the application of a world whose code is called.
    pub fn called(mut self, kind: called::Kind) -> Self {
        self.0.env(CALLED, kind.as_text());
        self
    }

    /// It serves the handlers of a broker instead of running flows.
    pub fn broker(mut self) -> Self {
        self.0.env(BROKER, "1");
        self
    }

    /// It can open so many files only, its connections among them, and logs what does not work into this one.
    pub fn starved(mut self, files: usize, log: &str) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "ulimit -n \"$0\" && exec \"$1\" 2> \"$2\"", ALLOWED]);
        shell.arg(self.0.get_program()).arg(log).env("RUST_LOG", "mainspring=debug");
        self.0.env(FILES, files.to_string());
        for (name, value) in self.0.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        self.0 = shell;
        self
    }

    /// How many workers one message may cost.
    pub fn max_lost(mut self, workers: u32) -> Self {
        self.0.env(MAX_LOST, workers.to_string());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the program cannot be run.
    pub fn spawn(&mut self) -> ChildWorker {
        ChildWorker::spawn(&mut self.0).expect("the child runs")
    }
}

/// What the child does: works until it is asked to end.
///
/// # Errors
/// Those of its surroundings: there is no database at that address, or the ledger cannot be written.
pub async fn work() -> Result<(), Box<dyn Error>> {
    let settings = Settings::parse(&env::var(URL)?)?;
    let redis = env::var(REDIS).ok().filter(|redis| !redis.is_empty());
    let carrier = redis.as_deref().map(carrier);
    let options = PgStoreOptions { listen: Some(settings.clone()), carrier, ..PgStoreOptions::default() };
    let stores = create_pg_stores(pool(&settings, CONNECTIONS)?, options)?;
    let ledger = Ledger::open(env::var(LEDGER)?)?;
    let _held = number(FILES)?.map(hold_all_files_but).transpose()?;
    let faults = Faults::from_env()?;
    let backend = FaultyBackend::new(stores, faults.clone());
    if env::var_os(BROKER).is_some() {
        let broker = broker::broker(backend);
        broker::serve(&broker, number(CONCURRENCY)?.unwrap_or(1)).await?;
        ready()?.await;
        return Ok(broker.stop().await?);
    }
    if env::var_os(QUEUE).is_some() {
        let concurrency = number(CONCURRENCY)?.unwrap_or(1);
        return until_asked(chaos::worker(backend.driver(), &ledger, &faults, concurrency)).await;
    }
    if let Ok(kind) = env::var(CALLED) {
        let world = called::world(backend, kind.parse()?, &ledger, &faults).await;
        let stop = ready()?;
        world.start().await?;
        stop.await;
        return Ok(world.close().await?);
    }
    let engine = match env::var_os(DURABLE) {
        Some(_) => durable::builder(backend, &ledger, &faults).build()?,
        None => order::builder(backend, &ledger, &faults).build()?,
    };
    let mut worker = worker(&engine).concurrency(number(CONCURRENCY)?.unwrap_or(1));
    if let Some(workers) = number(MAX_LOST)? {
        worker = worker.max_lost(u32::try_from(workers)?);
    }
    until_asked(worker).await
}

#[allow(clippy::print_stdout, reason = "a parent process waits for these lines")]
async fn until_asked(worker: Worker) -> Result<(), Box<dyn Error>> {
    worker.run_until(ready()?).await?;
    println!("stopped");
    Ok(())
}

/// Says so; when it is asked to end.
#[allow(clippy::print_stdout, reason = "a parent process waits for this line")]
pub(crate) fn ready() -> Result<impl Future<Output = ()> + Send + 'static, Box<dyn Error>> {
    die_with(std::os::unix::process::parent_id());
    let mut terminated = signal(SignalKind::terminate())?;
    println!("ready");
    Ok(async move {
        terminated.recv().await;
    })
}

/// Opens files until there are no more, and closes so many of them: how many it inherited differs by machine.
fn hold_all_files_but(left: usize) -> io::Result<Vec<File>> {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    let keep =
        held.len().checked_sub(left).ok_or_else(|| io::Error::other("there are fewer files than that"))?;
    held.truncate(keep);
    Ok(held)
}

fn number(variable: &str) -> Result<Option<usize>, Box<dyn Error>> {
    Ok(env::var(variable).ok().map(|text| text.parse()).transpose()?)
}

/// A child whose parent was killed would work for ever.
fn die_with(parent: u32) {
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(crate::LEASE);
        }
        std::process::exit(1);
    });
}

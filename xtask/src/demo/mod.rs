//! `cargo xtask demo`: orders go through a durable flow on two worker processes, one of them is killed on the way, and every
//! order ends as it should.
//!
//! ```text
//! orders ──► executions ──► worker 1, worker 2 (processes) ──► SIGKILL worker 2 ──► worker 1 takes over ──► the verdict
//!                                    │                                                                    of the log
//!                                    └── approvals (queue) ──► the approver, here ──► resume
//! ```

mod approve;
mod handlers;
mod orders;
mod progress;
mod ship;
mod table;
mod timeline;
mod verdict;
mod watch;
mod worker;

use std::{
    error::Error,
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use mainspring::{Backend, Engine, Flow, Migrator, PgStoreOptions, PgStores, Settings, WorkerId};
use mainspring_embedded::{Options, Server};
use tracing_subscriber::EnvFilter;

use crate::{Outcome, server};
use orders::Order;
use progress::Progress;
use watch::Watch;
use worker::{CONCURRENCY, LEASE, Process};

pub use worker::{WorkerArgs, run_worker};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The queue of the approver.
const APPROVALS: &str = "approvals";
/// Creates under way at the same time.
const CREATES: usize = 64;

#[derive(clap::Args)]
pub struct Args {
    /// A flow, or a list of flows of which the first is started. Its handlers: the built-in ones and order.validate,
    /// order.reserve, order.charge, order.request-approval, order.ship, order.fail. Defaults to examples/order/flow.json.
    #[arg(long, value_name = "FILE")]
    flow: Option<PathBuf>,
    /// A JSON object a line, each the context of one execution. `id` is its idempotency key, `expect` how it is to end
    /// ("completed", "failed:CODE"), `approve` what the approver says. Defaults to examples/order/orders.jsonl.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Only the first N lines of the input.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    orders: Option<u32>,
    /// The database: postgres://… or key=value. Defaults to DATABASE_URL, else a throwaway server.
    #[arg(long)]
    url: Option<String>,
    /// In front of every table's name. Defaults to ms_demo_ on a throwaway server, else to one that nobody has used.
    #[arg(long)]
    prefix: Option<String>,
    /// Give up when nothing has moved for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

pub fn run(args: Args) -> Outcome {
    trace();
    let example = |name: &str| crate::root().join("examples/order").join(name);
    let flow_file = args.flow.clone().unwrap_or_else(|| example("flow.json"));
    let flows = orders::read_flows(&flow_file, &handlers::known()?)?;
    let limit = args.orders.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let orders = orders::read_orders(&args.input.clone().unwrap_or_else(|| example("orders.jsonl")), limit)?;
    let others: Vec<&str> = flows.iter().skip(1).map(|flow| flow.id.as_str()).collect();
    let others = if others.is_empty() { String::new() } else { format!(" (with {})", others.join(", ")) };
    if let Some(flow) = flows.first() {
        let file = flow_file.strip_prefix(crate::root()).unwrap_or(&flow_file).display();
        say(format_args!("flow: {} {}{others} of {file}", flow.id, flow.version));
    }
    let server = server::find(args.url.as_deref(), Options::throwaway())?;
    crate::block_on(async {
        tokio::select! {
            done = play(&args, &server, flows, &orders) => done,
            _ = tokio::signal::ctrl_c() => {
                tokio::time::sleep(Duration::from_millis(50)).await; // for the runtime to reap the workers
                eprintln!("interrupted: the workers are killed, the orders stand where their last commits left them");
                Ok(ExitCode::from(130))
            }
        }
    })?
}

async fn play(args: &Args, server: &Server, flows: Vec<Flow>, orders: &[Order]) -> Outcome {
    let (url, prefix) = (server.url(), prefix(args, server));
    let options = options(&prefix);
    Migrator::new(Settings::parse(&url)?, options.names()?).up().await?;
    if server.cluster().is_none() {
        say(format_args!("tables: public.{prefix}*, which stay there"));
    }
    let stores = PgStores::connect(&url, options)?;
    let Some(flow) = flows.first().map(|flow| (flow.id.clone(), flow.version.clone())) else {
        return Err("there is no flow to start".into());
    };
    let engine = engine(&stores, flows)?;
    engine.publish().await?;

    let ids = create(&engine, &stores, &flow, orders).await?;
    let approver = approve::start(&engine, &stores, orders)?;
    let progress = Progress::new(ids.len() as u64);
    let spawn = |number| Process::spawn(number, &url, &prefix, progress.beside());
    let (one, two) = tokio::try_join!(spawn(1), spawn(2))?;
    progress.tell(format_args!(
        "workers: processes {} and {}, {CONCURRENCY} deliveries at a time each, leases of {} s",
        one.pid,
        two.pid,
        LEASE.as_secs()
    ));
    let watch = Watch::new(&stores, &ids, vec![one, two], progress, Duration::from_secs(args.patience));
    let watched = watch.until_all_ended().await?;
    approver.stop().await?;

    let verdict = verdict::Verdict::read(&stores, orders, &ids, &watched).await?;
    say(format_args!("\n{}", table::summary(&verdict, &watched)));
    if let Some(timeline) = timeline::of_the_most_eventful(&stores, &verdict, &ids).await? {
        say(format_args!("\n{timeline}"));
    }
    Ok(verdict.report())
}

/// One execution for each order; their ids, in the same order.
async fn create(
    engine: &Engine,
    stores: &PgStores<'static>,
    (flow, version): &(String, String),
    orders: &[Order],
) -> Result<Vec<String>> {
    let begin = Instant::now();
    let create = |order: &Order| {
        let context = order.context.clone();
        engine.create(flow, context).version(version).idempotency_key(&order.id).into_future()
    };
    let creates: Vec<_> = orders.iter().map(create).collect();
    let created: Vec<_> = stream::iter(creates).buffered(CREATES).try_collect().await?;
    let took = begin.elapsed();
    let ids: Vec<String> = created.iter().map(|created| created.execution.id.to_string()).collect();
    let new: Vec<&str> = created
        .iter()
        .filter(|created| created.created)
        .map(|created| created.execution.id.as_str())
        .collect();
    let known = ids.len() - new.len();
    let transactions: i64 = stores.db().one(TRANSACTIONS, &[&new]).await?.try_get(0)?;
    say(format_args!(
        "orders: {} created in {:.2} s by {transactions} transactions, each once by its id{}",
        new.len(),
        took.as_secs_f64(),
        if known > 0 { format!("; {known} were there already") } else { String::new() }
    ));
    Ok(ids)
}

const TRANSACTIONS: &str = "SELECT count(DISTINCT xmin::text) FROM {executions} WHERE id = ANY($1)";

/// The engine of the parent and of the workers: the same handlers everywhere.
fn engine(stores: &PgStores<'static>, flows: Vec<Flow>) -> mainspring::Result<Engine> {
    let backend: Arc<dyn Backend> = Arc::new(stores.clone());
    let builder = handlers::register(Engine::builder(backend));
    flows.into_iter().fold(builder, mainspring::EngineBuilder::flow).build()
}

fn options(prefix: &str) -> PgStoreOptions {
    PgStoreOptions { table_prefix: prefix.to_owned(), ..PgStoreOptions::default() }
}

/// Nothing of an earlier run is in the way on a server that was there before us.
fn prefix(args: &Args, server: &Server) -> String {
    match (&args.prefix, server.cluster()) {
        (Some(prefix), _) => prefix.clone(),
        (None, Some(_)) => "ms_demo_".to_owned(),
        (None, None) => {
            let random = WorkerId::generate().to_string().to_lowercase();
            format!("demo_{}_", &random[random.len() - 6..])
        }
    }
}

/// A line of the story. A reader who has gone away is no problem.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn trace() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init();
}

//! A process that kills itself in the middle of a workflow and is started again: `cargo run -p mainspring --example crash_me`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    env,
    process::{Command, ExitStatus},
    time::Duration,
};

use mainspring::{Cx, CxTx, Engine, PgStoreOptions, PgStores, TxError, Workflow, WorkflowResult};
use mainspring_testing::TestDb;

pub(crate) const COUNT: Workflow<i32, i32, String> = Workflow::new("count");
pub(crate) const TABLE: &str = "CREATE TABLE noted (n int NOT NULL, process int NOT NULL)";
/// In the environment of a worker: where its database is.
const URL: &str = "CRASH_ME_URL";
/// In the environment of a worker: the step in which it kills itself.
const CRASH: &str = "CRASH_ME_AT";

pub(crate) async fn count(cx: Cx, steps: i32) -> WorkflowResult<i32, String> {
    let crash_at = env::var(CRASH).ok().and_then(|step| step.parse::<i32>().ok());
    let mut sum = 0;
    for n in 1..=steps {
        let note = async |db: &mainspring::Db<'_>| {
            db.exec("INSERT INTO noted VALUES ($1, $2)", &[&n, &(std::process::id() as i32)]).await?;
            if crash_at == Some(n) {
                std::process::abort(); // with the row written and not committed
            }
            Ok::<_, TxError<String>>(n)
        };
        sum += cx.tx("note", note).await?;
    }
    Ok(sum)
}

fn engine(url: &str) -> Result<Engine, mainspring::Error> {
    Engine::builder(PgStores::connect(url, PgStoreOptions::default())?).register(COUNT, count).build()
}

/// Runs this program again as a worker, until it has nothing left to do or is dead.
fn worker(url: &str, crash_at: i32) -> std::io::Result<ExitStatus> {
    Command::new(env::current_exe()?).env(URL, url).env(CRASH, crash_at.to_string()).status()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(url) = env::var(URL) {
        let engine = engine(&url)?;
        let soon = Duration::from_secs(1);
        let worker = engine.worker().lease(soon).poll_interval(soon / 10).maintenance_interval(soon / 10);
        let handle = engine.workflow(COUNT, "count-1".try_into()?);
        worker.run_until(async { drop(handle.result().await) }).await?;
        return Ok(());
    }
    let db = TestDb::new().await; // in production: a database of your own, migrated with `mainspring migrate up`
    let client = db.client().await;
    client.batch_execute(TABLE).await?;
    let engine = engine(db.url())?;
    let handle = engine.start(COUNT, &10).id("count-1").await?;

    assert!(!worker(db.url(), 4)?.success(), "killed in step 4");
    assert!(!worker(db.url(), 8)?.success(), "killed in step 8");
    assert!(worker(db.url(), 0)?.success());

    assert_eq!(handle.result().await?, 55);
    let rows = client.query("SELECT n, process FROM noted ORDER BY n", &[]).await?;
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), (1..=10).collect::<Vec<_>>());
    let mut processes: Vec<i32> = rows.iter().map(|row| row.get(1)).collect();
    processes.dedup();
    assert_eq!(processes.len(), 3, "each process did its part");
    println!("ten steps, three processes, every step once");
    Ok(())
}

//! Histories of the examples, recorded anew: each example is run on Postgres, and what it left is exported.

use std::{error::Error, sync::Arc, time::Duration};

use mainspring::{
    Engine, ExecutionId, ExecutionStatus, ExportedHistory, PgStoreOptions, PgStores, WorkflowHandle,
};
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::{sync::mpsc::unbounded_channel, time::sleep};

use super::examples::{approval, checkout, children, crash_me, engine, fan_out, polling, reminder, transfer};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The names of the histories that are recorded, each that of an execution too.
pub const NAMES: [&str; 12] = [
    "approval-given",
    "approval-late",
    "checkout-declined",
    "checkout-paid",
    "children",
    "crash-me",
    "fan-out",
    "polling",
    "reminder-bought",
    "reminder-waiting",
    "transfer-done",
    "transfer-refused",
];

/// All of them, as they are with the code as it is now, and one of a child.
pub async fn record() -> Result<Vec<(String, ExportedHistory)>> {
    let db = TestDb::new().await;
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let client = db.client().await;
    client.batch_execute(transfer::TABLE).await?;
    client.batch_execute(crash_me::TABLE).await?;
    let (mail, mut letters) = unbounded_channel();
    let engine = engine(stores, Arc::new(mail))?;
    let worker = engine.worker().poll_interval(Duration::from_millis(20)).start()?;

    let expense = |what: &str, deadline| approval::Expense { what: what.to_owned(), deadline };
    let lunch = expense("lunch", Duration::from_secs(7 * 24 * 3600));
    let lunch = engine.start(approval::EXPENSE, &lunch).id("approval-given").await?;
    let token = letters.recv().await.ok_or("no letter")?;
    parked(&lunch).await?;
    engine.resume(&token, json!({"approved": true, "by": "Ada"})).await?;
    let yacht = expense("yacht", Duration::from_millis(50));
    engine.start(approval::EXPENSE, &yacht).id("approval-late").await?;

    for (id, item, cents) in [("checkout-paid", "pencil", 150), ("checkout-declined", "piano", 1_000_000)] {
        let order = checkout::Order { item: item.to_owned(), cents };
        engine.start(checkout::CHECKOUT, &order).id(id).await?;
    }
    let items = ["pens", "air"].map(String::from).to_vec();
    engine.start(children::ORDER, &items).id("children").await?;
    engine.start(crash_me::COUNT, &3).id("crash-me").await?;
    engine.start(fan_out::RESIZE, &20).id("fan-out").await?;
    engine.start(polling::RENDER, &"Metropolis".to_owned()).id("polling").await?;
    let bought = engine.start(reminder::TRIAL, &"Bob".to_owned()).id("reminder-bought").await?;
    parked(&bought).await?;
    bought.signal("bought", &"the small one").await?;
    let waiting = engine.start(reminder::TRIAL, &"Ada".to_owned()).id("reminder-waiting").await?;
    parked(&waiting).await?;
    for (id, cents) in [("transfer-done", 10), ("transfer-refused", 10_000)] {
        let order = transfer::Transfer { from: 0, to: 1, cents };
        engine.start(transfer::TRANSFER, &order).id(id).await?;
    }

    let mut histories = Vec::new();
    for name in NAMES {
        let id = ExecutionId::new(name)?;
        if name != "reminder-waiting" {
            engine.run(&id).await?; // to its end, by the worker
        }
        histories.push((name.to_owned(), engine.export(&id).await?));
    }
    let child = child(&engine).await?;
    histories.push(("children-parcel".to_owned(), engine.export(&child).await?));
    worker.stop().await?;
    Ok(histories)
}

/// Waits until an execution is parked.
async fn parked<O, E>(handle: &WorkflowHandle<O, E>) -> Result<()> {
    while handle.status().await? != ExecutionStatus::Waiting {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The first child of `children`.
async fn child(engine: &Engine) -> Result<ExecutionId> {
    let parent = ExecutionId::new("children")?;
    let mut children = engine.backend().executions().find_children(&parent).await?;
    children.sort_by(|a, b| a.created_at.cmp(&b.created_at).then(a.id.as_str().cmp(b.id.as_str())));
    let packed = children.into_iter().find(|child| child.status == ExecutionStatus::Completed);
    Ok(packed.ok_or("no child is done")?.id)
}

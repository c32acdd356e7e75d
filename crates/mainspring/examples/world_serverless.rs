//! A platform that gives a process only as long as one call takes, and starts another one for the next:
//! `cargo run -p mainspring --example world_serverless`.
//!
//! Three kinds of calls reach it: a request that starts a workflow, a timer that lets it work for so long, and a message that
//! the platform's own queue delivers. Nothing runs in between, and nothing is lost.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{sync::Arc, time::Duration};

use mainspring::{
    Cx, PgStoreOptions, PgStores, Workflow, WorkflowResult,
    world::{
        StepHandlers, World,
        http::{FunctionInvoker, MessageData, Reply, Secret},
    },
};
use mainspring_testing::TestDb;
use serde_json::json;

const REMIND: Workflow<String, String, String> = Workflow::new("remind");
const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long the platform lets a call take.
const BUDGET: Duration = Duration::from_secs(20);

async fn remind(cx: Cx, who: String) -> WorkflowResult<String, String> {
    let letter: String = cx.call("write", &who).await?;
    cx.sleep(MONTH).await; // nothing is held: no memory, no connection, no process
    Ok(cx.call("send", &letter).await?)
}

/// What a process does first: it knows nothing of those before it.
fn cold_start(url: &str) -> mainspring::Result<World> {
    let steps = StepHandlers::new()
        .step("write", |who: String, _| async move { Ok(format!("Dear {who}")) })?
        .step("send", |letter: String, _| async move { Ok(format!("sent: {letter}")) })?;
    let invoker = FunctionInvoker::new(Arc::new(steps.clone()), Secret::generate()?);
    let stores = PgStores::connect(url, PgStoreOptions::default())?;
    World::builder(stores).workflow(REMIND, remind).steps(steps).invoker(Arc::new(invoker)).build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`

    // A request: the workflow is durable, and the process may go.
    let id = cold_start(db.url())?.engine().start(REMIND, &"Ada".to_owned()).await?.id().clone();

    // The timer: it works until nothing is ready, and says whether that was all.
    assert!(cold_start(db.url())?.run_until_idle(BUDGET).await?);
    let status = cold_start(db.url())?.engine().workflow(REMIND, id.clone()).status().await?;
    assert!(!status.is_terminal(), "it sleeps");

    db.advance(MONTH).await;
    let world = cold_start(db.url())?;
    assert!(world.run_until_idle(BUDGET).await?);
    let sent = world.engine().workflow(REMIND, id).result().await?;
    assert_eq!(sent, "sent: Dear Ada");

    // A message from the platform's queue: the reply says what becomes of it.
    let message =
        |step: &str| Ok::<_, mainspring::Error>(MessageData::new(step.parse()?, json!({"input": "Bob"})));
    let reply = cold_start(db.url())?.handle_message(message("__wkf_step_write")?).await?;
    assert_eq!(reply, Reply::Ok(json!("Dear Bob")));
    let reply = cold_start(db.url())?.handle_message(message("__wkf_step_unknown")?).await?;
    assert!(matches!(reply, Reply::Failed { fatal: true, .. }), "to be put aside, not tried again");
    println!("{sent}");
    Ok(())
}

//! A workflow, its steps, its worker and a reader of what it publishes, all in one process:
//! `cargo run -p mainspring --example world_same_process`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use futures_util::TryStreamExt;
use mainspring::{
    Cx, OutputStream, PgStoreOptions, PgStores, Workflow, WorkflowResult,
    world::{StepFailure, StepHandlers, World},
};
use mainspring_testing::TestDb;

// ANCHOR: world
const BAKE: Workflow<Vec<String>, u32, String> = Workflow::new("bake");

/// The workflow says what happens; its steps are messages of their own and may be done by any worker.
async fn bake(cx: Cx, orders: Vec<String>) -> WorkflowResult<u32, String> {
    let mut minutes = 0;
    for order in orders {
        let took: u32 = cx.call("oven", &order).await?;
        cx.emit("progress", format!("{order} after {took} minutes")).await;
        minutes += took;
    }
    Ok(minutes)
}

fn steps() -> mainspring::Result<StepHandlers> {
    StepHandlers::new().step("oven", |order: String, _call| async move {
        match order.as_str() {
            "bread" => Ok(40),
            "cake" => Ok(60),
            other => Err(StepFailure::fatal(format!("nobody bakes {other}"))),
        }
    })
}
// ANCHOR_END: world

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let world = World::builder(stores).workflow(BAKE, bake).steps(steps()?).build()?;
    world.start().await?;

    let orders = ["bread", "cake"].map(String::from).to_vec();
    let handle = world.engine().start(BAKE, &orders).await?;
    // Whoever reads may come at any time: what was there comes first, then what comes, until the workflow is over.
    let progress = world.streamer().read(&OutputStream::of(handle.id(), "progress"), 0);
    let lines: Vec<String> = progress
        .map_ok(|chunk| String::from_utf8_lossy(&chunk.data).into_owned())
        .inspect_ok(|line| println!("{line}"))
        .try_collect()
        .await?;
    assert_eq!(lines, ["bread after 40 minutes", "cake after 60 minutes"]);
    assert_eq!(handle.result().await?, 100);

    let refused = world.engine().start(BAKE, &vec!["air".to_owned()]).await?.result().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("nobody bakes air")));
    world.close().await?;
    Ok(())
}

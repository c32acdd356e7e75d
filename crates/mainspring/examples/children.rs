//! A workflow whose parts are workflows of their own: `cargo run -p mainspring --example children`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use mainspring::{
    Backend, Cx, Engine, ExecutionStatus, PgStoreOptions, PgStores, StepError, Workflow, WorkflowResult, fail,
};
use mainspring_testing::TestDb;

pub(crate) const ORDER: Workflow<Vec<String>, Vec<String>, String> = Workflow::new("order");
pub(crate) const PARCEL: Workflow<String, String, String> = Workflow::new("parcel");

pub(crate) async fn order(cx: Cx, items: Vec<String>) -> WorkflowResult<Vec<String>, String> {
    let each = async |cx: Cx, item: &String| match cx.child(PARCEL, item).await {
        Ok(tracking) => Ok(tracking),
        // A child's own error is a value like that of a step.
        Err(StepError::App(why)) => Ok(why),
        Err(halted) => Err(halted.into()),
    };
    cx.map("parcel", &items, each).concurrency(4).await
}

pub(crate) async fn parcel(cx: Cx, item: String) -> WorkflowResult<String, String> {
    if item == "air" {
        return fail("air cannot be packed".to_owned());
    }
    let packed = cx.step("pack", async || Ok::<_, String>(format!("a box of {item}"))).await?;
    Ok(cx.step("ship", async || Ok::<_, String>(format!("{packed}, shipped"))).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, migrated with `mainspring migrate up`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let engine = Engine::builder(stores.clone()).register(ORDER, order).register(PARCEL, parcel).build()?;
    let worker = engine.worker().concurrency(4).start()?;
    let items = ["pens", "air", "ink"].map(String::from).to_vec();
    let handle = engine.start(ORDER, &items).id("order-1").await?;
    let sent = handle.result().await?;
    assert_eq!(sent, ["a box of pens, shipped", "air cannot be packed", "a box of ink, shipped"]);

    // Executions like any other, with a status and a history of their own.
    let children = stores.executions().find_children(handle.id()).await?;
    let failed = children.iter().filter(|child| child.status == ExecutionStatus::Failed).count();
    assert_eq!((children.len(), failed), (3, 1));
    assert!(children.iter().all(|child| child.root == *handle.id()));
    worker.stop().await?;
    println!("{}", sent.join("; "));
    Ok(())
}

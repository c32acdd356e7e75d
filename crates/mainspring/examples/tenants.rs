//! Several customers in one database, each of whom sees only what is theirs: `cargo run -p mainspring --example tenants`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use mainspring::{
    Cx, Engine, EventStore, EventStoreExt, ExecutionFilter, ExecutionStore, NewEvent, PgStoreOptions,
    Workflow, WorkflowResult, create_pg_stores,
};
use mainspring_testing::TestDb;
use serde_json::json;

const INVOICE: Workflow<u32, String, String> = Workflow::new("invoice");

async fn invoice(cx: Cx, number: u32) -> WorkflowResult<String, String> {
    Ok(cx.step("write", async || Ok::<_, String>(format!("invoice {number}"))).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default())?;
    let engine = Engine::builder(stores.clone()).register(INVOICE, invoice).build()?;

    // ANCHOR: tenants
    for tenant in ["acme", "bolt"] {
        // The same stream name and the same idempotency key in two tenants are two of each.
        stores.events.tenant(tenant).append("account-1", vec![NewEvent::new("Opened", json!({}))]).await?;
        engine.start(INVOICE, &7).tenant(tenant).await?;
    }
    // ANCHOR_END: tenants
    engine.worker().drain().await?;

    for tenant in ["acme", "bolt"] {
        let theirs = ExecutionFilter { tenant: Some(tenant.to_owned()), ..ExecutionFilter::default() };
        assert_eq!(stores.executions.list(theirs).await?.len(), 1);
        assert_eq!(stores.events.tenant(tenant).head("account-1").await?.position, 1);
    }
    assert!(!stores.events.tenant("core").head("account-1").await?.exists());

    // A tenant with very many events gets tables of its own, with the events it has.
    stores.events.create_partition("ledger").await?;
    stores.events.create_tenant("ledger", "acme").await?;
    let ledger = stores.events.in_partition("ledger").tenant("acme");
    ledger.append("2026", vec![NewEvent::new("Booked", json!({"cents": 4200}))]).await?;
    println!("two tenants, two of everything");
    Ok(())
}

//! The smallest workflow: two recorded steps and a day of sleep, in memory and in virtual time:
//! `cargo run -p mainspring --example hello`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use mainspring::{Cx, Engine, ExecutionStatus, Workflow, WorkflowResult};
use mainspring_testing::MemoryBackend;

// ANCHOR: workflow
const HELLO: Workflow<String, String, String> = Workflow::new("hello");
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn hello(cx: Cx, name: String) -> WorkflowResult<String, String> {
    let text = cx.step("compose", async || Ok::<_, String>(format!("Hello, {name}"))).await?;
    cx.sleep(DAY).await; // nothing is held meanwhile
    Ok(cx.step("shout", async || Ok::<_, String>(text.to_uppercase())).await?)
}
// ANCHOR_END: workflow

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let backend = MemoryBackend::new(); // in production: `PgStores::connect("postgres://…", PgStoreOptions::default())?`
    let engine = Engine::builder(backend.clone()).register(HELLO, hello).build()?;
    let handle = engine.start(HELLO, &"Ada".to_owned()).id("hello-ada").await?;
    engine.worker().drain().await?; // in production: `run_until(shutdown)`
    assert_eq!(handle.status().await?, ExecutionStatus::Waiting);

    backend.advance(DAY);
    engine.worker().drain().await?;
    println!("{}", handle.result().await?);
    assert_eq!(handle.result().await?, "HELLO, ADA");
    // The same id again is the same execution.
    assert!(!engine.start(HELLO, &"Ada".to_owned()).id("hello-ada").await?.was_created());
    Ok(())
}

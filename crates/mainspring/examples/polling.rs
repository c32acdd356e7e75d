//! Ask a service again and again until it is done: `cargo run -p mainspring --example polling`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use mainspring::{
    Cx, Engine, PgStoreOptions, PgStores, Workflow, WorkflowResult, exponential, fail, flow::RetryPolicy,
};
use mainspring_testing::TestDb;
use serde_json::json;

pub(crate) const RENDER: Workflow<String, String, String> = Workflow::new("render");
const MOST_LOOKS: u32 = 100;

/// A service that takes its time, and is sometimes away.
#[derive(Default)]
pub(crate) struct Renderer(AtomicU32);

impl Renderer {
    async fn submit(&self, film: &str) -> Result<String, String> {
        Ok(format!("job of {film}"))
    }

    /// How much of the job is done, in percent.
    async fn progress(&self, _job: &str) -> Result<u32, String> {
        match self.0.fetch_add(1, SeqCst) {
            1 => Err("503".to_owned()),
            call => Ok((call * 25).min(100)),
        }
    }
}

pub(crate) async fn render(cx: Cx, film: String, api: Arc<Renderer>) -> WorkflowResult<String, String> {
    let job = cx.step("submit", async || api.submit(&film).await).await?;
    let soon = RetryPolicy { backoff: Duration::from_millis(5), ..exponential(5) };
    for look in 1..=MOST_LOOKS {
        // `progress`, `progress#2`, `progress#3` …: each look is a step of its own.
        let percent = cx.step("progress", async || api.progress(&job).await).retry(soon.clone()).await?;
        cx.set_status(json!({"percent": percent, "looks": look}));
        if percent == 100 {
            return Ok(format!("{film} after {look} looks"));
        }
        cx.sleep(Duration::from_millis(20)).await; // or an hour: a parked execution holds nothing
    }
    fail("it takes too long".to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, migrated with `mainspring migrate up`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let api = Arc::new(Renderer::default());
    let theirs = Arc::clone(&api);
    let engine = Engine::builder(stores)
        .register(RENDER, move |cx, film| render(cx, film, Arc::clone(&theirs)))
        .build()?;
    let worker = engine.worker().poll_interval(Duration::from_millis(20)).start()?;
    let handle = engine.start(RENDER, &"Metropolis".to_owned()).await?;
    assert_eq!(handle.result().await?, "Metropolis after 4 looks");
    assert_eq!(handle.custom_status().await?, json!({"percent": 100, "looks": 4}));
    assert_eq!(api.0.load(SeqCst), 5, "one of the calls failed, and was made again");
    worker.stop().await?;
    println!("rendered after {} calls", api.0.load(SeqCst));
    Ok(())
}

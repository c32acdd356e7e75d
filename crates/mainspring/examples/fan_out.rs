//! A thousand items, sixteen at a time: `cargo run -p mainspring --example fan_out`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use mainspring::{Cx, Engine, PgStoreOptions, PgStores, Workflow, WorkflowResult};
use mainspring_testing::TestDb;

const ITEMS: u64 = 1_000;
const WINDOW: usize = 16;
pub(crate) const RESIZE: Workflow<u64, u64, String> = Workflow::new("resize");

/// How many items are under way, and how many were at most.
#[derive(Default)]
pub(crate) struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

pub(crate) async fn resize(cx: Cx, items: u64, load: Arc<Load>) -> WorkflowResult<u64, String> {
    let images: Vec<u64> = (1..=items).collect();
    let each = async |cx: Cx, image: &u64| {
        // Recorded as `image[17]/resize`; those that end together share a commit.
        let resize = cx.step("resize", async || {
            load.most.fetch_max(load.now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::task::yield_now().await;
            load.now.fetch_sub(1, SeqCst);
            Ok::<_, String>(2 * image)
        });
        Ok(resize.await?)
    };
    let sizes = cx.map("image", &images, each).concurrency(WINDOW).await?;
    Ok(sizes.iter().sum())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, migrated with `mainspring migrate up`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let load = Arc::new(Load::default());
    let theirs = Arc::clone(&load);
    let engine = Engine::builder(stores)
        .register(RESIZE, move |cx, items| resize(cx, items, Arc::clone(&theirs)))
        .build()?;
    let worker = engine.worker().start()?;
    let begun = Instant::now();
    let handle = engine.start(RESIZE, &ITEMS).await?;
    assert_eq!(handle.result().await?, ITEMS * (ITEMS + 1));
    worker.stop().await?;

    let most = load.most.load(SeqCst);
    assert!((2..=WINDOW).contains(&most), "{most} at the same time");
    let execution = handle.execution().await?;
    assert_eq!(u64::from(execution.step_count), ITEMS);
    println!("{ITEMS} steps, {most} at a time, {} commits, {:?}", execution.revision, begun.elapsed());
    Ok(())
}

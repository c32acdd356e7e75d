//! A worker that is told to stop: what it can finish it finishes, the rest is given back at once:
//! `cargo run -p mainspring --example graceful`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{sync::Arc, time::Duration};

use mainspring::{
    NewMessage, PgStoreOptions, QueueDriver, Settlement, Verdict, Worker, create_pg_stores, deliver_fn,
};
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default())?;
    let kinds = ["quick", "slow", "quick"];
    stores.queue.push(kinds.map(|kind| NewMessage::new("jobs", kind, json!({}))).to_vec()).await?;

    let begun = Arc::new(Notify::new());
    let slow = Arc::clone(&begun);
    let handler = deliver_fn(move |delivery, cancel| {
        let slow = Arc::clone(&slow);
        async move {
            if delivery.message.message_type == "slow" {
                slow.notify_one();
                cancel.cancelled().await; // what takes long looks at its token
                return Verdict::Abandoned; // and says nothing: another worker does it anew
            }
            Verdict::Settle(Settlement::Done)
        }
    });
    // ANCHOR: stop
    let queue: Arc<dyn QueueDriver> = Arc::new(stores.queue.clone());
    let worker =
        Worker::new(queue, Arc::new(handler)).queue("jobs").concurrency(4).grace(Duration::from_millis(200));
    let shutdown = begun.notified(); // in production: `tokio::signal::ctrl_c()`, or SIGTERM
    worker.run_until(shutdown).await?; // stops claiming, waits for `grace`, cancels, gives back
    // ANCHOR_END: stop
    let stats = stores.queue.stats("jobs").await?;
    assert_eq!(stats.claimed, 0, "nobody has to wait for a lease to run out");
    assert!(stats.ready >= 1, "the slow one is ready for the next worker");
    println!("{} of three left for the next worker", stats.ready);
    Ok(())
}

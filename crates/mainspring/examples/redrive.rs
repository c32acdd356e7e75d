//! Messages that were given up, looked at and brought back: `cargo run -p mainspring --example redrive`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mainspring::{
    Failure, NewMessage, PgStoreOptions, QueueDriver, QueueStore, Settlement, Verdict, Worker,
    create_pg_stores, deliver_fn,
    queue::{QueueOptions, Redrive},
};
use mainspring_testing::TestDb;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default())?;
    // What is given up in `mail` is copied to `mail.dead`, which is a queue like any other.
    let options = QueueOptions { dead_letter: Some("mail.dead".into()), ..QueueOptions::default() };
    stores.queue.create_queue("mail", options).await?;
    let mails = (0..3).map(|n| NewMessage::new("mail", "welcome", json!({"to": format!("user {n}")})));
    stores.queue.push(mails.collect()).await?;

    let mended = Arc::new(AtomicBool::new(false));
    let server = Arc::clone(&mended);
    let handler = Arc::new(deliver_fn(move |delivery, _cancel| {
        let works = server.load(Ordering::SeqCst);
        async move {
            if works {
                println!("mail to {}", delivery.message.data["to"]);
                return Verdict::Settle(Settlement::Done);
            }
            // No retry can help until somebody has mended it.
            Verdict::Settle(Settlement::DeadLetter(Failure::new("MAIL_REFUSED", "550 no such relay")))
        }
    }));
    let queue: Arc<dyn QueueDriver> = Arc::new(stores.queue.clone());
    let worker = || Worker::new(Arc::clone(&queue), handler.clone()).queue("mail");
    worker().drain().await?;

    for letter in stores.queue.dead_letters("mail", 10).await? {
        println!("given up: {} because of {}", letter.message.data, letter.reason);
        assert_eq!(letter.reason.code, "MAIL_REFUSED");
    }

    mended.store(true, Ordering::SeqCst);
    // ANCHOR: redrive
    let redriven = stores.queue.redrive("mail.dead", Redrive::default()).await?; // to where each one failed
    // ANCHOR_END: redrive
    assert_eq!((redriven.moved, redriven.skipped), (3, 0));
    assert_eq!(worker().drain().await?, 3);
    assert_eq!(stores.queue.stats("mail.dead").await?.ready, 0);
    Ok(())
}

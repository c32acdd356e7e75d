//! The same work asked for many times and done once, by key: `cargo run -p mainspring --example unique`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{sync::Arc, time::Duration};

use mainspring::{
    MessageOptions, NewMessage, PgStoreOptions, QueueStore, Settlement, Verdict, Worker, create_pg_stores,
    deliver_fn,
    queue::{QueueOptions, Unique},
};
use mainspring_testing::TestDb;
use serde_json::json;

// ANCHOR: message
/// The search index of one shop is built again: however often that is asked for, once until it has begun and ended.
fn reindex(shop: &str, unique: Unique) -> NewMessage {
    let mut message = NewMessage::new("index", "reindex", json!({"shop": shop}));
    message.key = Some(shop.to_owned());
    message.options = MessageOptions { unique: Some(unique), ..MessageOptions::default() };
    message
}
// ANCHOR_END: message

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default())?;
    stores.queue.create_queue("index", QueueOptions::default()).await?;

    let asked = (0..10).map(|_| reindex("north", Unique::Unfinished)).collect();
    let pushed = stores.queue.push_each(asked).await?;
    assert_eq!(pushed.iter().filter(|one| one.duplicate).count(), 9);
    assert!(pushed.iter().all(|one| one.id == pushed[0].id), "all are told of the one that is there");

    let handler = deliver_fn(|delivery, _cancel| async move {
        println!("indexing {}", delivery.message.data["shop"]);
        Verdict::Settle(Settlement::Done)
    });
    let worker = Worker::new(Arc::new(stores.queue.clone()), Arc::new(handler)).queue("index");
    assert_eq!(worker.drain().await?, 1);

    // It has ended: the next one is new. An idempotency key would still count.
    assert!(!stores.queue.push_each(vec![reindex("north", Unique::Unfinished)]).await?[0].duplicate);
    let hour = Unique::For(Duration::from_secs(3600));
    assert!(!stores.queue.push_each(vec![reindex("south", hour)]).await?[0].duplicate);
    assert!(stores.queue.push_each(vec![reindex("south", hour)]).await?[0].duplicate);
    println!("asked thirteen times, stored three times");
    Ok(())
}

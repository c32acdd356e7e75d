//! Your own tables and a message in one transaction, from Rust and from SQL: `cargo run -p mainspring --example outbox`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use mainspring::{
    NewMessage, PgStoreOptions, QueueDriver, Settlement, Verdict, Worker, create_pg_stores, deliver_fn,
};
use mainspring_testing::TestDb;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default())?;
    let mut client = db.client().await; // any `tokio_postgres` client, or one of deadpool's
    client.batch_execute("CREATE TABLE orders (id int PRIMARY KEY, total int NOT NULL)").await?;

    // ANCHOR: outbox
    let tx = client.transaction().await?;
    tx.execute("INSERT INTO orders VALUES (1, 42)", &[]).await?;
    let receipt = NewMessage::new("mail", "receipt", json!({"order": 1}));
    let here = stores.on(&tx);
    here.queue.push(vec![receipt]).await?; // there with the order, or not at all
    let hints = here.after_commit();
    tx.commit().await?;
    hints.send(); // so that a worker begins at once, and not at its next look
    // ANCHOR_END: outbox

    let tx = client.transaction().await?;
    tx.execute("INSERT INTO orders VALUES (2, 7)", &[]).await?;
    stores.on(&tx).queue.push(vec![NewMessage::new("mail", "receipt", json!({"order": 2}))]).await?;
    tx.rollback().await?; // neither

    // Another language needs no library.
    client
        .batch_execute(
            "BEGIN;
             INSERT INTO orders VALUES (3, 99);
             SELECT ms_push('mail', 'receipt', '{\"order\": 3}');
             COMMIT;",
        )
        .await?;

    let (sent, mut letters) = tokio::sync::mpsc::unbounded_channel();
    let handler = deliver_fn(move |delivery, _cancel| {
        let told = sent.send(delivery.message.data["order"].as_i64());
        async move { if told.is_ok() { Verdict::Settle(Settlement::Done) } else { Verdict::Abandoned } }
    });
    Worker::new(Arc::new(stores.queue.clone()), Arc::new(handler)).queue("mail").drain().await?;
    let mut orders = Vec::new();
    while let Ok(order) = letters.try_recv() {
        orders.extend(order);
    }
    orders.sort_unstable();
    println!("receipts for orders {orders:?}");
    assert_eq!(orders, [1, 3]);
    Ok(())
}

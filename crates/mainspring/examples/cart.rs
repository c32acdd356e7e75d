//! An event-sourced cart with a table that is kept inline and documents that follow behind:
//! `cargo run -p mainspring --example cart`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use mainspring::consumer::{DocumentProjection, Documents};
use mainspring::{BoxFuture, Db, Decider, DomainEvent, EventStoreExt, InlineProjection, PgStoreOptions};
use mainspring::{RecordedEvent, Result, create_pg_stores};
use mainspring_testing::TestDb;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
enum Event {
    Added { sku: String, cents: i64 },
}
impl DomainEvent for Event {}

// ANCHOR: rules
/// Adds a product for so many cents.
struct Add(&'static str, i64);
/// The rules, without IO: tested with `mainspring_testing::given`.
struct Rules;
impl Decider for Rules {
    type Command = Add;
    type Event = Event;
    type State = usize;
    type Error = &'static str;

    fn initial(&self) -> usize {
        0
    }
    fn decide(&self, Add(sku, cents): &Add, lines: &usize) -> std::result::Result<Vec<Event>, &'static str> {
        match *lines {
            0..2 => Ok(vec![Event::Added { sku: (*sku).to_owned(), cents: *cents }]),
            _ => Err("the cart is full"),
        }
    }
    fn evolve(&self, lines: usize, _event: &Event) -> usize {
        lines + 1
    }
}
// ANCHOR_END: rules

/// Turnover, right at every moment: it is written in the transaction of the append.
struct Turnover;
impl InlineProjection for Turnover {
    fn apply<'a>(&'a self, tx: &'a Db<'a>, events: &'a [RecordedEvent]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let cents: i64 = events.iter().filter_map(|event| event.event.data["cents"].as_i64()).sum();
            tx.exec("UPDATE turnover SET cents = cents + $1", &[&cents]).await.map(drop)
        })
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    db.client().await.batch_execute("CREATE TABLE turnover AS SELECT 0::bigint AS cents").await?;
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default())?.with_inline(Arc::new(Turnover));
    let cart = || stores.events.decide(&Rules, "cart-1");
    cart().handle(&Add("pencil", 150)).await?;
    cart().handle(&Add("paper", 350)).await?;
    assert!(cart().handle(&Add("piano", 1_000_000)).await.is_err());
    assert_eq!(stores.db().one("SELECT cents FROM turnover", &[]).await?.get::<_, i64>(0), 500);

    // Documents are written by a consumer, in the transaction of its checkpoint: each event counts once.
    let skus = DocumentProjection::of_streams("carts", |cart: Option<Vec<String>>, event| {
        let sku = event.event.data["sku"].as_str().map(str::to_owned);
        Some(cart.into_iter().flatten().chain(sku).collect())
    });
    stores.consumer("shop").projector("carts", skus).run_to_end().await?;
    let carts = Documents::<Vec<String>>::new(stores.db(), "carts")?;
    let cart = carts.get("cart-1").await?.ok_or("no document")?;
    println!("cart-1 has {:?}", cart.data);
    assert_eq!(cart.data, ["pencil", "paper"]);
    Ok(())
}

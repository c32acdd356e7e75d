//! A checkout whose steps are undone when one of them fails: `cargo run -p mainspring --example checkout`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::{Arc, Mutex, PoisonError};

use mainspring::{Cx, Engine, PgStoreOptions, PgStores, ResultError, Workflow, WorkflowResult, exponential};
use mainspring_testing::TestDb;
use serde::{Deserialize, Serialize};

pub(crate) const CHECKOUT: Workflow<Order, Receipt, CheckoutError> = Workflow::new("checkout");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) item: String,
    pub(crate) cents: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    hold: u32,
    payment: String,
}

/// The application's own error: callers get it back as it is, from whichever process.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum CheckoutError {
    #[error("the card was declined at {limit} cents")]
    Declined { limit: u64 },
}

/// The shop's services; what they did is what the example checks.
#[derive(Clone, Default)]
pub(crate) struct Shop(Arc<Mutex<Vec<String>>>);

impl Shop {
    fn does<T>(&self, what: String, answer: T) -> Result<T, CheckoutError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        Ok(answer)
    }
}

// ANCHOR: workflow
pub(crate) async fn checkout(cx: Cx, order: Order, shop: Shop) -> WorkflowResult<Receipt, CheckoutError> {
    let mut saga = cx.saga();
    let hold =
        cx.step("hold", async || shop.does(format!("hold {}", order.item), 7)).retry(exponential(3)).await?;
    saga.undo("release", hold, async |hold| shop.does(format!("release {hold}"), ()));
    let declined = |error: &CheckoutError| matches!(error, CheckoutError::Declined { .. });
    let charge = cx.step("charge", async || match order.cents {
        10_001.. => Err(CheckoutError::Declined { limit: 10_000 }),
        cents => shop.does(format!("charge {cents}"), format!("payment of {cents}")),
    });
    let paid = charge.retry(exponential(3)).non_retryable(declined).await;
    saga.end(paid.map(|payment| Receipt { hold, payment }).map_err(Into::into)).await
}
// ANCHOR_END: workflow

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, migrated with `mainspring migrate up`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let shop = Shop::default();
    let theirs = shop.clone();
    let run = move |cx, order| checkout(cx, order, theirs.clone());
    let engine = Engine::builder(stores).register(CHECKOUT, run).build()?;
    let worker = engine.worker().start()?;
    let cheap = Order { item: "pencil".into(), cents: 150 };
    let receipt = engine.start(CHECKOUT, &cheap).id("order-1").await?.result().await?;
    assert_eq!(receipt, Receipt { hold: 7, payment: "payment of 150".into() });
    let dear = Order { item: "piano".into(), cents: 1_000_000 };
    let refused = engine.start(CHECKOUT, &dear).id("order-2").await?.result().await;
    assert!(matches!(refused, Err(ResultError::App(CheckoutError::Declined { limit: 10_000 }))));
    worker.stop().await?;

    let done = shop.0.lock().unwrap_or_else(PoisonError::into_inner).join(", ");
    assert_eq!(done, "hold pencil, charge 150, hold piano, release 7");
    println!("{done}");
    Ok(())
}

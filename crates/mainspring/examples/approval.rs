//! A human decides, by a link with a resume token, or a deadline does: `cargo run -p mainspring --example approval`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{sync::Arc, time::Duration};

use mainspring::{Cx, Either, Engine, PgStoreOptions, PgStores, TokenSecret, Workflow, WorkflowResult};
use mainspring_testing::TestDb;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub(crate) const EXPENSE: Workflow<Expense, String, String> = Workflow::new("expense");

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Expense {
    pub(crate) what: String,
    pub(crate) deadline: Duration,
}

#[derive(Serialize, Deserialize)]
struct Decision {
    approved: bool,
    by: String,
}

/// The post office of the example: it delivers tokens.
pub(crate) type Mail = Arc<UnboundedSender<TokenSecret>>;

pub(crate) async fn expense(cx: Cx, expense: Expense, mail: Mail) -> WorkflowResult<String, String> {
    let hook = cx.hook::<Decision>("decision");
    // The token is made in the step that hands it out, so a replay makes no other one.
    let ask = async || {
        let token = hook.token().await.map_err(|error| error.to_string())?;
        mail.send(token).map_err(|error| error.to_string())
    };
    cx.step("ask", ask).await?;
    cx.set_status(json!({"waiting for": "approval"}));
    // Nothing is held meanwhile: no memory, no connection. It may last for years.
    match cx.race(hook, cx.sleep(expense.deadline)).await {
        Either::Left(decision) => {
            let Decision { approved, by } = decision?;
            Ok(format!("{} {} by {by}", expense.what, if approved { "approved" } else { "refused" }))
        }
        Either::Right(()) => Ok(format!("{} expired", expense.what)),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, migrated with `mainspring migrate up`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let (mail, mut letters) = unbounded_channel();
    let mail = Arc::new(mail);
    let engine = Engine::builder(stores)
        .register(EXPENSE, move |cx, input| expense(cx, input, Arc::clone(&mail)))
        .build()?;
    let worker = engine.worker().start()?;

    let lunch = Expense { what: "lunch".into(), deadline: Duration::from_secs(7 * 24 * 3600) };
    let lunch = engine.start(EXPENSE, &lunch).await?;
    let token = letters.recv().await.ok_or("no letter")?;
    engine.resume(&token, json!({"approved": true, "by": "Ada"})).await?;
    assert_eq!(lunch.result().await?, "lunch approved by Ada");
    assert!(engine.resume(&token, json!({"approved": false, "by": "Eve"})).await.is_err(), "it is spent");

    let yacht = Expense { what: "yacht".into(), deadline: Duration::from_millis(50) };
    let yacht = engine.start(EXPENSE, &yacht).await?;
    assert_eq!(yacht.result().await?, "yacht expired");
    worker.stop().await?;
    println!("lunch was approved, the yacht was not");
    Ok(())
}

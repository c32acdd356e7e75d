//! Money is moved exactly once, and the books always balance: `cargo run -p mainspring --example transfer`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use mainspring::{
    Cx, CxTx, Engine, PgStoreOptions, PgStores, ResultError, TxError, Workflow, WorkflowResult, abort,
};
use mainspring_testing::TestDb;
use serde::{Deserialize, Serialize};

pub(crate) const TRANSFER: Workflow<Transfer, (), String> = Workflow::new("transfer");

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) from: i32,
    pub(crate) to: i32,
    pub(crate) cents: i64,
}

pub(crate) const TABLE: &str =
    "CREATE TABLE accounts (id int PRIMARY KEY, cents bigint NOT NULL CHECK (cents >= 0));
    INSERT INTO accounts SELECT n, 1000 FROM generate_series(0, 3) n;
    CREATE TABLE on_the_way (id text PRIMARY KEY, cents bigint NOT NULL);";
const TAKE: &str = "UPDATE accounts SET cents = cents - $1 WHERE id = $2 AND cents >= $1";
const GIVE: &str = "UPDATE accounts SET cents = cents + $1 WHERE id = $2";

pub(crate) async fn transfer(cx: Cx, order: Transfer) -> WorkflowResult<(), String> {
    let Transfer { from, to, cents } = order;
    let id = cx.id().to_string();
    // The application's own SQL and the record of the step are one transaction: both happen, once, or neither does.
    let take = cx.tx("take", async |db| {
        if db.exec(TAKE, &[&cents, &from]).await? == 0 {
            return abort(format!("account {from} has not got {cents} cents"));
        }
        db.exec("INSERT INTO on_the_way VALUES ($1, $2)", &[&id, &cents]).await?;
        Ok(())
    });
    take.await?;
    cx.step("tell", async || Ok::<_, String>(())).await?; // whatever lies between: here a process may die
    let give = cx.tx("give", async |db| {
        db.exec("DELETE FROM on_the_way WHERE id = $1", &[&id]).await?;
        db.exec(GIVE, &[&cents, &to]).await?;
        Ok::<_, TxError<String>>(())
    });
    Ok(give.await?)
}

/// What is on all accounts, and what is on its way between them.
async fn sum(stores: &PgStores<'static>) -> Result<i64, mainspring::Error> {
    const SUM: &str = "SELECT (SELECT sum(cents)::bigint FROM accounts)
        + (SELECT coalesce(sum(cents), 0)::bigint FROM on_the_way)";
    Ok(stores.db().one(SUM, &[]).await?.get(0))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, migrated with `mainspring migrate up`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    db.client().await.batch_execute(TABLE).await?;
    let engine = Engine::builder(stores.clone()).register(TRANSFER, transfer).build()?;
    let worker = engine.worker().concurrency(8).start()?;
    let mut handles = Vec::new();
    for n in 0..100 {
        let order = Transfer { from: n % 4, to: (n * 7 + 1) % 4, cents: i64::from(n) * 10 };
        handles.push(engine.start(TRANSFER, &order).id(format!("transfer-{n}")).await?);
        assert_eq!(sum(&stores).await?, 4_000, "the books balance at every moment");
    }
    let (mut done, mut refused) = (0, 0);
    for handle in handles {
        match handle.result().await {
            Ok(()) => done += 1,
            Err(ResultError::App(_)) => refused += 1,
            Err(other) => return Err(other.into()),
        }
    }
    worker.stop().await?;
    assert_eq!((done + refused, sum(&stores).await?), (100, 4_000));
    println!("{done} transfers done, {refused} refused, the books balance");
    Ok(())
}

//! What a pickup costs: how much is said to Redis and to Postgres for one message that a process waits for.

use std::{sync::Arc, time::Duration};

use mainspring::{
    NewMessage, PgStoreOptions, PgStores, QueueDriver, Settlement, Verdict, Worker, deliver_fn,
};
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use crate::{redis, say, server};

const MESSAGES: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// A process with a pool of its own.
fn process(url: &str, db: &TestDb) -> PgStores<'static> {
    let carrier = Some(Arc::new(redis(url, db)) as _);
    PgStores::connect(db.url(), PgStoreOptions { carrier, ..PgStoreOptions::default() }).unwrap()
}

/// How often a command was called.
async fn calls(url: &str, command: &str) -> u32 {
    let info = format!("{:?}", say(url, &["INFO", "commandstats"]).await.unwrap());
    let after = info.split(&format!("cmdstat_{command}:calls=")).nth(1).unwrap_or_default();
    after.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

/// Transactions of a database whose sessions have all ended, so that they have said so.
async fn transactions(db: &TestDb) -> u32 {
    let client = db.client().await;
    let others =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'";
    while client.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    u32::try_from(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)).unwrap()
}

#[tokio::test]
async fn a_pickup_is_a_push_a_claim_and_a_settlement_and_three_calls_of_redis() {
    let Some(server) = server(&[]).filter(|server| server.pid().is_some()) else { return };
    let db = TestDb::new().await;
    let before = transactions(&db).await;
    let (here, there) = (process(server.url(), &db), process(server.url(), &db));
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = deliver_fn(move |_, _| {
        let told = tell.send(());
        async move { if told.is_ok() { Verdict::Settle(Settlement::Done) } else { Verdict::Abandoned } }
    });
    let worker = Worker::new(Arc::new(there.queue.clone()), Arc::new(handler)).queue("q").start().unwrap();
    for _ in 0..MESSAGES {
        here.queue.push(vec![NewMessage::new("q", "work", json!({}))]).await.unwrap();
        timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    }
    worker.stop().await.unwrap();
    drop((here, there, worker));
    // Per message: the ticket is given, one takes it, and whoever is done asks whether there are more.
    let (scripts, said) = (calls(server.url(), "evalsha").await, calls(server.url(), "publish").await);
    let spent = transactions(&db).await - before;
    eprintln!("{MESSAGES} messages: {spent} transactions, {scripts} scripts, {said} calls");
    assert!((MESSAGES..=MESSAGES * 7 / 2).contains(&scripts), "{scripts} scripts");
    assert!(said <= MESSAGES + 10, "{said} calls");
    // Per message: its push, its claim and its settlement; and now and then a look, a beat and what a start costs.
    assert!((MESSAGES * 3..=MESSAGES * 4).contains(&spent), "{spent} transactions");
}

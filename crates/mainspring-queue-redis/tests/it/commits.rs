//! Messages that are pushed in a transaction of the application's: their tickets come with its commit.

use std::time::Duration;

use mainspring::{Backend, Changes, ClaimRequest, NewMessage, PgStores, QueueDriver, WorkerId};
use mainspring_pg::Carrier;
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::time::timeout;

use crate::{process, redis, server};

const LONG: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);

fn messages() -> Vec<NewMessage> {
    vec![NewMessage::new("q", "work", json!({})), NewMessage::new("q", "work", json!({}))]
}

/// Waits for a call only, and claims.
async fn called(worker: &PgStores<'static>) -> usize {
    timeout(PATIENCE, worker.queue.wait("q", LONG)).await.unwrap();
    let request = ClaimRequest::new("q", WorkerId::generate(), Duration::from_secs(60), 10);
    worker.queue.claim(request).await.unwrap().deliveries.len()
}

/// One process that pushes, and one that hears of it when it is told.
async fn stage(url: &str, db: &TestDb) -> (PgStores<'static>, PgStores<'static>) {
    let ((pusher, _), (worker, _)) = (process(url, db), process(url, db));
    // The first claim begins to listen, and the first wait ends when this process hears.
    let request = ClaimRequest::new("q", WorkerId::generate(), LONG, 10);
    assert!(worker.queue.claim(request).await.unwrap().deliveries.is_empty());
    assert_eq!(called(&worker).await, 0);
    (pusher, worker)
}

#[tokio::test]
async fn a_push_in_a_transaction_calls_a_worker_after_the_commit() {
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let (pusher, worker) = stage(server.url(), &db).await;
    let mut client = db.client().await;
    for alone in [true, false] {
        let tx = client.transaction().await.unwrap();
        let hints = match alone {
            true => {
                let here = pusher.queue.on(&tx);
                here.push(messages()).await.unwrap();
                here.after_commit()
            }
            false => {
                let here = pusher.on(&tx);
                let changes = Changes { messages: messages(), ..Changes::default() };
                Backend::commit(&here, changes).await.unwrap();
                here.after_commit()
            }
        };
        tx.commit().await.unwrap();
        hints.send();
        assert_eq!(called(&worker).await, 2);
    }
}

#[tokio::test]
async fn a_session_calls_workers_by_itself_and_once_however_often_it_runs() {
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let (pusher, worker) = stage(server.url(), &db).await;
    db.client().await.batch_execute("CREATE SEQUENCE runs").await.unwrap();
    let pushed = pusher.session(async |here| {
        here.queue.push(messages()).await?;
        // A session in it is part of it.
        here.session(async |inside| inside.queue.push(messages()).await).await?;
        // The first run is in vain.
        let fails = "DO $$ BEGIN IF nextval('runs') = 1 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF; END $$";
        here.db().exec(fails, &[]).await.map(drop)
    });
    pushed.await.unwrap();
    assert_eq!(called(&worker).await, 4);
    let row = db.client().await.query_one("SELECT last_value FROM runs", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 2);
    assert_eq!(db.left_in_sessions().await, Vec::<String>::new());
    assert_eq!(redis(server.url(), &db).take("q", 10).await.unwrap(), 0, "no ticket of the run in vain");
}

#[tokio::test]
async fn what_is_rolled_back_calls_nobody() {
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let (pusher, worker) = stage(server.url(), &db).await;
    let refused = pusher.session(async |here| {
        here.queue.push(messages()).await?;
        Err::<(), _>(mainspring::Error::invalid("order", "is refused"))
    });
    assert!(refused.await.unwrap_err().is_invalid());
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    let here = pusher.on(&tx);
    here.queue.push(messages()).await.unwrap();
    drop(here.after_commit());
    tx.rollback().await.unwrap();
    // What comes then is the only thing there ever was.
    pusher.queue.push(messages()).await.unwrap();
    assert_eq!(called(&worker).await, 2);
    assert_eq!(redis(server.url(), &db).take("q", 10).await.unwrap(), 0);
}

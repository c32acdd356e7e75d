//! E08, E40: what runs in the transaction of an append.

use std::sync::{Arc, Mutex};

use mainspring_core::{Append, BoxFuture, Error, EventStore, ExpectedPosition, RecordedEvent, Result};
use mainspring_events::{EventStoreExt, InlineProjection, PgEventStore};
use mainspring_testing::TestDb;

use crate::event;

/// Writes each event's type and position into a table of the application's.
#[derive(Default)]
struct Seen {
    types: Vec<String>,
    fails: bool,
    swallows: bool,
    told: Mutex<Vec<RecordedEvent>>,
}

impl InlineProjection for Seen {
    fn event_types(&self) -> &[String] {
        &self.types
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mainspring_pg::Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.told.lock().unwrap().extend_from_slice(events);
            for event in events {
                tx.exec("INSERT INTO seen VALUES ($1, $2)", &[&event.event.event_type, &event.position])
                    .await?;
            }
            if self.swallows {
                let _ = tx.exec("SELECT 1 / 0", &[]).await;
            }
            if self.fails { Err(Error::invalid("order", "is not for sale")) } else { Ok(()) }
        })
    }
}

async fn world() -> (TestDb, PgEventStore<'static>) {
    let db = TestDb::new().await;
    db.client().await.batch_execute("CREATE TABLE seen (type text, position bigint)").await.unwrap();
    let log = PgEventStore::new(&db.db());
    (db, log)
}

async fn rows(db: &TestDb) -> i64 {
    db.client().await.query_one("SELECT count(*) FROM seen", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_inline_projection_is_told_final_positions_and_commits_with_the_append() {
    let (db, log) = world().await;
    let all = Arc::new(Seen::default());
    let some = Arc::new(Seen { types: vec!["b".into()], ..Seen::default() });
    let log = log.with_inline(all.clone()).with_inline(some.clone());
    log.append(Append::to("s", vec![event("a"), event("b")])).await.unwrap();
    log.append(Append::to("s", vec![event("a")]).expecting(ExpectedPosition::Exact(2))).await.unwrap();
    log.append_all(vec![Append::to("t", vec![event("b")]), Append::to("s", vec![event("c")])]).await.unwrap();
    let mut stored = log.read("s").all().await.unwrap().events;
    stored.extend(log.read("t").all().await.unwrap().events);
    stored.sort_by_key(|event| event.global_position);
    assert_eq!(*all.told.lock().unwrap(), stored);
    let told: Vec<_> = some.told.lock().unwrap().iter().map(|e| (e.stream.clone(), e.position)).collect();
    assert_eq!(told, [("s".to_owned(), 2), ("t".to_owned(), 1)]);
    assert_eq!(rows(&db).await, 7);
    // Nobody is told of nothing.
    log.append(Append::to("s", Vec::new())).await.unwrap();
    assert!(
        log.append(Append::to("s", vec![event("x")]).expecting(ExpectedPosition::NoStream)).await.is_err()
    );
    assert_eq!(all.told.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_projection_that_fails_undoes_the_append() {
    let (db, log) = world().await;
    for (broken, code) in [
        (Seen { fails: true, ..Seen::default() }, "invalid"),
        (Seen { swallows: true, ..Seen::default() }, "internal"),
    ] {
        let log = log.clone().with_inline(Arc::new(broken));
        let error = log.append(Append::to("s", vec![event("a")])).await.unwrap_err();
        assert_eq!(error.code(), code, "{error:?}");
        assert_eq!(rows(&db).await, 0);
        assert!(!log.head(&"s".into()).await.unwrap().exists());
    }
}

#[tokio::test]
async fn in_the_callers_transaction_a_failed_projection_undoes_its_append_only() {
    let (db, log) = world().await;
    let good = log.clone().with_inline(Arc::new(Seen::default()));
    let bad = log.clone().with_inline(Arc::new(Seen { fails: true, ..Seen::default() }));
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    good.on(&tx).append(Append::to("good", vec![event("a")])).await.unwrap();
    assert!(bad.on(&tx).append(Append::to("bad", vec![event("b")])).await.unwrap_err().is_invalid());
    good.on(&tx).append(Append::to("good", vec![event("c")])).await.unwrap();
    assert_eq!(rows(&db).await, 0, "not visible outside");
    tx.commit().await.unwrap();
    assert_eq!((rows(&db).await, log.head(&"good".into()).await.unwrap().position), (2, 2));
    assert!(!log.head(&"bad".into()).await.unwrap().exists());
}

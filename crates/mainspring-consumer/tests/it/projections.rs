//! The registry, inline projections and rebuilds: E39 to E44.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_consumer::{
    BoxError, DocumentProjection, Documents, Find, Inline, Kept, Processors, Projection, ProjectionStatus,
    Projections, Projector,
};
use mainspring_core::{Append, BoxFuture, EventStore, NewEvent, RecordedEvent};
use mainspring_events::PgEventStore;
use mainspring_pg::Db;
use serde_json::{Value, json};

use crate::ground::{Ground, PATIENCE, n_of};

/// The sum of all numbers, over all streams: the worst case of contention.
fn sum(version: u32) -> Arc<DocumentProjection<i64>> {
    let add = |sum: Option<i64>, event: &RecordedEvent| Some(sum.unwrap_or(0) + n_of(event));
    Arc::new(DocumentProjection::by("sum", |_: &RecordedEvent| ["all"], add).version(version))
}

async fn sum_of(ground: &Ground) -> i64 {
    let found = Documents::<i64>::new(&ground.db, "sum").unwrap().get("all").await.unwrap();
    found.map_or(0, |document| document.data)
}

fn one(n: i64) -> Vec<NewEvent> {
    vec![NewEvent::new("Added", json!({"n": n}))]
}

#[tokio::test]
async fn versions_are_registered_activated_and_deactivated() {
    // E41
    let ground = Ground::new().await;
    let projections = Projections::new(&ground.db);
    assert!(projections.register("p", 1, Kept::Async, json!({"a": 1})).await.unwrap());
    assert!(!projections.register("p", 1, Kept::Async, json!({"a": 2})).await.unwrap());
    assert!(projections.register("p", 1, Kept::Inline, json!({})).await.unwrap_err().is_conflict());
    assert!(projections.register("p", 2, Kept::Inline, json!({})).await.unwrap());
    assert!(projections.register("q", 1, Kept::Inline, json!({})).await.unwrap());
    assert!(projections.register("", 1, Kept::Inline, json!({})).await.unwrap_err().is_invalid());
    assert!(projections.register("p", 0, Kept::Inline, json!({})).await.unwrap_err().is_invalid());
    let status = async |name, version| {
        let all = projections.list().await.unwrap();
        all.into_iter()
            .find(|one| one.name == name && one.version == version)
            .map(|one| (one.status, one.definition))
    };
    use ProjectionStatus::{Active, Inactive};
    assert_eq!(status("p", 1).await, Some((Active, json!({"a": 2}))));
    assert_eq!(status("p", 2).await.unwrap().0, Inactive);
    assert!(projections.activate("p", 2).await.unwrap());
    assert_eq!((status("p", 1).await.unwrap().0, status("p", 2).await.unwrap().0), (Inactive, Active));
    assert!(projections.deactivate("p", 2).await.unwrap());
    assert_eq!(status("p", 2).await.unwrap().0, Inactive);
    assert!(!projections.activate("p", 3).await.unwrap());
    assert!(!projections.deactivate("nobody", 1).await.unwrap());
    // At the same time: one is active in the end, never two.
    let (a, b) = tokio::join!(projections.activate("p", 1), projections.activate("p", 2));
    assert!(a.unwrap() && b.unwrap());
    let all = projections.list().await.unwrap();
    assert_eq!(all.iter().filter(|one| one.name == "p" && one.status == Active).count(), 1);
    assert_eq!(status("q", 1).await.unwrap().0, Active);
}

#[tokio::test]
async fn an_inline_projection_commits_with_its_append_or_fails_it() {
    // E40
    let ground = Ground::new().await;
    let log = ground.log().with_inline(Arc::new(Inline::new(sum(1))));
    log.append(Append::to("a", one(3))).await.unwrap();
    log.append(Append::to("b", one(4))).await.unwrap();
    assert_eq!(sum_of(&ground).await, 7);
    let mut client = ground.test.client().await;
    let tx = client.transaction().await.unwrap();
    log.on(&tx).append(Append::to("a", one(5))).await.unwrap();
    assert_eq!(sum_of(&ground).await, 7);
    tx.rollback().await.unwrap();
    assert_eq!(sum_of(&ground).await, 7);

    // What it cannot take in is not appended.
    let bad = Arc::new(DocumentProjection::by("bad", |_: &RecordedEvent| [""], |_: Option<Value>, _| None));
    let log = ground.log().with_inline(Arc::new(Inline::new(bad)));
    assert!(log.append(Append::to("a", one(9))).await.unwrap_err().is_invalid());
    assert_eq!(ground.log().position("streams", "", "a").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inline_writers_of_one_document_lose_no_event() {
    let ground = Ground::new().await;
    let log = ground.log().with_inline(Arc::new(Inline::new(sum(1))));
    let writers = (0..6).map(|writer| {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 1..=10 {
                log.append(Append::to(format!("s{writer}"), one(n))).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(sum_of(&ground).await, 6 * 55);
}

#[tokio::test]
async fn an_inactive_version_is_not_written_inline_and_an_unknown_one_is() {
    // E42
    let ground = Ground::new().await;
    let projections = Projections::new(&ground.db);
    let log = ground.log().with_inline(Arc::new(Inline::new(sum(1))));
    log.append(Append::to("a", one(1))).await.unwrap();
    projections.register("sum", 1, Kept::Inline, json!({})).await.unwrap();
    log.append(Append::to("a", one(2))).await.unwrap();
    projections.deactivate("sum", 1).await.unwrap();
    log.append(Append::to("a", one(4))).await.unwrap();
    projections.activate("sum", 1).await.unwrap();
    assert_eq!(sum_of(&ground).await, 3);
    // A switch waits for the appends under way.
    let mut client = ground.test.client().await;
    let tx = client.transaction().await.unwrap();
    log.on(&tx).append(Append::to("a", one(8))).await.unwrap();
    let switching = projections.deactivate("sum", 1);
    tokio::pin!(switching);
    tokio::select! {
        _ = &mut switching => panic!("it did not wait"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    tx.commit().await.unwrap();
    assert!(switching.await.unwrap());
    log.append(Append::to("a", one(16))).await.unwrap();
    projections.activate("sum", 1).await.unwrap();
    assert_eq!(sum_of(&ground).await, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_beside_inline_writers_takes_in_each_event_once() {
    // E43, weakness 7: in place, then to a new version, and writers that roll back and take their time.
    let ground = Ground::new().await;
    let projections = Projections::new(&ground.db);
    projections.register("sum", 1, Kept::Inline, json!({})).await.unwrap();
    let log =
        ground.log().with_inline(Arc::new(Inline::new(sum(1)))).with_inline(Arc::new(Inline::new(sum(2))));
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3_i64)
        .map(|writer| {
            let (db, log, over) = (ground.db.clone(), log.clone(), over.clone());
            tokio::spawn(async move {
                let mut total = 0;
                for n in 1.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let stream = format!("s{writer}");
                    let done = db
                        .with_tx(async |tx| {
                            log.on(tx).append(Append::to(stream.as_str(), one(n))).await?;
                            tokio::time::sleep(Duration::from_millis((n % 4) as u64)).await;
                            if n % 7 == 0 {
                                Err(mainspring_core::Error::internal("rolled back"))
                            } else {
                                Ok(n)
                            }
                        })
                        .await;
                    total += done.unwrap_or(0);
                }
                total
            })
        })
        .collect();
    for _ in 0..2 {
        projections.rebuild(Kept::Inline, sum(1)).await.unwrap();
    }
    projections.rebuild(Kept::Inline, sum(2)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // and some more inline
    over.store(true, Ordering::Relaxed);
    let mut total = 0;
    for writer in writers {
        total += writer.await.unwrap();
    }
    let states: Vec<_> =
        projections.list().await.unwrap().into_iter().map(|one| (one.version, one.status)).collect();
    assert_eq!(states, [(1, ProjectionStatus::Inactive), (2, ProjectionStatus::Active)]);
    assert_eq!(sum_of(&ground).await, total, "of version 2");
    assert_eq!(Processors::new(&ground.db).list().await.unwrap(), []);
    assert!(total > 0);
}

/// The sum in a table of its own, which fails at its third batch once.
struct Table {
    batches: AtomicU32,
    fails: bool,
}

impl Projector for Table {
    fn init<'a>(&'a self, tx: &'a Db<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            Ok(tx.exec("CREATE TABLE IF NOT EXISTS sums (n bigint NOT NULL)", &[]).await.map(drop)?)
        })
    }

    fn apply<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            if self.fails && self.batches.fetch_add(1, Ordering::Relaxed) >= 2 {
                return Err("the plug was pulled".into());
            }
            for event in events {
                tx.exec("INSERT INTO sums VALUES ($1)", &[&n_of(event)]).await?;
            }
            Ok(())
        })
    }
}

impl Projection for Table {
    fn name(&self) -> &str {
        "sums"
    }

    fn clear<'a>(&'a self, tx: &'a Db<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(tx.exec("DELETE FROM sums", &[]).await.map(drop)?) })
    }
}

async fn rows(ground: &Ground) -> (i64, i64) {
    let row = ground.db.one("SELECT count(*), coalesce(sum(n), 0)::bigint FROM sums", &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_rebuild_that_broke_off_goes_on_where_it_was_and_the_consumer_after_it() {
    // E39, E43, E44
    let ground = Ground::new().await;
    let table = |fails| Arc::new(Table { batches: AtomicU32::new(0), fails });
    let total = 1_200;
    for n in 1..=total / 100 {
        let events = (1..=100).map(|i| NewEvent::new("Added", json!({"n": (n - 1) * 100 + i}))).collect();
        ground.log().append(Append::to("s", events)).await.unwrap();
    }
    let consumer = || ground.consumer().projector("sums", table(false));
    ground.run_to_end(consumer()).await;
    assert_eq!(rows(&ground).await, (total, total * (total + 1) / 2));

    let projections = Projections::new(&ground.db);
    // While its processor runs it cannot be rebuilt.
    let running = consumer().start().await.unwrap();
    assert!(projections.rebuild(Kept::Async, table(false)).await.unwrap_err().is_conflict());
    running.stop().await.unwrap();
    let error = projections.rebuild(Kept::Async, table(true)).await.unwrap_err();
    assert!(error.to_string().contains("the plug was pulled"), "{error}");
    assert_eq!(projections.list().await.unwrap()[0].status, ProjectionStatus::Building);
    assert!(projections.activate("sums", 1).await.unwrap_err().is_conflict());
    let half = rows(&ground).await.0;
    assert!(half > 0 && half < total, "{half}");
    projections.rebuild(Kept::Async, table(false)).await.unwrap();
    assert_eq!(rows(&ground).await, (total, total * (total + 1) / 2));
    assert_eq!(projections.list().await.unwrap()[0].status, ProjectionStatus::Active);

    // The processor of its name goes on from there.
    ground.append([10_000]).await;
    let running = consumer().start().await.unwrap();
    running.when_caught_up(PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(rows(&ground).await, (total + 1, total * (total + 1) / 2 + 10_000));
    let _ = (PgEventStore::new(&ground.db), Find::all());
}

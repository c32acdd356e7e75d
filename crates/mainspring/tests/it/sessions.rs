//! E50: one transaction over appends, inline projections, pushes and executions; and the event store beside its group.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use mainspring::{
    Append, Backend, BoxFuture, Changes, Db, Error, EventStore, Execution, ExecutionId, ExecutionStore,
    InlineProjection, NewEvent, NewMessage, PgEventStore, PgStores, QueueDriver, RecordedEvent, Result,
};
use mainspring_testing::{TestDb, conformance};
use serde_json::json;

fn event() -> NewEvent {
    NewEvent::new("Added", json!({}))
}

/// Counts events in a table of the application's; refuses those of the stream `refused`.
struct Counts;

impl InlineProjection for Counts {
    fn apply<'a>(&'a self, tx: &'a Db<'a>, events: &'a [RecordedEvent]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let n = i64::try_from(events.len()).unwrap_or(0);
            tx.exec("UPDATE counts SET n = n + $1", &[&n]).await?;
            let refused = events.iter().any(|event| event.stream == "refused");
            if refused { Err(Error::invalid("stream", "is refused")) } else { Ok(()) }
        })
    }
}

async fn world() -> (PgStores<'static>, TestDb) {
    let (stores, db) = crate::fresh().await;
    let table = "CREATE TABLE counts (n bigint); INSERT INTO counts VALUES (0)";
    db.client().await.batch_execute(table).await.unwrap();
    (stores.with_inline(Arc::new(Counts)), db)
}

async fn counted(db: &TestDb) -> i64 {
    db.client().await.query_one("SELECT n FROM counts", &[]).await.unwrap().get(0)
}

async fn everything(here: &PgStores<'_>) -> Result<()> {
    here.events.append(Append::to("a", vec![event(), event()])).await?;
    here.events.append(Append::to("b", vec![event()])).await?;
    here.queue.push(vec![NewMessage::new("q", "wake", json!({}))]).await?;
    here.executions.create(Execution::new(ExecutionId::new("e")?, "f", "1.0.0", "s")).await?;
    let appends = vec![Append::to("c", vec![event()])];
    let committed = here.commit(Changes { appends, ..Changes::default() }).await?;
    assert_eq!(committed.appended[0].last, 1);
    Ok(())
}

async fn there(stores: &PgStores<'_>) -> (i64, i64, i64, u64, bool) {
    let position = async |stream: &str| stores.events.head(&stream.into()).await.unwrap().position;
    let execution = stores.executions.get(&ExecutionId::new("e").unwrap()).await.unwrap();
    let ready = stores.queue.stats("q").await.unwrap().ready;
    (position("a").await, position("b").await, position("c").await, ready, execution.is_some())
}

#[tokio::test]
async fn a_session_is_both_or_neither() {
    let (stores, db) = world().await;
    let failed = stores
        .session(async |here| {
            everything(here).await?;
            Err::<(), _>(Error::internal("changed my mind"))
        })
        .await;
    assert_eq!(failed.unwrap_err().to_string(), "changed my mind");
    assert_eq!((there(&stores).await, counted(&db).await), ((0, 0, 0, 0, false), 0));

    let refused = stores
        .session(async |here| {
            everything(here).await?;
            here.events.append(Append::to("refused", vec![event()])).await.map(drop)
        })
        .await;
    assert!(refused.unwrap_err().is_invalid());
    assert_eq!((there(&stores).await, counted(&db).await), ((0, 0, 0, 0, false), 0));

    stores.session(everything).await.unwrap();
    assert_eq!((there(&stores).await, counted(&db).await), ((2, 1, 1, 1, true), 4));
}

#[tokio::test]
async fn a_session_runs_again_after_a_deadlock() {
    let (stores, _db) = crate::fresh().await;
    for stream in ["a", "b"] {
        stores.events.append(Append::to(stream, vec![event()])).await.unwrap();
    }
    let (runs, both) = (AtomicU32::new(0), tokio::sync::Barrier::new(2));
    // Each holds one stream and wants the other's, the first time.
    let crossed = async |first: &'static str, second: &'static str| {
        let met = AtomicU32::new(0);
        stores
            .session(async |here| {
                runs.fetch_add(1, Ordering::Relaxed);
                here.events.append(Append::to(first, vec![event()])).await?;
                if met.fetch_add(1, Ordering::Relaxed) == 0 {
                    both.wait().await;
                }
                here.events.append(Append::to(second, vec![event()])).await.map(drop)
            })
            .await
    };
    let (one, other) = tokio::join!(crossed("a", "b"), crossed("b", "a"));
    one.unwrap();
    other.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    for stream in ["a", "b"] {
        assert_eq!(stores.events.head(&stream.into()).await.unwrap().position, 3);
    }
}

#[tokio::test]
async fn appends_of_a_commit_keep_inline_projections_too() {
    // E40
    let (stores, db) = world().await;
    let changes = |stream: &str| Changes {
        appends: vec![Append::to("a", vec![event()]), Append::to(stream, vec![event()])],
        messages: vec![NewMessage::new("q", "wake", json!({}))],
        ..Changes::default()
    };
    assert!(stores.commit(changes("refused")).await.unwrap_err().is_invalid());
    assert_eq!((there(&stores).await, counted(&db).await), ((0, 0, 0, 0, false), 0));
    stores.commit(changes("b")).await.unwrap();
    assert_eq!((there(&stores).await, counted(&db).await), ((1, 1, 0, 1, false), 2));
}

#[tokio::test]
async fn sixteen_writers_of_one_stream_share_transactions() {
    let (stores, db) = crate::fresh().await;
    let commits = async || -> i64 {
        let sql = "SELECT count(DISTINCT xmin::text) FROM ms_events";
        db.client().await.query_one(sql, &[]).await.unwrap().get(0)
    };
    let appends = (0..64).map(|_| stores.events.append(Append::to("hot", vec![event()])));
    let appended = futures_util::future::join_all(appends).await;
    let mut positions: Vec<i64> = appended.into_iter().map(|appended| appended.unwrap().last).collect();
    positions.sort_unstable();
    assert_eq!(positions, (1..=64).collect::<Vec<_>>());
    assert!(commits().await <= 4, "{} transactions", commits().await);
}

#[tokio::test]
async fn the_event_store_without_its_group_passes_its_suites() {
    let alone = async || {
        let (mut stores, db) = crate::fresh().await;
        stores.events = PgEventStore::new(stores.db());
        (stores, db)
    };
    Box::pin(conformance::events::suite(alone)).await;
    Box::pin(conformance::streams::suite(alone)).await;
}

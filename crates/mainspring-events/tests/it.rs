//! What is special to the log on Postgres: appends that race, the caller's transaction, the position fence. The semantics are
//! in the conformance suite, which the facade runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring_core::{Append, Error, EventStore, ExpectedPosition, NewEvent, event::STREAMS};
use mainspring_events::PgEventStore;
use mainspring_testing::TestDb;
use serde_json::json;

fn event() -> NewEvent {
    NewEvent::new("Added", json!({}))
}

#[tokio::test]
async fn racing_appends_leave_no_gap_and_one_expectation_holds() {
    // fault F58
    let db = TestDb::with_pool(16).await;
    let log = PgEventStore::new(&db.db());
    for (expected, winners) in [(ExpectedPosition::Any, 16), (ExpectedPosition::Exact(16), 1)] {
        let appends = (0..16).map(|_| {
            let log = log.clone();
            tokio::spawn(async move { log.append(Append::to("s", vec![event()]).expecting(expected)).await })
        });
        let mut won = 0;
        for append in appends.collect::<Vec<_>>() {
            match append.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert!(error.is_conflict(), "{error}"),
            }
        }
        assert_eq!(won, winners, "{expected:?}");
    }
    let read = log.read_stream(STREAMS, "", "s", 1, 100).await.unwrap();
    assert_eq!(read.iter().map(|e| e.position).collect::<Vec<_>>(), (1..=17).collect::<Vec<i64>>());
}

/// The highest position below which everything is settled: the last one given out, cut at the lowest one a writer holds.
const SETTLED: [&str; 2] = [
    "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {event_position}",
    "SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND (classid::bigint >> 16) = (hashtext('{event_position}') & 32767)",
];

#[tokio::test]
async fn a_reader_that_minds_the_fence_skips_nothing() {
    // T15, fault F57: writers with slow and rolled-back transactions.
    let db = TestDb::with_pool(12).await;
    let pool = db.db();
    let written = Arc::new(Mutex::new(HashSet::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6_u64)
        .map(|writer| {
            let (pool, written, stop) = (pool.clone(), Arc::clone(&written), Arc::clone(&stop));
            tokio::spawn(async move {
                for round in 0..60_u64 {
                    let stream = format!("s{writer}");
                    let done = pool
                        .with_tx(async |tx| {
                            let log = PgEventStore::new(tx);
                            log.append(Append::to(stream.as_str(), vec![event(), event()])).await?;
                            tokio::time::sleep(Duration::from_millis((writer * 7 + round * 3) % 5)).await;
                            if round % 9 == 0 { Err(Error::internal("rolled back")) } else { Ok(()) }
                        })
                        .await;
                    if done.is_ok() {
                        let last = PgEventStore::new(&pool).position(STREAMS, "", &stream).await.unwrap();
                        written.lock().unwrap().extend([(stream.clone(), last - 1), (stream, last)]);
                    }
                }
                stop.load(Ordering::Relaxed)
            })
        })
        .collect();

    let log = PgEventStore::new(&pool);
    let mut seen = HashSet::new();
    let mut position = 0;
    loop {
        let over = stop.load(Ordering::Relaxed);
        let high: i64 = pool.one(SETTLED[0], &[]).await.unwrap().get(0);
        let held: Option<i64> = pool.one(SETTLED[1], &[]).await.unwrap().get(0);
        let settled = held.map_or(high, |held| held.min(high));
        let query = mainspring_core::EventQuery { after_position: Some(position), ..Default::default() };
        let page = log.query(query).await.unwrap();
        for event in page.iter().filter(|e| e.global_position <= settled) {
            seen.insert((event.stream.clone(), event.position));
        }
        let full = page.len() == 1_000;
        position = page.iter().map(|e| e.global_position).filter(|p| *p <= settled).max().unwrap_or(position);
        if over && !full {
            break;
        }
        if writers.iter().all(tokio::task::JoinHandle::is_finished) {
            stop.store(true, Ordering::Relaxed);
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let written = written.lock().unwrap();
    assert!(written.len() > 500, "only {} events were written", written.len());
    let skipped: Vec<_> = written.difference(&seen).collect();
    assert!(skipped.is_empty(), "{} of {} skipped", skipped.len(), written.len());
}

#[tokio::test]
async fn an_append_in_a_transaction_is_there_with_it_or_not_at_all() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    let mut client = db.client().await;
    for (commits, position) in [(false, 0), (true, 1)] {
        let tx = client.transaction().await.unwrap();
        log.on(&tx).append(Append::to("s", vec![event()])).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(log.position(STREAMS, "", "s").await.unwrap(), position);
    }
}

//! E10, E48: streams in pages, folded, from snapshots, in versions.

use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt;
use mainspring_core::{Append, EventQuery, EventStore, ExpectedPosition, NewEvent, Snapshot, StreamId};
use mainspring_events::{EventStoreExt, PgEventStore, Schemas, Snapshots, Versioned};
use mainspring_testing::{MemoryBackend, TestDb};
use serde_json::{Value, json};

use crate::event;

async fn seven(store: &impl EventStore, stream: &str) {
    let events = (1..=7).map(|n| event(&n.to_string())).collect();
    store.append(Append::to(stream, events)).await.unwrap();
}

async fn every_part(store: &impl EventStore) {
    seven(store, "a").await;
    for page in [1, 2, 3, 7, 1_000] {
        let read = || store.read("a").page_size(page);
        for (read, wanted) in [
            (read(), "1234567"),
            (read().from(3), "34567"),
            (read().to(5), "12345"),
            (read().from(2).to(6), "23456"),
            (read().max_count(4), "1234"),
            (read().from(2).max_count(4), "2345"),
            (read().max_count(0), ""),
            (read().from(8), ""),
            (read().backward(), "7654321"),
            (read().backward().from(3), "76543"),
            (read().backward().to(5).max_count(2), "54"),
            (read().backward().from(2).to(6).max_count(99), "65432"),
        ] {
            let stream = read.stream();
            let events: Vec<_> = stream.try_collect().await.unwrap();
            let text: String = events.iter().map(|event| event.event.event_type.as_str()).collect();
            assert_eq!(text, wanted, "pages of {page}");
        }
        let all = read().from(2).all().await.unwrap();
        assert_eq!((all.events.len(), all.head.position), (6, 7));
        let none = read().from(9).all().await.unwrap();
        assert_eq!((none.events.len(), none.head.position), (0, 7));
    }
    let folded =
        store.read("a").page_size(2).fold(String::new(), |text, e| text + &e.event.event_type).await.unwrap();
    assert_eq!((folded.state.as_str(), folded.position, folded.exists()), ("1234567", 7, true));
    let none = store.read("none").fold(5, |n, _| n + 1).await.unwrap();
    assert_eq!((none.state, none.position, none.exists()), (5, 0, false));
    let error = store.read("a").expecting(ExpectedPosition::Exact(3)).all().await.unwrap_err();
    assert!(error.is_conflict() && error.current_position() == Some(7), "{error}");
    store.read("a").expecting(ExpectedPosition::StreamExists).all().await.unwrap();

    store.truncate_before(&"a".into(), 4).await.unwrap();
    for page in [1, 2, 4, 1_000] {
        let read = store.read("a").page_size(page).backward().all().await.unwrap();
        assert_eq!(read.events.len(), 4, "pages of {page}");
        assert_eq!(store.read("a").page_size(page).all().await.unwrap().events.len(), 4, "pages of {page}");
    }
}

#[tokio::test]
async fn a_stream_is_read_in_pages_of_any_size() {
    every_part(&MemoryBackend::new()).await;
    every_part(&PgEventStore::new(&TestDb::new().await.db())).await;
}

#[tokio::test]
async fn what_is_appended_during_a_read_is_not_in_it() {
    let memory = MemoryBackend::new();
    seven(&memory, "a").await;
    let mut pages = Box::pin(memory.read("a").page_size(3).stream());
    let mut seen = 0;
    while pages.try_next().await.unwrap().is_some() {
        seen += 1;
        memory.append(Append::to("a", vec![event("late")])).await.unwrap();
    }
    assert_eq!(seen, 7);
}

#[tokio::test]
async fn a_stream_that_goes_away_during_a_read_is_a_conflict() {
    let memory = MemoryBackend::new();
    seven(&memory, "a").await;
    let mut pages = Box::pin(memory.read("a").page_size(3).stream());
    for _ in 0..3 {
        pages.try_next().await.unwrap().unwrap();
    }
    memory.archive(&StreamId::new("a")).await.unwrap();
    let error = pages.try_next().await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("while it was read"), "{error}");
}

/// Counts the events that were folded.
async fn count(store: &impl EventStore, snapshots: &Snapshots) -> (i64, i64, usize) {
    let folded = Arc::new(Mutex::new(0));
    let counted = store
        .read("a")
        .fold_from(snapshots, 0_i64, |n, _| {
            *folded.lock().unwrap() += 1;
            n + 1
        })
        .await
        .unwrap();
    let folded = *folded.lock().unwrap();
    (counted.state, counted.position, folded)
}

async fn every_snapshot(store: &impl EventStore) {
    let a = StreamId::new("a");
    let snapshots = Snapshots::new("count", 1).made_every(5);
    assert_eq!(count(store, &snapshots).await, (0, 0, 0));
    seven(store, "a").await;
    assert_eq!(count(store, &snapshots).await, (7, 7, 7));
    assert_eq!(count(store, &snapshots).await, (7, 7, 0));
    store.append(Append::to("a", vec![event("8")])).await.unwrap();
    assert_eq!(count(store, &snapshots).await, (8, 8, 1));
    assert_eq!(store.snapshot(&a, "count").await.unwrap().unwrap().position, 7);
    // Another version, and a state that is none, are folded from the start.
    assert_eq!(count(store, &Snapshots::new("count", 2)).await, (8, 8, 8));
    let text = Snapshot { schema_version: 3, position: 8, state: json!("no number") };
    store.save_snapshot(&a, "count", text).await.unwrap();
    assert_eq!(count(store, &Snapshots::new("count", 3).made_every(50)).await, (8, 8, 8));
    // One that is older, or beyond the stream, is not kept.
    for (schema_version, position) in [(3, 6), (4, 99)] {
        let late = Snapshot { schema_version, position, state: json!(0) };
        store.save_snapshot(&a, "count", late).await.unwrap();
        let kept = store.snapshot(&a, "count").await.unwrap().unwrap();
        assert_eq!((kept.schema_version, kept.position), (3, 8));
    }
    // A stream that is gone takes its snapshots with it.
    store.delete_stream(&a).await.unwrap();
    assert_eq!(count(store, &Snapshots::new("count", 3)).await, (0, 0, 0));
    store.append(Append::to("a", vec![event("9")])).await.unwrap();
    assert_eq!(count(store, &Snapshots::new("count", 3)).await, (1, 9, 1));
    let part = store.read("a").from(2).fold_from(&snapshots, 0, |n: i64, _| n).await;
    assert!(part.unwrap_err().is_invalid());
    let bad = Snapshot { schema_version: 0, position: 9, state: json!(0) };
    assert!(store.save_snapshot(&a, "count", bad).await.unwrap_err().is_invalid());
}

#[tokio::test]
async fn a_fold_goes_on_from_its_last_snapshot() {
    every_snapshot(&MemoryBackend::new()).await;
    every_snapshot(&PgEventStore::new(&TestDb::new().await.db())).await;
}

fn schemas() -> Schemas {
    Schemas::new()
        .up("Paid", 1, |data| Ok(json!({"cents": data["euros"].as_i64().ok_or("no euros")? * 100})))
        .up("Paid", 2, |data| Ok(json!({"amount": data["cents"], "currency": "EUR"})))
        .down("Paid", 3, |data| Ok(json!({"cents": data["amount"]})))
        .stored_as("Paid", 2)
}

#[tokio::test]
async fn events_are_brought_up_when_read_and_down_when_appended() {
    let memory = MemoryBackend::new();
    let store = Versioned::new(memory.clone(), schemas());
    let paid = |version, data: Value| NewEvent::new("Paid", data).of_version(version);
    let old = vec![paid(1, json!({"euros": 2})), paid(2, json!({"cents": 50})), event("Other")];
    memory.append(Append::to("a", old)).await.unwrap();
    store.append(Append::to("a", vec![paid(3, json!({"amount": 7, "currency": "EUR"}))])).await.unwrap();

    let sum =
        store.read("a").fold(0, |sum, e| sum + e.event.data["amount"].as_i64().unwrap_or(0)).await.unwrap();
    assert_eq!(sum.state, 257);
    let found = store.query(EventQuery::default()).await.unwrap();
    assert_eq!(found.iter().map(|e| e.event.schema_version).collect::<Vec<_>>(), [3, 3, 1, 3]);
    assert_eq!(found[2].event, event("Other"));
    let stored = memory.read("a").from(4).all().await.unwrap();
    assert_eq!(stored.events[0].event, paid(2, json!({"cents": 7})));

    // What cannot be changed says so.
    let error = store.append(Append::to("a", vec![paid(4, json!({}))])).await.unwrap_err();
    assert!(error.to_string().contains("`Paid` of schema version 4: there is no way down"), "{error}");
    memory.append(Append::to("a", vec![paid(1, json!({}))])).await.unwrap();
    let error = store.read("a").all().await.unwrap_err();
    assert!(error.to_string().contains("`Paid` of schema version 1: no euros"), "{error}");
}

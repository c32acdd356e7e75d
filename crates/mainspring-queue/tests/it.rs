//! What is special to the queue on Postgres: plans, concurrency, the caller's transaction. The semantics are in the
//! conformance suite, which the facade runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::HashSet, time::Duration};

use mainspring_core::{ClaimRequest, NewMessage, QueueDriver, Settle, Settlement, WorkerId};
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::json;

fn messages(n: usize) -> Vec<NewMessage> {
    (0..n).map(|i| NewMessage::new("q", "t", json!({"i": i}))).collect()
}

fn request(max: u32) -> ClaimRequest {
    ClaimRequest::new("q", WorkerId::generate(), Duration::from_secs(30), max)
}

#[tokio::test]
async fn a_claim_never_brings_more_than_its_limit_whatever_the_plan() {
    // T10: the planner may run a limited subquery once per row.
    let db = TestDb::with_pool(1).await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(2_000)).await.unwrap();
    let off = [
        "enable_hashjoin",
        "enable_mergejoin",
        "enable_seqscan",
        "enable_tidscan",
        "enable_indexscan",
        "enable_material",
    ];
    for setting in off {
        db.db().exec("SELECT set_config($1, 'off', false)", &[&setting]).await.unwrap();
        for _ in 0..7 {
            assert_eq!(
                queue.claim(request(10)).await.unwrap().deliveries.len(),
                10,
                "{setting} and those before it off"
            );
        }
    }
    assert_eq!(queue.stats("q").await.unwrap().claimed, 10 * 7 * off.len() as u64);
}

#[tokio::test]
async fn concurrent_consumers_take_every_message_once() {
    // F47
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(1_000)).await.unwrap();
    let consumers = (0..6).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let deliveries = queue.claim(request(20)).await.unwrap().deliveries;
                if deliveries.is_empty() {
                    return seen;
                }
                seen.extend(deliveries.iter().map(|d| d.message.id.clone()));
                let done = |lease| Settle { lease, settlement: Settlement::Done };
                let settles = deliveries.into_iter().map(|d| done(d.lease)).collect();
                assert!(queue.settle(settles).await.unwrap().iter().all(Result::is_ok));
            }
        })
    });
    let mut all = Vec::new();
    for consumer in consumers.collect::<Vec<_>>() {
        all.extend(consumer.await.unwrap());
    }
    assert_eq!(all.len(), 1_000);
    assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 1_000);
}

#[tokio::test]
async fn the_hot_statements_stay_on_their_index_with_many_rows_and_no_statistics() {
    let db = TestDb::with_pool(1).await;
    let queue = PgQueue::new(&db.db());
    for _ in 0..10 {
        queue.push(messages(1_000)).await.unwrap();
    }
    let client = db.client().await;
    client
        .batch_execute("SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off")
        .await
        .unwrap();
    let plan = format!(
        "EXPLAIN SELECT ctid FROM {} WHERE queue = 'q' AND holder IS NULL ORDER BY priority DESC, seq LIMIT 100 FOR UPDATE SKIP LOCKED",
        db.names().table("messages")
    );
    let lines: Vec<String> = client.query(&plan, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let text = lines.join("\n");
    assert!(
        text.contains("messages_order") && !text.contains("Sort") && !text.contains("Seq Scan"),
        "{text}"
    );
}

#[tokio::test]
async fn a_push_in_a_transaction_is_there_with_it_or_not_at_all() {
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    let mut client = db.client().await;
    for (commits, ready) in [(false, 0), (true, 3)] {
        let tx = client.transaction().await.unwrap();
        queue.on(&tx).push(messages(3)).await.unwrap();
        assert_eq!(queue.stats("q").await.unwrap().ready, 0);
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(queue.stats("q").await.unwrap().ready, ready);
    }
}

#[tokio::test]
async fn a_claim_does_not_wait_for_one_that_is_under_way() {
    // F60: and takes none of its messages
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(20)).await.unwrap();
    let (mut client, all) = (db.client().await, db.db());
    let tx = client.transaction().await.unwrap();
    let slow = PgQueue::new(&all).on(&tx).claim(request(10)).await.unwrap().deliveries;
    let fast = queue.claim(request(20)).await.unwrap().deliveries;
    let ids: HashSet<_> = slow.iter().chain(&fast).map(|delivery| delivery.message.id.clone()).collect();
    assert_eq!((slow.len(), fast.len(), ids.len()), (10, 10, 20));
    tx.rollback().await.unwrap();
    assert_eq!(
        queue.claim(request(20)).await.unwrap().deliveries.len(),
        10,
        "what was given up is there again"
    );
}

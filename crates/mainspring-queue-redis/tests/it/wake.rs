//! Who is woken, and by what.

use std::time::Duration;

use mainspring::{Available, ClaimRequest, NewMessage, QueueDriver, WorkerId};
use mainspring_pg::{Carrier, Hint};
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use crate::{process, redis, say, server};

const LONG: Duration = Duration::from_secs(30);

fn message() -> NewMessage {
    NewMessage::new("q", "work", json!({}))
}

fn request() -> ClaimRequest {
    ClaimRequest::new("q", WorkerId::generate(), LONG, 1)
}

#[tokio::test]
async fn as_many_as_there_are_messages_are_woken_and_each_gets_one() {
    let Some(server) = server(&[]) else { return };
    let db = TestDb::with_pool(16).await;
    let (pusher, _) = process(server.url(), &db);
    let mut waiting = JoinSet::new();
    let mut all = Vec::new();
    for _ in 0..8 {
        let (stores, redis) = process(server.url(), &db);
        assert!(stores.queue.claim(request()).await.unwrap().deliveries.is_empty());
        // The first wait ends when this process hears for the first time, since it may have missed something before.
        stores.queue.wait("q", LONG).await;
        assert!(stores.queue.claim(request()).await.unwrap().deliveries.is_empty());
        all.push(redis);
        waiting.spawn(async move {
            stores.queue.wait("q", LONG).await;
            stores.queue.claim(request()).await.unwrap().deliveries.len()
        });
    }
    pusher.queue.push((0..3).map(|_| message()).collect()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(timeout(LONG, waiting.join_next()).await.unwrap().unwrap().unwrap(), 1);
    }
    assert_eq!(all.iter().map(|redis| redis.health().tally.taken).sum::<u64>(), 3);
    assert_eq!(all.iter().map(|redis| redis.health().tally.ghosts).sum::<u64>(), 0);
    assert!(waiting.try_join_next().is_none(), "nobody else was woken");
    pusher.queue.hint("q");
    while let Some(woken) = timeout(LONG, waiting.join_next()).await.unwrap() {
        assert_eq!(woken.unwrap(), 0, "a hint to look is for everybody");
    }
}

#[tokio::test]
async fn a_ticket_without_a_message_is_counted_and_the_next_one_works() {
    // fault F65
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let (worker, of_worker) = process(server.url(), &db);
    let (pusher, _) = process(server.url(), &db);
    worker.queue.claim(request()).await.unwrap();
    redis(server.url(), &db).send(vec![Hint { name: "q".into(), look: false, tickets: 1 }]).await.unwrap();
    worker.queue.wait("q", LONG).await;
    assert!(worker.queue.claim(request()).await.unwrap().deliveries.is_empty());
    worker.queue.wait("q", Duration::from_millis(1)).await;
    pusher.queue.push(vec![message()]).await.unwrap();
    let delivered = async {
        while worker.queue.claim(request()).await.unwrap().deliveries.is_empty() {
            worker.queue.wait("q", LONG).await;
        }
    };
    timeout(LONG, delivered).await.unwrap();
    let counted = async {
        while of_worker.health().tally.ghosts + of_worker.health().tally.taken == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, counted).await.unwrap();
}

#[tokio::test]
async fn what_is_claimed_without_a_ticket_takes_its_ticket_along() {
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let ((pusher, _), (worker, _)) = (process(server.url(), &db), process(server.url(), &db));
    let tickets = redis(server.url(), &db);
    pusher.queue.push((0..5).map(|_| message()).collect()).await.unwrap();
    let counted = async {
        while tickets.take("q", 1).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, counted).await.unwrap(); // there are 4 left
    let claimed = worker.queue.claim(ClaimRequest { max: 5, ..request() }).await.unwrap();
    assert_eq!(claimed.deliveries.len(), 5);
    let left = async || say(server.url(), &["EXISTS", &format!("{}:tickets:q", db.name())]).await.unwrap();
    let none = async {
        while left().await != ::redis::Value::Int(0) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, none).await.unwrap();
    pusher.queue.push(vec![message()]).await.unwrap();
    worker.queue.wait("q", LONG).await;
    assert_eq!(worker.queue.claim(request()).await.unwrap().deliveries.len(), 1);
}

#[tokio::test]
async fn a_message_that_is_due_later_is_announced_and_waits() {
    // R10
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let ((pusher, _), (worker, _)) = (process(server.url(), &db), process(server.url(), &db));
    worker.queue.claim(request()).await.unwrap();
    let later = NewMessage { available: Available::After(Duration::from_secs(3600)), ..message() };
    pusher.queue.push(vec![later]).await.unwrap();
    let announced = async {
        loop {
            worker.queue.wait("q", LONG).await;
            let claimed = worker.queue.claim(request()).await.unwrap();
            assert!(claimed.deliveries.is_empty());
            if claimed.next_due.is_some() {
                break;
            }
        }
    };
    timeout(LONG, announced).await.unwrap();
    db.advance(Duration::from_secs(3601)).await;
    assert_eq!(worker.queue.claim(request()).await.unwrap().deliveries.len(), 1);
}

//! What cannot be read: in Postgres a message, in Redis a counter and a call (R09).

use std::time::Duration;

use mainspring::{ClaimRequest, NewMessage, QueueDriver, WorkerId};
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::time::timeout;

use crate::{process, say, server};

const LONG: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);

fn message(n: u32) -> NewMessage {
    NewMessage::new("q", "work", json!(n))
}

fn request() -> ClaimRequest {
    ClaimRequest::new("q", WorkerId::generate(), Duration::from_secs(60), 10)
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_set_aside_with_all_it_has_and_the_others_are_delivered() {
    // R09
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let ((pusher, _), (worker, _)) = (process(server.url(), &db), process(server.url(), &db));
    pusher.queue.push((0..3).map(message).collect()).await.unwrap();
    let client = db.client().await;
    // It is JSON to Postgres and to nobody else.
    let spoil = "UPDATE ms_messages SET data = '{\"n\": 1e400}' WHERE data = '1'";
    assert_eq!(client.execute(spoil, &[]).await.unwrap(), 1);
    let claimed = worker.queue.claim(request()).await.unwrap().deliveries;
    let claimed: Vec<_> = claimed.into_iter().map(|delivery| delivery.message.data).collect();
    assert_eq!(claimed, [json!(0), json!(2)]);
    let dead = worker.queue.dead_letters("q", 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].reason.code.as_str()), (1, "UNREADABLE"));
    let kept = client.query_one("SELECT data->>'n' FROM ms_dead_letters", &[]).await.unwrap();
    assert!(kept.get::<_, &str>(0).starts_with('1'), "it is there for people");
}

#[tokio::test]
async fn what_is_no_counter_in_redis_and_no_call_keeps_nobody_from_being_called() {
    // R09
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let ((pusher, _), (worker, of_worker)) = (process(server.url(), &db), process(server.url(), &db));
    let (counter, channel) = (format!("{}:tickets:q", db.name()), format!("{}:hints", db.name()));
    let spoils: [&[&str]; 5] = [
        &["SET", &counter, "many"],
        &["SET", &counter, "-3"],
        &["SET", &counter, "99999999999999999999999"],
        &["LPUSH", &counter, "1"],
        &["HSET", &counter, "1", "1"],
    ];
    worker.queue.claim(request()).await.unwrap();
    timeout(PATIENCE, worker.queue.wait("q", LONG)).await.unwrap();
    for (spoil, taken) in spoils.into_iter().zip(1..) {
        assert!(worker.queue.claim(request()).await.unwrap().deliveries.is_empty());
        say(server.url(), &["DEL", &counter]).await.unwrap();
        say(server.url(), spoil).await.unwrap();
        for call in ["", "?", "+", "=", "\u{1F980}", "+\0"] {
            say(server.url(), &["PUBLISH", &channel, call]).await.unwrap();
        }
        pusher.queue.push(vec![message(taken)]).await.unwrap();
        timeout(PATIENCE, worker.queue.wait("q", LONG)).await.unwrap();
        assert_eq!(worker.queue.claim(request()).await.unwrap().deliveries.len(), 1);
        assert_eq!(of_worker.health().tally.taken, u64::from(taken), "{spoil:?}");
    }
    let health = of_worker.health();
    assert!(health.up && health.listening && health.tally.ghosts == 0, "{health:?}");
}

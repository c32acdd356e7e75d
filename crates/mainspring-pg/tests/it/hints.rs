//! Hints: they wake, they are merged, they come back after a lost connection.

use std::time::{Duration, Instant};

use mainspring_pg::Hints;

use crate::{
    ground::{self, Ground},
    proxy::Proxy,
};

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(100);

fn hints(ground: &Ground) -> Hints {
    Hints::new(Some(ground.db(1)), Some(ground::settings()), ground.names.clone())
}

/// Waits until LISTEN is up: reconnecting wakes everybody.
async fn listening(hints: &Hints) {
    assert!(hints.wait("first", LONG).await);
}

#[tokio::test]
async fn a_hint_wakes_a_waiter_in_another_process() {
    let ground = Ground::new().await;
    let (here, there) = (hints(&ground), hints(&ground));
    listening(&there).await;
    let mut orders = there.subscribe("orders");
    let mut other = there.subscribe("other");
    here.notify(["orders"]);
    assert!(orders.wait(LONG).await);
    assert!(!other.wait(SHORT).await);
    assert!(!orders.wait(SHORT).await); // one hint, one wake
}

#[tokio::test]
async fn a_hint_between_subscribing_and_waiting_is_not_missed() {
    let hints = Hints::poll_only();
    let mut waiting = hints.subscribe("q");
    assert_eq!(waiting.queue(), "q");
    hints.notify(["q", "unknown"]);
    hints.notify(["q"]);
    assert!(waiting.wait(Duration::ZERO).await || waiting.wait(SHORT).await);
    assert!(!waiting.wait(SHORT).await);
    let started = Instant::now();
    assert!(!hints.wait("q", SHORT).await);
    assert!(started.elapsed() >= SHORT);
}

#[tokio::test]
async fn poll_only_wakes_within_the_process() {
    let hints = Hints::poll_only();
    let task = tokio::spawn({
        let hints = hints.clone();
        async move { hints.wait("q", LONG).await }
    });
    while !task.is_finished() {
        hints.notify(["q"]);
        tokio::task::yield_now().await;
    }
    assert!(task.await.unwrap());
}

#[tokio::test]
async fn two_prefixes_do_not_hear_each_other() {
    let ground = Ground::new().await;
    let here = hints(&ground);
    let names = ground.prefixed("other_");
    let there = Hints::new(None, Some(ground::settings()), names);
    listening(&there).await;
    let mut waiting = there.subscribe("orders");
    here.notify(["orders"]);
    assert!(!waiting.wait(Duration::from_millis(300)).await);
}

#[tokio::test]
async fn many_hints_become_few_statements() {
    // fault F72
    let ground = Ground::new().await;
    let there = hints(&ground);
    listening(&there).await;
    let here = Hints::new(Some(ground.db(1)), None, ground.names.clone());
    let mut waiting = there.subscribe("q");
    for _ in 0..1000 {
        here.notify(["q"]);
    }
    assert!(waiting.wait(LONG).await);
    let mut wakes = 1;
    while waiting.wait(SHORT).await {
        wakes += 1;
    }
    assert!(wakes <= 3, "{wakes}");
}

#[tokio::test]
async fn a_killed_listener_connects_again_and_wakes_everybody() {
    let ground = Ground::new().await;
    let name = format!("listener-{}", ground.names.schema());
    let settings = ground::settings().with("application_name", &name).unwrap();
    let there = Hints::new(None, Some(settings), ground.names.clone());
    listening(&there).await;
    let mut waiting = there.subscribe("q");
    let admin = ground::admin().await;
    const KILL: &str =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    assert_eq!(admin.query_one(KILL, &[&name]).await.unwrap().get::<_, i64>(0), 1);
    assert!(waiting.wait(LONG).await); // woken by the reconnect
    hints(&ground).notify(["q"]); // this instance goes before it can send
    let here = hints(&ground);
    here.notify(["q"]);
    assert!(waiting.wait(LONG).await);

    // The connection belongs to the instance.
    drop((waiting, there));
    for _ in 0..100 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        if admin.query_one(count, &[&name]).await.unwrap().get::<_, i64>(0) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the listening connection outlived its owner");
}

#[tokio::test]
async fn a_dead_database_does_not_disturb_the_sender() {
    let ground = Ground::bare();
    let nowhere = ground::settings().with("host", "127.0.0.1").unwrap().with("port", "1").unwrap();
    let db = ground.db_on(&nowhere, 1, mainspring_pg::Deadlines::default());
    let hints = Hints::new(Some(db), Some(nowhere), ground.names.clone());
    let mut waiting = hints.subscribe("q");
    hints.notify(["q"]);
    assert!(waiting.wait(LONG).await);
}

#[tokio::test]
async fn f70_a_silent_listening_connection_is_replaced() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let ping = Duration::from_millis(200);
    let there = Hints::with_ping(None, Some(proxy.settings()), ground.names.clone(), ping);
    listening(&there).await;
    let mut waiting = there.subscribe("q");
    proxy.mute();
    assert!(waiting.wait(LONG).await); // woken by the new connection
    let here = hints(&ground);
    here.notify(["q"]);
    assert!(waiting.wait(LONG).await);
}

#[tokio::test]
async fn f40_a_password_that_is_refused_for_a_while_is_tried_again_now_and_then() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let ping = Duration::from_millis(200);
    let there = Hints::with_ping(None, Some(proxy.settings()), ground.names.clone(), ping);
    listening(&there).await;
    let mut waiting = there.subscribe("q");
    let db = ground.db_on(&proxy.settings(), 1, mainspring_pg::Deadlines::default());
    proxy.distrust_new(true);
    proxy.mute(); // what is open is lost
    let error = db.one("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.kind(), mainspring_core::ErrorKind::Unavailable);
    assert!(error.to_string().contains("28P01"), "{error}");
    let before = proxy.distrusted();
    while proxy.distrusted() < before + 2 {
        assert!(!waiting.wait(SHORT).await, "nobody listens");
    }
    assert!(!waiting.wait(Duration::from_secs(1)).await);
    assert!(proxy.distrusted() < 50, "{} tries in about a second", proxy.distrusted());
    proxy.distrust_new(false);
    assert!(waiting.wait(LONG).await); // woken by the new connection
    db.one("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn f71_a_payload_postgres_refuses_does_not_hurt_the_others() {
    let ground = Ground::new().await;
    let (here, there) = (hints(&ground), hints(&ground));
    listening(&there).await;
    let mut waiting = there.subscribe("q");
    here.notify(["x".repeat(9000).as_str(), "a\0b", "q", ""]);
    assert!(waiting.wait(LONG).await);
}

//! Pushes in a transaction of the caller's: what queues and messages ask for is there with it or not at all (Q48).

use std::time::Duration;

use mainspring_core::{
    Available, Group, GroupLimit, MessageOptions, MessageQuery, NewMessage, Pushed, QueueDriver,
    QueueOptions, QueueStats, QueueStore, Settle, Settlement, Unique,
};
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::json;

use super::{HOUR, ready};

/// The options of the queue `q`: one of a group at work.
async fn queue_of(test: &TestDb) -> PgQueue<'static> {
    let queue = PgQueue::new(&test.db());
    let options = QueueOptions { groups: Some(GroupLimit::new(1)), ..QueueOptions::default() };
    queue.create_queue("q", options).await.unwrap();
    queue
}

fn message(n: usize) -> NewMessage {
    NewMessage::new("q", "t", json!(n))
}

fn unique(n: usize, key: &str, unique: Unique) -> NewMessage {
    let options = MessageOptions { unique: Some(unique), ..MessageOptions::default() };
    NewMessage { key: Some(key.into()), options, ..message(n) }
}

/// Throttled, debounced, keyed, grouped, put off, and two that wait for others.
fn one_of_each() -> Vec<NewMessage> {
    let long = Duration::from_secs(50 * 365 * 86_400);
    let grouped = |n| NewMessage { group: Some(Group::new("g")), ..message(n) };
    let (throttled, first) = (unique(0, "t", Unique::Throttle(long)), grouped(4));
    let child = message(7).after([&throttled, &first]);
    let grandchild = unique(8, "c", Unique::Unfinished).after([&child]);
    vec![
        throttled,
        unique(1, "d", Unique::Debounce(long)),
        unique(2, "d", Unique::Debounce(long)),
        unique(3, "u", Unique::Unfinished),
        first,
        grouped(5),
        NewMessage { available: Available::After(HOUR), ..message(6) },
        child,
        grandchild,
    ]
}

fn duplicates(pushed: &[Pushed]) -> Vec<usize> {
    pushed.iter().enumerate().filter(|(_, pushed)| pushed.duplicate).map(|(n, _)| n).collect()
}

#[tokio::test]
async fn what_a_push_asks_for_is_there_with_the_transaction_of_the_caller_or_not_at_all() {
    // Q48
    let test = TestDb::new().await;
    let queue = queue_of(&test).await;
    let mut client = test.client().await;
    for commits in [false, true] {
        let tx = client.transaction().await.unwrap();
        let here = queue.on(&tx);
        assert_eq!(duplicates(&here.push_each(one_of_each()).await.unwrap()), [0; 0]);
        let again = here.push_each(vec![unique(30, "u", Unique::Unfinished)]).await.unwrap();
        assert!(again[0].duplicate, "it sees its own");
        assert_eq!(queue.stats("q").await.unwrap(), QueueStats::default());
        assert!(ready(&test, "q").await.is_empty());
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
            assert!(queue.find_messages("q", MessageQuery::default()).await.unwrap().is_empty());
            assert_eq!(queue.check_queues().await.unwrap(), [""; 0]);
        }
    }
    let again: Vec<NewMessage> = one_of_each();
    let again: Vec<NewMessage> = again.into_iter().filter(|m| m.options.unique.is_some()).collect();
    assert_eq!(duplicates(&queue.push_each(again).await.unwrap()), [0, 1, 2, 3, 4]);
    let first = ready(&test, "q").await;
    let numbers: Vec<_> = first.iter().map(|delivery| delivery.message.data.clone()).collect();
    assert_eq!(numbers, [json!(0), json!(1), json!(3), json!(4)]);
    let stats = queue.stats("q").await.unwrap();
    assert_eq!((stats.claimed, stats.held, stats.deferred, stats.blocked), (4, 1, 2, 2));
    let done = |lease| Settle::new(lease, Settlement::Done);
    queue.settle(first.into_iter().map(|delivery| done(delivery.lease)).collect()).await.unwrap();
    let numbers: Vec<_> =
        ready(&test, "q").await.iter().map(|delivery| delivery.message.data.clone()).collect();
    assert_eq!(numbers, [json!(5), json!(7)]);
    assert_eq!(queue.check_queues().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_same_from_sql() {
    // Q48
    let test = TestDb::new().await;
    let queue = queue_of(&test).await;
    let client = test.client().await;
    let push = test.names().table("push");
    let pushes = [
        "'q', 't', '1', key => 'k', unique_by => 'unfinished', id => 'keyed'",
        "'q', 't', '2', key => 't', unique_by => 'throttle', unique_for => '50 years'",
        "'q', 't', '3', group_id => 'g'",
        "'q', 't', '4', group_id => 'g', id => 'second'",
        "'q', 't', '5', id => 'child', depends_on => '[{\"queue\": \"q\", \"id\": \"keyed\"}, {\"queue\": \"q\", \"id\": \"second\"}]'",
        "'q', 't', '6', depends_on => '[{\"queue\": \"q\", \"id\": \"child\"}]', parent_failure => 'fail'",
        "'q', 't', '7', depends_on => '[]'",
    ];
    for (end, expected) in [
        ("ROLLBACK", QueueStats::default()),
        ("COMMIT", QueueStats { ready: 3, held: 2, blocked: 2, ..QueueStats::default() }),
    ] {
        client.batch_execute("BEGIN").await.unwrap();
        for arguments in pushes {
            client.batch_execute(&format!("SELECT {push}({arguments})")).await.unwrap();
        }
        assert_eq!(queue.stats("q").await.unwrap(), QueueStats::default());
        client.batch_execute(end).await.unwrap();
        assert_eq!(queue.stats("q").await.unwrap(), expected, "{end}");
    }
    for (arguments, problem) in [
        ("'q', 't', '1', depends_on => '{}'", "message.depends_on: is not an array"),
        ("'q', 't', '1', depends_on => '[\"keyed\"]'", "message.depends_on: is not an array of objects"),
        (
            "'q', 't', '1', depends_on => '[{\"queue\": \"q\"}]'",
            "message.depends_on: is not an array of objects",
        ),
        (
            "'q', 't', '1', depends_on => '[{\"queue\": \"q\", \"id\": \"no\"}]'",
            "there is no message `no` in the queue `q`",
        ),
        ("'q', 't', '1', id => 'x', depends_on => '[{\"queue\": \"q\", \"id\": \"x\"}]'", "waits for itself"),
        ("'q', 't', '1', parent_failure => 'panic'", "`panic` is not wait, run or fail"),
        (
            "'plain', 't', '1', depends_on => '[{\"queue\": \"q\", \"id\": \"keyed\"}]'",
            "a queue that was created",
        ),
    ] {
        let error = client.batch_execute(&format!("SELECT {push}({arguments})")).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(error.message().contains(problem) && error.code().code() == "22023", "{arguments}: {error}");
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        let some = ready(&test, "q").await;
        seen.push(some.iter().map(|delivery| delivery.message.data.as_u64().unwrap()).collect::<Vec<_>>());
        let done = |lease| Settle::new(lease, Settlement::Done);
        queue.settle(some.into_iter().map(|delivery| done(delivery.lease)).collect()).await.unwrap();
    }
    assert_eq!(seen, [vec![1, 2, 3, 7], vec![4], vec![5], vec![6]]);
}

#[tokio::test]
async fn a_parent_that_ends_while_a_child_is_pushed_knows_of_it() {
    // Q33: whether the push is committed or not
    let test = TestDb::new().await;
    let queue = queue_of(&test).await;
    let (mut client, watcher) = (test.client().await, test.client().await);
    for commits in [true, false] {
        let parent = message(1);
        queue.push(vec![parent.clone()]).await.unwrap();
        let lease = ready(&test, "q").await.remove(0).lease;
        let tx = client.transaction().await.unwrap();
        queue.on(&tx).push(vec![message(2).after([&parent])]).await.unwrap();
        let settling = {
            let queue = queue.clone();
            tokio::spawn(async move { queue.settle(vec![Settle::new(lease, Settlement::Done)]).await })
        };
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        settling.await.unwrap().unwrap().remove(0).unwrap();
        let child = ready(&test, "q").await;
        assert_eq!(child.len(), usize::from(commits));
        for delivery in child {
            let settle = Settle::new(delivery.lease, Settlement::Done);
            queue.settle(vec![settle]).await.unwrap().remove(0).unwrap();
        }
        assert_eq!(queue.stats("q").await.unwrap(), QueueStats::default());
    }
}

#[tokio::test]
async fn a_key_that_was_locked_while_its_message_ended_goes_with_the_sweep() {
    // Q16, Q22: and those that are still needed stay
    let test = TestDb::new().await;
    let queue = queue_of(&test).await;
    let one = |n| unique(n, &format!("k{n}"), Unique::Unfinished);
    queue.push_each(vec![one(1), one(2), one(3)]).await.unwrap();
    let mut held = ready(&test, "q").await;
    let mut client = test.client().await;
    let tx = client.transaction().await.unwrap();
    assert!(queue.on(&tx).push_each(vec![one(1)]).await.unwrap()[0].duplicate);
    let lease = held.remove(0).lease;
    queue.settle(vec![Settle::new(lease, Settlement::Done)]).await.unwrap().remove(0).unwrap();
    tx.rollback().await.unwrap();
    let long = Duration::from_secs(50 * 365 * 86_400);
    queue.push_each(vec![unique(4, "d", Unique::Debounce(long))]).await.unwrap(); // the next slot is nobody's
    let keys = format!("SELECT key FROM {} WHERE until IS NULL ORDER BY key", test.names().table("keys"));
    let keys = async || {
        let rows = test.client().await.query(&keys, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    assert_eq!(keys().await, ["d", "k1", "k2", "k3"]);
    queue.sweep().await.unwrap();
    assert_eq!(keys().await, ["k2", "k3"]);
    assert_eq!(
        duplicates(
            &queue.push_each(vec![one(1), one(2), unique(5, "d", Unique::Debounce(long))]).await.unwrap()
        ),
        [1]
    );
}

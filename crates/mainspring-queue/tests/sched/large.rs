//! Pushes of more messages than go well into one statement.

use mainspring_core::{
    Available, MessageOptions, NewMessage, Policy, QueueDriver, QueueOptions, QueueStats, QueueStore, Unique,
};
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::json;

use super::{DAY, HOUR, MINUTE};

async fn queues(test: &TestDb) -> PgQueue<'static> {
    let queue = PgQueue::new(&test.db());
    let options = QueueOptions { priority: 5, max_attempts: 9, keep_queued: DAY, ..QueueOptions::default() };
    queue.create_queue("made", options.clone()).await.unwrap();
    queue.create_queue("later", QueueOptions { delay: HOUR, ..options.clone() }).await.unwrap();
    queue.create_queue("keyed", options.clone()).await.unwrap();
    queue.create_queue("strict", QueueOptions { policy: Policy::KeyStrictFifo, ..options }).await.unwrap();
    queue
}

/// For every kind of queue, with every field set now and then.
fn batch(count: usize) -> Vec<NewMessage> {
    let one = |n: usize| {
        let queue = ["plain", "made", "later", "keyed", "strict"][n % 5];
        let mut message = NewMessage::new(queue, "t", json!(n));
        match n % 7 {
            0 => message.priority = Some(i16::try_from(n % 100).unwrap() - 50),
            1 => message.max_attempts = Some(1),
            2 => message.available = Available::After(MINUTE),
            3 => message.available = Available::Now,
            4 => {
                message.headers.insert("n".into(), json!(n));
                (message.tenant, message.source) = ("acme".into(), Some("shop".into()));
                (message.subject, message.to) = (Some("order".into()), Some("ada".into()));
            }
            _ => {}
        }
        if n % 5 > 2 {
            message.key = Some(format!("k{}", n % 50));
        }
        if n % 5 == 3 {
            message.options =
                MessageOptions { unique: Some(Unique::Unfinished), ..MessageOptions::default() };
        }
        message
    };
    (0..count).map(one).collect()
}

/// Everything that does not change from run to run.
async fn stored(test: &TestDb) -> Vec<String> {
    let columns = "queue, priority, max_attempts, tenant, type, source, subject, recipient, data, headers, key, gate, managed, options,
        keep_until - created_at AS kept";
    let tables = [
        ("messages", "0"),
        ("held", "0"), // whom the gates have admitted by now is another matter
        ("deferred", "extract(epoch FROM available_at - created_at)::integer"),
    ];
    let parts = tables
        .map(|(table, due)| format!("SELECT {due} AS due, {columns} FROM {}", test.names().table(table)));
    let sql = format!("SELECT x::text FROM ({}) x ORDER BY x.data::text", parts.join(" UNION ALL "));
    test.client().await.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_large_push_is_as_many_small_ones() {
    let (small, large) = (TestDb::new().await, TestDb::new().await);
    let queue = queues(&small).await;
    for some in batch(2_500).chunks(500) {
        queue.push(some.to_vec()).await.unwrap();
    }
    queues(&large).await.push(batch(2_500)).await.unwrap();
    let (expected, there) = (stored(&small).await, stored(&large).await);
    assert_eq!(expected.len(), there.len());
    let different: Vec<_> = expected.iter().zip(&there).filter(|(a, b)| a != b).take(3).collect();
    assert!(different.is_empty(), "{different:#?}");
    let order = format!(
        "SELECT bool_and(a) FROM (SELECT data::text::integer > lag(data::text::integer) OVER (ORDER BY seq) AS a
           FROM {} WHERE queue IN ('plain', 'made')) x",
        large.names().table("messages")
    );
    let in_order: bool = large.client().await.query_one(&order, &[]).await.unwrap().get(0);
    assert!(in_order, "in the order of the push");
}

#[tokio::test]
async fn a_large_push_tells_of_each_message_what_became_of_it() {
    let test = TestDb::new().await;
    let queue = queues(&test).await;
    let keyed: Vec<NewMessage> =
        batch(6_000).into_iter().filter(|m| ["made", "keyed"].contains(&m.queue.as_str())).collect();
    let pushed = queue.push_each(keyed.clone()).await.unwrap();
    assert_eq!(pushed.len(), 2_400);
    for (pushed, message) in pushed.iter().zip(&keyed) {
        assert_eq!(pushed.duplicate, pushed.id != message.id);
    }
    assert_eq!(pushed.iter().filter(|pushed| pushed.duplicate).count(), 1_190, "of 1,200 with ten keys");
}

#[tokio::test]
async fn a_large_push_is_all_or_nothing_also_in_a_transaction_of_the_caller() {
    // Q48
    let test = TestDb::new().await;
    let queue = PgQueue::new(&test.db());
    let some = |queue: &str| -> Vec<NewMessage> {
        (0..1_500).map(|n| NewMessage::new(queue, "t", json!(n))).collect()
    };
    let mut bad = some("q");
    bad[1_400].max_attempts = Some(0);
    assert!(queue.push(bad).await.unwrap_err().is_invalid());
    let mut unknown = some("q");
    unknown[7] = NewMessage { key: Some("k".into()), ..NewMessage::new("never", "t", json!(0)) };
    assert!(queue.push(unknown).await.unwrap_err().is_invalid());
    let mut twice = some("q");
    twice[9].id = twice[1_200].id.clone();
    assert!(queue.push(twice).await.unwrap_err().is_invalid());
    assert_eq!(queue.stats("q").await.unwrap(), QueueStats::default());
    let mut client = test.client().await;
    for (commits, expected) in [(false, 0), (true, 1_500)] {
        let tx = client.transaction().await.unwrap();
        queue.on(&tx).push(some("q")).await.unwrap();
        assert_eq!(queue.stats("q").await.unwrap().ready, 0);
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(queue.stats("q").await.unwrap().ready, expected);
    }
}

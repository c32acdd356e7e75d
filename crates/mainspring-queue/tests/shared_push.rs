//! Pushes of many tasks at the same time become few commits.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use mainspring_core::{NewMessage, QueueDriver};
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::task::JoinHandle;

fn messages(n: usize) -> Vec<NewMessage> {
    (0..n).map(|i| NewMessage::new("q", "t", json!({"i": i}))).collect()
}

/// The answers of tasks that have all begun, in order.
async fn all<T>(tasks: impl Iterator<Item = JoinHandle<T>>) -> Vec<T> {
    let begun: Vec<_> = tasks.collect();
    let mut answers = Vec::with_capacity(begun.len());
    for task in begun {
        answers.push(task.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_at_the_same_time_share_commits_and_each_has_its_own_answer() {
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db()).with_shared_pushes();
    queue.push(messages(1)).await.unwrap();
    let pushes = (0..200).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut batch = messages(3);
            if n % 10 == 9 {
                batch[1].max_attempts = Some(0); // refused at the door
            }
            queue.push(batch).await
        })
    });
    let answers = all(pushes).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 180);
    assert!(
        answers.iter().filter_map(|answer| answer.as_ref().err()).all(mainspring_core::Error::is_invalid)
    );
    let row = db.db().one("SELECT count(DISTINCT xmin::text) FROM {messages}", &[]).await.unwrap();
    let commits: i64 = row.get(0);
    assert!(commits < 90, "{commits} transactions");
    assert_eq!(queue.stats("q").await.unwrap().ready, 1 + 180 * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_the_database_refuses_spares_those_beside_it() {
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db()).with_shared_pushes();
    let client = db.client().await;
    let names = db.names().render("ALTER TABLE {messages} ADD CHECK (type <> 'bad')");
    client.batch_execute(&names).await.unwrap();
    let pushes = (0..20).map(|n| {
        let queue = queue.clone();
        let name = if n == 7 { "bad" } else { "good" };
        tokio::spawn(async move { queue.push(vec![NewMessage::new("q", name, json!(n))]).await.is_ok() })
    });
    let answers = all(pushes).await;
    assert_eq!(answers.iter().filter(|ok| !**ok).count(), 1);
    assert!(!answers[7]);
    assert_eq!(queue.stats("q").await.unwrap().ready, 19);
}

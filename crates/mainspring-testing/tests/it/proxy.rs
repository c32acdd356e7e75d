//! What a driver sees, and what the server has done, when the connection breaks at a COMMIT.

use std::time::Duration;

use mainspring_testing::{Cut, Proxy, TestDb};

const PATIENCE: Duration = Duration::from_secs(30);

async fn setup() -> (TestDb, Proxy) {
    let test = TestDb::new().await;
    test.client().await.batch_execute("CREATE TABLE notes (n int)").await.unwrap();
    let proxy = Proxy::before(&test).await.unwrap();
    (test, proxy)
}

/// A transaction of its own connection, the COMMIT simple or prepared; whether the driver heard of its success.
async fn insert(proxy: &Proxy, n: i32, prepared: bool) -> bool {
    let client = proxy.settings().connect().await.unwrap();
    let statement = client.prepare("COMMIT").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    client.execute("INSERT INTO notes VALUES ($1)", &[&n]).await.unwrap();
    let committed = async {
        if prepared {
            client.execute(&statement, &[]).await.is_ok()
        } else {
            client.batch_execute("COMMIT").await.is_ok()
        }
    };
    tokio::time::timeout(PATIENCE, committed).await.unwrap()
}

async fn notes(test: &TestDb) -> Vec<i32> {
    let rows = test.client().await.query("SELECT n FROM notes ORDER BY n", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_commit_that_never_arrives_is_rolled_back() {
    let (test, proxy) = setup().await;
    for (n, prepared) in [(1, false), (2, true)] {
        proxy.arm(Cut::BeforeCommit, 1);
        assert!(!insert(&proxy, n, prepared).await);
        assert!(insert(&proxy, n + 10, prepared).await, "it happens once");
    }
    assert_eq!(notes(&test).await, [11, 12]);
    assert_eq!((proxy.commits(), proxy.cuts()), (4, 2));
}

#[tokio::test]
async fn a_lost_answer_leaves_what_was_committed() {
    let (test, proxy) = setup().await;
    for (n, prepared) in [(1, false), (2, true)] {
        proxy.arm(Cut::DropReply, 1);
        assert!(!insert(&proxy, n, prepared).await);
    }
    assert_eq!(notes(&test).await, [1, 2]);
}

#[tokio::test]
async fn the_nth_commit_is_cut_after_it_was_sent() {
    let (test, proxy) = setup().await;
    proxy.arm(Cut::AfterCommit, 2);
    assert!(insert(&proxy, 1, false).await);
    assert!(!insert(&proxy, 2, false).await);
    assert!(insert(&proxy, 3, false).await);
    let mut found = notes(&test).await;
    found.retain(|n| *n != 2); // whether it took effect is for the server to say
    assert_eq!(found, [1, 3]);
}

#[tokio::test]
async fn a_black_hole_answers_nobody_until_it_ends() {
    let (test, proxy) = setup().await;
    let client = proxy.settings().connect().await.unwrap();
    proxy.black_hole(true);
    let mut query = Box::pin(client.query("SELECT 1", &[]));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut query).await.is_err());
    proxy.black_hole(false);
    assert_eq!(tokio::time::timeout(PATIENCE, query).await.unwrap().unwrap().len(), 1);
    proxy.refuse(true);
    assert!(proxy.settings().connect().await.is_err());
    proxy.refuse(false);
    proxy.settings().connect().await.unwrap();
    assert!(notes(&test).await.is_empty());
}

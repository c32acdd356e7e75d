//! What is special about large values on Postgres; what every backend does alike is in the conformance suite.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::time::SystemTime;

use mainspring_context::{MAX_VALUE, PgContextStore};
use mainspring_core::{ContextStore, Error, Execution, ExecutionId, ExecutionStore, Result, Timestamp};
use mainspring_executions::PgExecutionStore;
use mainspring_pg::Db;
use mainspring_testing::TestDb;
use serde_json::{Value, json};
use tokio::task::JoinSet;

struct World {
    _test: TestDb,
    db: Db<'static>,
    context: PgContextStore<'static>,
    e: ExecutionId,
}

async fn world() -> World {
    let test = TestDb::new().await;
    let db = test.db();
    let e = ExecutionId::new("e").unwrap();
    PgExecutionStore::new(&db).create(Execution::new(e.clone(), "order", "1.0.0", "scan")).await.unwrap();
    World { context: PgContextStore::new(&db), db, e, _test: test }
}

impl World {
    async fn get(&self, key: &str) -> Value {
        self.context.get(&self.e, key).await.unwrap()
    }
}

#[tokio::test]
async fn a_value_may_have_sixteen_mebibytes_and_no_byte_more() {
    let world = world().await;
    let largest = json!("x".repeat(MAX_VALUE - 2));
    let reference = world.context.set(&world.e, "k", largest.clone()).await.unwrap();
    assert_eq!(reference.size, MAX_VALUE);
    assert_eq!(world.get("k").await, largest);
    let over = world.context.set(&world.e, "k", json!("x".repeat(MAX_VALUE - 1))).await.unwrap_err();
    assert!(over.is_invalid());
    assert_eq!(over.to_string(), "context.k: 16777217 bytes, at most 16777216 are allowed");
}

#[tokio::test]
async fn the_reference_says_when_the_value_was_stored() {
    const STORED: &str = "SELECT size_bytes, created_at FROM {context_values}";
    let world = world().await;
    let first = world.context.set(&world.e, "k", json!([1])).await.unwrap();
    let second = world.context.set(&world.e, "k", json!([1, 2])).await.unwrap();
    assert!(second.created_at > first.created_at);
    let row = world.db.one(STORED, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), i64::try_from(second.size).unwrap());
    assert_eq!(Timestamp::from(row.get::<_, SystemTime>(1)), second.created_at);
}

#[tokio::test]
async fn a_rollback_leaves_what_was_there() {
    let world = world().await;
    world.context.set(&world.e, "k", json!("old")).await.unwrap();
    let undone: Result<()> = world
        .db
        .with_tx(async |tx| {
            let context = world.context.on(tx);
            context.set(&world.e, "k", json!("new")).await?;
            context.set(&world.e, "l", json!("new")).await?;
            assert_eq!(context.keys(&world.e).await?, ["k", "l"]);
            assert!(context.delete(&world.e, "k").await?);
            Err(Error::invalid("test", "rolled back"))
        })
        .await;
    assert!(undone.unwrap_err().is_invalid());
    assert_eq!(world.context.keys(&world.e).await.unwrap(), ["k"]);
    assert_eq!(world.get("k").await, json!("old"));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_of_one_key_leave_one_whole_value() {
    let world = world().await;
    let mut writers = JoinSet::new();
    for n in 0..16 {
        let (context, e) = (world.context.clone(), world.e.clone());
        writers.spawn(async move { context.set(&e, "k", json!(vec![n; 1_000])).await.unwrap() });
    }
    writers.join_all().await;
    let value = world.get("k").await;
    let items = value.as_array().unwrap();
    assert!(items.len() == 1_000 && items.iter().all(|item| *item == items[0]));
    assert_eq!(world.context.keys(&world.e).await.unwrap(), ["k"]);
}

#[tokio::test]
async fn keys_are_only_text() {
    let world = world().await;
    let keys = ["'; DROP TABLE x; --", "%", "a/b", "{executions}", "ü", "\u{1F980}"];
    for key in keys {
        world.context.set(&world.e, key, json!(key)).await.unwrap();
        assert_eq!(world.get(key).await, json!(key));
    }
    assert_eq!(world.context.keys(&world.e).await.unwrap().len(), keys.len());
}

#[tokio::test]
async fn an_owner_that_does_not_exist_is_named() {
    let world = world().await;
    let nobody = ExecutionId::new("nobody").unwrap();
    let orphan = world.context.set(&nobody, "k", json!(1)).await.unwrap_err();
    assert!(orphan.is_not_found());
    assert_eq!(orphan.to_string(), "execution `nobody` does not exist");
    let missing = world.context.get(&world.e, "k").await.unwrap_err();
    assert!(missing.is_not_found());
    assert_eq!(missing.to_string(), "context key `k` does not exist");
}

#[tokio::test]
async fn values_go_with_their_execution() {
    let world = world().await;
    world.context.set(&world.e, "k", json!(1)).await.unwrap();
    assert!(PgExecutionStore::new(&world.db).delete(&world.e).await.unwrap());
    assert!(world.context.keys(&world.e).await.unwrap().is_empty());
}

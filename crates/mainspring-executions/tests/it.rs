//! What is special to executions on Postgres: races between real sessions, and plans. The semantics are in the conformance
//! suite, which the facade runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use mainspring_core::{Execution, ExecutionId, ExecutionStatus, ExecutionStore, ExecutionWrite, Expect};
use mainspring_executions::{PgExecutionStore, Written, create_query, update_query};
use mainspring_testing::TestDb;

fn execution(name: &str) -> Execution {
    Execution::new(ExecutionId::new(name).unwrap(), "order", "1.0.0", "s")
}

#[tokio::test]
async fn of_32_creates_with_one_key_one_wins() {
    // fault F48
    let db = TestDb::with_pool(16).await;
    let store = PgExecutionStore::new(&db.db());
    let until = mainspring_core::Timestamp::MAX;
    let creates = (0..32).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut keyed = execution(&format!("e{n}"));
            keyed.idempotency_key = Some("order-42".into());
            keyed.idempotency_expires_at = Some(until);
            store.create(keyed).await
        })
    });
    let mut won = Vec::new();
    for create in creates.collect::<Vec<_>>() {
        match create.await.unwrap() {
            Ok(execution) => won.push(execution.id),
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    let found = store.find_by_idempotency_key("", "order", "order-42").await.unwrap().unwrap();
    assert_eq!(found.id, won[0]);
}

#[tokio::test]
async fn of_16_updates_of_one_revision_one_wins() {
    let db = TestDb::with_pool(16).await;
    let store = PgExecutionStore::new(&db.db());
    let created = store.create(execution("one")).await.unwrap();
    let updates = (0..16).map(|_| {
        let (store, mut next) = (store.clone(), created.clone());
        next.status = ExecutionStatus::Running;
        tokio::spawn(async move { store.update(next, Expect::Revision(1)).await.is_ok() })
    });
    let mut won = 0;
    for update in updates.collect::<Vec<_>>() {
        won += usize::from(update.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(store.get(&created.id).await.unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn a_batch_update_goes_from_the_array_to_the_rows_by_their_key() {
    // The planner once walked the whole array for every row of a small table, and kept that plan while the table grew.
    let db = TestDb::with_pool(1).await;
    let client = db.client().await;
    let text = db.names().render(include_str!("../src/sql/update.sql"));
    client.batch_execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off").await.unwrap();
    let types = "text[], bigint[], text[], bigint[], int[], text[], text[], text[], timestamptz[], text[], timestamptz[], jsonb[], jsonb[], jsonb[], jsonb[], jsonb[], jsonb[], bigint[]";
    client.batch_execute(&format!("PREPARE up ({types}) AS {text}")).await.unwrap();
    let nulls = vec!["NULL"; 18].join(", ");
    let lines: Vec<String> = client
        .query(&format!("EXPLAIN EXECUTE up ({nulls})"), &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let plan = lines.join("\n");
    assert!(
        plan.contains("executions_pkey")
            && plan.contains("Tid Scan")
            && !plan.contains("executions_deadline"),
        "{plan}"
    );
}

#[tokio::test]
async fn a_batch_says_who_won() {
    let db = TestDb::new().await;
    let db = db.db();
    let creates: Vec<ExecutionWrite> =
        ["a", "b", "c"].map(|name| ExecutionWrite::create(execution(name), vec![])).into();
    let refs: Vec<&ExecutionWrite> = creates.iter().collect();
    assert_eq!(Written::decode(&db.run(create_query(&refs[..2])).await.unwrap()).unwrap().ids.len(), 2);
    let again = Written::decode(&db.run(create_query(&refs)).await.unwrap()).unwrap();
    assert_eq!(again.ids.into_iter().collect::<Vec<_>>(), [ExecutionId::new("c").unwrap()]);

    let mut stale = execution("a");
    stale.revision = 7;
    let mut fresh = execution("b");
    fresh.revision = 1;
    let updates = [ExecutionWrite::update(stale, vec![]), ExecutionWrite::update(fresh, vec![])];
    let refs: Vec<&ExecutionWrite> = updates.iter().collect();
    let written = Written::decode(&db.run(update_query(&refs)).await.unwrap()).unwrap();
    assert_eq!(written.ids.into_iter().collect::<Vec<_>>(), [ExecutionId::new("b").unwrap()]);
}

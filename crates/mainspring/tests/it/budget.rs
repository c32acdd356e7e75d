//! How many transactions things cost, counted by the server.

use mainspring::{Backend, Changes, Engine, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, Flow, PgStores, flow::Step};
use mainspring_testing::TestDb;
use serde_json::json;

/// Transactions this database has committed, after every session has reported.
async fn committed(db: &TestDb) -> i64 {
    let client = db.client().await;
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    client.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
    let row = client.query_one("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()", &[]).await;
    row.unwrap().get(0)
}

/// Makes the pooled sessions report what they did so far.
async fn flush(stores: &PgStores<'static>) {
    for _ in 0..8 {
        stores.db().exec("SELECT pg_stat_force_next_flush()", &[]).await.unwrap();
    }
}

fn five_steps() -> Flow {
    let mut flow = Flow::builder("five", "1.0.0");
    for n in 1..=5 {
        let step = Step::new(format!("s{n}"), "transform").input(json!({"static": n}));
        flow = flow.step(if n < 5 { step.on_success(format!("s{}", n + 1)) } else { step });
    }
    flow.build().unwrap()
}

#[tokio::test]
async fn an_execution_of_five_steps_run_here_is_six_writing_transactions_and_reads_nothing_between_them() {
    let (stores, db) = crate::on(TestDb::with_pool(1).await);
    let engine = Engine::builder(stores.clone()).flow(five_steps()).build().unwrap();
    let warm = engine.create("five", json!({})).run().await.unwrap();
    assert_eq!(warm.status, ExecutionStatus::Completed);

    // One connection in the pool, so its session's own counters are the whole truth.
    flush(&stores).await;
    let before = committed(&db).await;
    let runs = 10;
    for _ in 0..runs {
        let done = engine.create("five", json!({})).run().await.unwrap();
        assert_eq!((done.status, done.revision), (ExecutionStatus::Completed, 6));
    }
    flush(&stores).await;
    let after = committed(&db).await;
    let spent = after - before;
    // create and five steps: six each. The flushes and the count itself are the slack; a seventh commit a run is not in it.
    assert!((60..70).contains(&spent), "{spent} transactions for {runs} executions of five steps");
}

#[tokio::test]
async fn what_is_wanted_at_the_same_time_is_one_transaction() {
    let (stores, db) = crate::fresh().await;
    let write = |n: usize| {
        let execution = Execution::new(ExecutionId::new(format!("e{n}")).unwrap(), "f", "1.0.0", "s");
        Changes { executions: vec![ExecutionWrite::create(execution, vec![])], ..Changes::default() }
    };
    stores.commit(write(1_000)).await.unwrap();
    flush(&stores).await;
    let before = committed(&db).await;
    let all: Vec<_> = (0..200).map(|n| stores.commit(write(n))).collect();
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    flush(&stores).await;
    let spent = committed(&db).await - before;
    assert!(spent < 60, "{spent} transactions for 200 changes wanted at once");
}

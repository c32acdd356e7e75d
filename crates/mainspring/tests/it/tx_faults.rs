//! What goes wrong in a transaction of `cx.tx`: its body runs again, and its effect happens once.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use mainspring::{Cx, CxTx, Db, Engine, PgStores, ResultError, TxError, Workflow};
use mainspring_testing::{Cut, Proxy, TestDb};

const SPEND: Workflow<(), u32, String> = Workflow::new("spend");

/// What happens in the body after its effect, by the number of its run.
#[derive(Clone, Copy)]
struct Mishap {
    sql: &'static str,
    runs: u32,
}

const NONE: Mishap = Mishap { sql: "", runs: 0 };

/// An engine whose only workflow takes one step, notes something in the database, and takes another step; and how often the
/// body ran.
fn engine(stores: PgStores<'static>, mishap: Mishap) -> (Engine, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&runs);
    let spend = move |cx: Cx, ()| {
        let runs = Arc::clone(&theirs);
        async move {
            cx.step("before", async || Ok::<_, String>(())).await?;
            let body = async |db: &Db<'_>| {
                let run = runs.fetch_add(1, SeqCst) + 1;
                db.exec("INSERT INTO spent VALUES ($1)", &[&(run as i32)]).await?;
                if run <= mishap.runs {
                    db.all(mishap.sql, &[]).await?;
                }
                Ok::<_, TxError<String>>(run)
            };
            let run = cx.tx("spend", body).await?;
            Ok(cx.step("after", async || Ok::<_, String>(run)).await?)
        }
    };
    (Engine::builder(stores).register(SPEND, spend).build().unwrap(), runs)
}

async fn table(db: &TestDb) {
    db.client().await.batch_execute("CREATE TABLE spent (run int NOT NULL)").await.unwrap();
}

async fn spent(db: &TestDb) -> Vec<i32> {
    let rows = db.client().await.query("SELECT run FROM spent", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The result, when the body's first runs meet with this; what is spent is spent by the last run alone.
async fn survives(mishap: Mishap) -> u32 {
    let (stores, db) = crate::fresh().await;
    table(&db).await;
    let (engine, _) = engine(stores, mishap);
    let handle = engine.start(SPEND, &()).id("it").await.unwrap();
    let worker = engine.worker().start().unwrap();
    let run = handle.result().await.unwrap();
    worker.stop().await.unwrap();
    assert_eq!(spent(&db).await, [run as i32], "{}", mishap.sql);
    assert_eq!(handle.execution().await.unwrap().step_count, 3);
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_runs_again_after_a_serialization_failure_a_deadlock_and_a_lost_session() {
    // faults F25, F39, F53: 40001, 40P01, and `pg_terminate_backend` in the middle of the transaction
    let raise = |code| match code {
        "40001" => "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$",
        _ => "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$",
    };
    for sql in [raise("40001"), raise("40P01"), "SELECT pg_terminate_backend(pg_backend_pid())"] {
        assert_eq!(survives(Mishap { sql, runs: 2 }).await, 3, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_only_later_fails_no_step() {
    // More failures than one drive bears: the execution is driven again, and its step is not recorded as failed.
    let sql = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
    assert_eq!(survives(Mishap { sql, runs: 7 }).await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_had_in_time_fails_no_step() {
    // fault F24: as when a hanging process holds a row of the application's
    let sql = "DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$";
    assert_eq!(survives(Mishap { sql, runs: 2 }).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_run_cannot_help_is_the_steps_failure() {
    let (stores, db) = crate::fresh().await;
    table(&db).await;
    let (engine, runs) = engine(stores, Mishap { sql: "SELECT 1 / 0", runs: u32::MAX });
    let failed = engine.start(SPEND, &()).run().await;
    assert!(matches!(failed, Err(ResultError::Failed(_))), "{failed:?}");
    assert_eq!((spent(&db).await, runs.load(SeqCst)), (vec![], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_its_commit_a_transaction_happens_once() {
    // faults F30 to F32, X3: before the COMMIT, after it, and when its answer is lost; at each COMMIT there is
    for cut in [Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply] {
        for nth in 1..=3 {
            let (_, db) = crate::fresh().await;
            table(&db).await;
            let proxy = Proxy::before(&db).await.unwrap();
            let far = mainspring::pool(proxy.settings(), 4).unwrap();
            let far = mainspring::create_pg_stores(far, mainspring::PgStoreOptions::default()).unwrap();
            let (engine, _) = engine(far, NONE);
            let handle = engine.start(SPEND, &()).id("it").await.unwrap();
            proxy.arm(cut, nth);
            let worker = engine.worker().start().unwrap();
            let run = handle.result().await.unwrap();
            worker.stop().await.unwrap();
            assert_eq!(spent(&db).await, [run as i32], "{cut:?} {nth}");
            assert_eq!(proxy.cuts(), 1, "{cut:?} {nth}");
        }
    }
}

//! Durable functions on Postgres: what is in the same database happens exactly once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring::{
    Backend, Cx, CxTx, Engine, ExecutionStatus, PgStoreOptions, PgStores, ResultError, TxError, Workflow,
    WorkflowResult, abort,
};
use mainspring_testing::TestDb;

const TRANSFER: Workflow<(i32, i32, i64), i64, String> = Workflow::new("transfer");

const TAKE: &str = "UPDATE {prefix}accounts SET cents = cents - $1 WHERE id = $2 AND cents >= $1";
const GIVE: &str = "UPDATE {prefix}accounts SET cents = cents + $1 WHERE id = $2";

async fn transfer(cx: Cx, (from, to, cents): (i32, i32, i64)) -> WorkflowResult<i64, String> {
    let taken = cx.tx("take", async |db| {
        let rows = db.exec(TAKE, &[&cents, &from]).await?;
        if rows == 1 { Ok(cents) } else { abort("not enough".to_owned()) }
    });
    let taken = taken.await?;
    let checked = cx.step("check", async || Ok::<_, String>(taken)).await?;
    let given: u64 =
        cx.tx("give", async |db| Ok::<_, TxError<String>>(db.exec(GIVE, &[&checked, &to]).await?)).await?;
    assert_eq!(given, 1);
    Ok(checked)
}

async fn accounts(stores: &PgStores<'static>, cents: &[i64]) {
    let create =
        "CREATE TABLE {prefix}accounts (id int PRIMARY KEY, cents bigint NOT NULL CHECK (cents >= 0))";
    stores.db().exec(create, &[]).await.unwrap();
    for (id, cents) in (0_i32..).zip(cents) {
        stores.db().exec("INSERT INTO {prefix}accounts VALUES ($1, $2)", &[&id, cents]).await.unwrap();
    }
}

async fn balances(stores: &PgStores<'static>) -> Vec<i64> {
    let rows = stores.db().all("SELECT cents FROM {prefix}accounts ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn books_balance_whatever_is_transferred_at_the_same_time() {
    let (stores, _db) = crate::fresh().await;
    accounts(&stores, &[100, 100, 100]).await;
    let engine = Engine::builder(stores.clone()).register(TRANSFER, transfer).build().unwrap();
    let worker = engine.worker().concurrency(8).start().unwrap();
    let mut handles = Vec::new();
    for n in 0..30 {
        handles.push(engine.start(TRANSFER, &(n % 3, (n + 1) % 3, 7)).await.unwrap());
    }
    let (mut done, mut refused) = (0, 0);
    for handle in handles {
        match handle.result().await {
            Ok(7) => done += 1,
            Err(ResultError::App(why)) if why == "not enough" => refused += 1,
            other => panic!("{other:?}"),
        }
        // Everything recorded once, in a history without gaps.
        let history = handle.history().await.unwrap();
        for (recorded, position) in history.iter().zip(1..) {
            assert_eq!(recorded.position, position);
        }
    }
    worker.stop().await.unwrap();
    assert_eq!((done + refused, balances(&stores).await.iter().sum::<i64>()), (30, 300));
}

#[tokio::test]
async fn what_was_aborted_left_nothing_and_is_recorded() {
    let (stores, _db) = crate::fresh().await;
    accounts(&stores, &[5, 0]).await;
    let engine = Engine::builder(stores.clone()).register(TRANSFER, transfer).build().unwrap();
    let refused = engine.start(TRANSFER, &(0, 1, 9)).run().await;
    assert!(matches!(refused, Err(ResultError::App(why)) if why == "not enough"));
    assert_eq!(engine.start(TRANSFER, &(0, 1, 4)).run().await.unwrap(), 4);
    assert_eq!(balances(&stores).await, [1, 4]);
}

const ONCE: Workflow<(), u64, String> = Workflow::new("once");

#[tokio::test]
async fn a_transaction_that_nobody_waits_for_any_more_holds_up_nothing() {
    const LEFT: Workflow<u32, u32, String> = Workflow::new("left");
    let (stores, _db) = crate::fresh().await;
    accounts(&stores, &[5]).await;
    let engine = Engine::builder(stores.clone()).register(LEFT, leave).build().unwrap();
    for polls in 0..3 {
        let done = tokio::time::timeout(Duration::from_secs(20), engine.start(LEFT, &polls).run()).await;
        assert_eq!(done.expect("it goes on").unwrap(), polls);
    }
}

/// Drops a transaction before it asked for the execution, when it has asked, or when the execution was lent to it.
async fn leave(cx: Cx, polls: u32) -> WorkflowResult<u32, String> {
    {
        let give =
            cx.tx("gift", async |db| Ok::<_, TxError<String>>(db.exec(GIVE, &[&1_i64, &0_i32]).await?));
        let mut give = std::pin::pin!(give.into_future());
        for _ in 0..polls {
            let _ = futures_util::poll!(give.as_mut());
            tokio::task::yield_now().await;
        }
    }
    Ok(cx.step("after", async || Ok::<_, String>(polls)).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_execution_has_changed_nothing() {
    // fault F53: the execution is cancelled while the body of the transaction runs
    let (stores, _db) = crate::fresh().await;
    accounts(&stores, &[5]).await;
    let runs = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&runs);
    let canceller = Engine::builder(stores.clone()).build().unwrap();
    let engine = Engine::builder(stores.clone())
        .register(ONCE, move |cx: Cx, ()| {
            let (runs, canceller) = (Arc::clone(&theirs), canceller.clone());
            async move {
                let id = cx.id().clone();
                let spend = async |db: &mainspring::Db<'_>| {
                    let rows = db.exec(TAKE, &[&1_i64, &0_i32]).await?;
                    if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                        canceller.cancel(&id, "changed my mind").await?;
                    }
                    Ok::<_, TxError<String>>(rows)
                };
                Ok(cx.tx("spend", spend).await?)
            }
        })
        .build()
        .unwrap();
    let worker = engine.worker().start().unwrap();
    let handle = engine.start(ONCE, &()).await.unwrap();
    assert!(matches!(handle.result().await, Err(ResultError::Cancelled(_))));
    worker.stop().await.unwrap();
    assert_eq!(handle.status().await.unwrap(), ExecutionStatus::Cancelled);
    assert_eq!((balances(&stores).await, runs.load(Ordering::SeqCst)), (vec![5], 1));
}

#[tokio::test]
async fn a_workflow_starts_with_the_callers_transaction_or_not_at_all() {
    let (stores, db) = crate::fresh().await;
    accounts(&stores, &[5, 5]).await;
    let engine = Engine::builder(stores.clone()).register(TRANSFER, transfer).build().unwrap();
    let mut client = db.client().await;
    for (id, commits) in [("kept", true), ("lost", false)] {
        let tx = client.transaction().await.unwrap();
        let within = stores.on(&tx);
        let handle = engine.start(TRANSFER, &(0, 1, 1)).id(id).within(&within).await.unwrap();
        assert!(handle.was_created());
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
    }
    engine.worker().drain().await.unwrap();
    assert_eq!(balances(&stores).await, [4, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_one_process_hears_of_an_end_in_another() {
    let db = TestDb::new().await;
    let connect = || PgStores::connect(db.url(), PgStoreOptions::default()).unwrap();
    let (here, elsewhere) = (connect(), connect());
    let waiting = here.queue().wait("end-e1", Duration::from_secs(600));
    let hinting = async {
        loop {
            elsewhere.queue().hint("end-e1");
            tokio::time::sleep(Duration::from_millis(50)).await; // it may not listen yet
        }
    };
    tokio::select! {
        () = waiting => {}
        () = hinting => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("nobody heard of it"),
    }
}

const TALK: Workflow<u32, u32, String> = Workflow::new("talk");

/// Waits for so many words; `begun` counts how often its code begins, and its futures hold `held`.
async fn talk(cx: Cx, words: u32, begun: Arc<AtomicU32>, held: Arc<()>) -> WorkflowResult<u32, String> {
    begun.fetch_add(1, Ordering::SeqCst);
    let mut sum = 0;
    for _ in 0..words {
        let word: u32 = cx.signal("word").await?;
        sum += cx.step("note", async || Ok::<_, String>(word)).await?;
    }
    drop(held);
    Ok(sum)
}

/// An engine that keeps a hundred parked ones for a while.
fn talkers(stores: &PgStores<'static>, begun: &Arc<AtomicU32>, held: &Arc<()>) -> Engine {
    let (begun, held) = (Arc::clone(begun), Arc::clone(held));
    Engine::builder(stores.clone())
        .lease(Duration::from_secs(4))
        .keep_parked(Duration::from_secs(5), 100)
        .register(TALK, move |cx: Cx, words| talk(cx, words, Arc::clone(&begun), Arc::clone(&held)))
        .build()
        .unwrap()
}

#[tokio::test]
async fn one_that_is_woken_soon_goes_on_where_it_stood() {
    let (stores, _db) = crate::fresh().await;
    let (begun, held) = (Arc::default(), Arc::default());
    let engine = talkers(&stores, &begun, &held);
    let handle = engine.start(TALK, &3).await.unwrap();
    engine.worker().drain().await.unwrap();
    for word in 1..=3_u32 {
        handle.signal("word", &word).await.unwrap();
        engine.worker().drain().await.unwrap();
    }
    assert_eq!(
        (handle.result().await.unwrap(), begun.load(Ordering::SeqCst)),
        (6, 1),
        "nothing was replayed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_parked_ones_hold_a_row_each_and_nothing_here() {
    const PARKED: usize = 2_000;
    const IN_A_TRANSACTION: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
    let (stores, db) = crate::fresh().await;
    let (begun, held): (Arc<AtomicU32>, Arc<()>) = (Arc::default(), Arc::default());
    let engine = talkers(&stores, &begun, &held);
    let worker = engine.worker().concurrency(32).start().unwrap();
    let quick = async || engine.start(TALK, &0).await.unwrap().result().await.unwrap();
    quick().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let starts = (0..PARKED).map(|n| engine.start(TALK, &1).id(format!("parked-{n}")).into_future());
    let started = futures_util::future::join_all(starts).await;
    let handles: Vec<_> = started.into_iter().map(Result::unwrap).collect();
    let waiting = async || {
        let counts = stores.executions().count_by_status().await.unwrap();
        counts.into_iter().any(|count| count == (ExecutionStatus::Waiting, PARKED as u64))
    };
    while !waiting().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A hundred are kept for a moment, and the engine's own code holds one.
    assert!(Arc::strong_count(&held) <= 102, "{} futures", Arc::strong_count(&held));
    quick().await;
    while Arc::strong_count(&held) > 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(tasks() <= before + 16, "{} tasks, {before} before", tasks());
    while db.client().await.query_one(IN_A_TRANSACTION, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await; // somebody looks for work
    }
    quick().await;
    handles[PARKED - 1].signal("word", &5).await.unwrap();
    assert_eq!(handles[PARKED - 1].result().await.unwrap(), 5);
    worker.stop().await.unwrap();
}

//! `with_tx`: all or nothing, once, whatever breaks.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mainspring_core::{Error, ErrorKind};
use mainspring_pg::{Db, Deadlines, is_transient};
use tokio::time::timeout;

use crate::{
    ground::{self, Ground},
    proxy::{Fault, Proxy},
};

const PUT: &str = "INSERT INTO {things} (id) VALUES ($1)";

#[tokio::test]
async fn a_closure_commits_as_a_whole_or_not_at_all() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    let label = String::from("borrowed");
    // Spawned: the future is Send although the closure borrows.
    let task = async {
        db.with_tx(async |tx| {
            assert!(tx.in_transaction() && !label.is_empty());
            tx.exec(PUT, &[&1]).await?;
            tx.with_tx(async |inner| inner.exec(PUT, &[&2]).await).await?;
            Ok(7)
        })
        .await
    };
    fn assert_send<T: Send>(t: T) -> T {
        t
    }
    assert_eq!(assert_send(task).await.unwrap(), 7);
    let refused: Result<(), _> = db
        .with_tx(async |tx| {
            tx.exec(PUT, &[&3]).await?;
            Err(Error::conflict("changed my mind"))
        })
        .await;
    assert!(refused.unwrap_err().is_conflict());
    assert_eq!(ground.things().await, [1, 2]);
    assert_eq!(db.with_tx(async |_| Ok(1)).await.unwrap(), 1); // nothing written: no id, no guard to fail
}

#[tokio::test]
async fn t1_a_swallowed_failure_is_not_acknowledged() {
    // fault F33
    let ground = Ground::new().await;
    let db = ground.db(1);
    let error = db
        .with_tx(async |tx| {
            tx.exec(PUT, &[&1]).await?;
            drop(tx.exec(PUT, &[&1]).await); // 23505, ignored
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("nothing was committed"), "{error}");
    assert!(ground.things().await.is_empty());
    db.with_tx(async |tx| tx.exec(PUT, &[&2]).await).await.unwrap();
}

/// COMMIT takes this long when `{slow}` was written.
async fn slow_commit(ground: &Ground) {
    ground
        .sql(
            "CREATE FUNCTION {schema}.nap() RETURNS trigger LANGUAGE plpgsql AS \
               $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER nap AFTER INSERT ON {things} DEFERRABLE INITIALLY DEFERRED \
               FOR EACH ROW EXECUTE FUNCTION {schema}.nap()",
        )
        .await;
}

#[tokio::test]
async fn t2_dropping_the_future_during_commit_still_commits() {
    let ground = Ground::new().await;
    slow_commit(&ground).await;
    let db = ground.db(1);
    let written = tokio::sync::Notify::new();
    let work = db.with_tx(async |tx| {
        tx.exec(PUT, &[&1]).await?;
        written.notify_one();
        Ok(())
    });
    let dropped = async {
        written.notified().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    };
    tokio::select! { _ = work => panic!("commit was not slow"), () = dropped => {} }
    // The pool has one place, so this waits for the commit that goes on alone.
    db.one("SELECT 1", &[]).await.unwrap();
    assert_eq!(ground.things().await, [1]);
}

#[tokio::test]
async fn t2_dropping_the_future_anywhere_loses_and_hangs_nothing() {
    let ground = Ground::new().await;
    let db = ground.db(2);
    let mut acknowledged = Vec::new();
    for i in 0..60_i32 {
        let limit = Duration::from_micros(u64::try_from(i).unwrap() * 100);
        if let Ok(done) = timeout(limit, db.with_tx(async |tx| tx.exec(PUT, &[&i]).await)).await {
            done.unwrap();
            acknowledged.push(i);
        }
    }
    // Both places of the pool are free, clean and quick.
    let (a, b) = tokio::join!(state(&db), state(&db));
    assert_eq!((a.as_str(), b.as_str()), ("", ""));
    let things = ground.things().await;
    assert!(acknowledged.iter().all(|i| things.contains(i)), "{acknowledged:?} {things:?}");
}

/// The id of the transaction this connection was left in, if any.
async fn state(db: &Db<'_>) -> String {
    let sql = "SELECT coalesce(pg_current_xact_id_if_assigned()::text, '') FROM pg_sleep(0.05)";
    db.one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn t3_a_commit_whose_answer_was_lost_is_found_out() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let db = ground.db_on(&proxy.settings(), 1, Deadlines::default());
    let runs = AtomicU32::new(0);
    let put = async |id: i32| {
        runs.store(0, Ordering::SeqCst);
        db.with_tx(async |tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            tx.exec(PUT, &[&id]).await
        })
        .await
    };
    put(1).await.unwrap();

    proxy.arm(Fault::CutAfter("COMMIT\0"));
    put(2).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1); // known to be committed: not run again

    proxy.arm(Fault::CutBefore("COMMIT\0"));
    put(3).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2); // known to be rolled back: run again
    assert_eq!(ground.things().await, [1, 2, 3]);
}

#[tokio::test]
async fn t3_with_no_way_back_the_outcome_is_unknown() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let mut deadlines = Deadlines::default();
    deadlines.resolve = Duration::from_millis(500);
    let db = ground.db_on(&proxy.settings(), 1, deadlines);
    db.one("SELECT 1", &[]).await.unwrap();
    proxy.close_for_new(true);
    proxy.arm(Fault::CutAfter("COMMIT\0"));
    let error = db.with_tx(async |tx| tx.exec(PUT, &[&1]).await).await.unwrap_err();
    assert!(error.is_commit_unknown(), "{error:?}");
    assert_eq!(ground.things().await, [1]); // it did happen; nobody could know
    proxy.close_for_new(false);
    db.one("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn t3_t7_a_commit_without_any_answer_is_found_out_after_the_deadline() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let mut deadlines = Deadlines::default();
    deadlines.statement = Duration::from_millis(500);
    let db = ground.db_on(&proxy.settings(), 1, deadlines);
    db.one("SELECT 1", &[]).await.unwrap();
    proxy.arm(Fault::MuteAfter("COMMIT\0"));
    db.with_tx(async |tx| tx.exec(PUT, &[&1]).await).await.unwrap();
    assert_eq!(ground.things().await, [1]);
}

#[tokio::test]
async fn a_connection_lost_before_commit_runs_the_closure_again() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    let runs = AtomicU32::new(0);
    db.with_tx(async |tx| {
        tx.exec(PUT, &[&1]).await?;
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            let pid: i32 = tx.one("SELECT pg_backend_pid()", &[]).await?.get(0);
            ground::admin().await.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
        }
        tx.exec(PUT, &[&2]).await
    })
    .await
    .unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(ground.things().await, [1, 2]);
}

#[tokio::test]
async fn conflicts_run_again_five_times_and_only_at_the_outermost() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    const CONFLICT: &str = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$";
    let runs = AtomicU32::new(0);
    let inner = AtomicU32::new(0);
    let error = db
        .with_tx(async |tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            tx.exec(PUT, &[&1]).await?;
            tx.with_tx(async |tx| {
                inner.fetch_add(1, Ordering::SeqCst);
                tx.exec(CONFLICT, &[]).await
            })
            .await
        })
        .await
        .unwrap_err();
    assert!(is_transient(&error) && error.kind() == ErrorKind::Busy, "{error:?}");
    assert_eq!((runs.load(Ordering::SeqCst), inner.load(Ordering::SeqCst)), (5, 5));
    runs.store(0, Ordering::SeqCst);
    db.with_tx(async |tx| {
        tx.exec(PUT, &[&1]).await?;
        if runs.fetch_add(1, Ordering::SeqCst) < 2 { tx.exec(CONFLICT, &[]).await } else { Ok(0) }
    })
    .await
    .unwrap();
    assert_eq!(ground.things().await, [1]);
}

#[tokio::test]
async fn a_deadlock_heals_itself() {
    // fault F25
    let ground = Ground::new().await;
    let db = ground.db(4);
    for id in [1, 2] {
        db.exec(PUT, &[&id]).await.unwrap();
    }
    const ADD: &str = "UPDATE {things} SET n = coalesce(n, 0) + 1 WHERE id = $1";
    let both = async |first: i32, second: i32| {
        db.with_tx(async |tx| {
            tx.exec(ADD, &[&first]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            tx.exec(ADD, &[&second]).await
        })
        .await
    };
    let (a, b) = tokio::join!(both(1, 2), both(2, 1));
    a.unwrap();
    b.unwrap();
    assert_eq!(db.one("SELECT sum(n) FROM {things}", &[]).await.unwrap().get::<_, i64>(0), 4);
}

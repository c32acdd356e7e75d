//! The group commit: who shares a transaction, who loses, and what a bad change does to the others.

use mainspring::{
    Append, Backend, Changes, ErrorKind, EventStore, Execution, ExecutionId, ExecutionStatus, ExecutionStore,
    ExecutionWrite, ExpectedPosition, Job, JobWrite, NewEvent, PgStoreOptions, PgStores, create_pg_stores,
    event::EXECUTIONS,
};
use mainspring_testing::TestDb;
use serde_json::json;

fn id(text: &str) -> ExecutionId {
    ExecutionId::new(text).unwrap()
}

fn create(name: &str) -> Changes {
    let execution = Execution::new(id(name), "f", "1.0.0", "s");
    let event = NewEvent::new("execution.created", json!({}));
    Changes { executions: vec![ExecutionWrite::create(execution, vec![event])], ..Changes::default() }
}

async fn position(stores: &PgStores<'static>, name: &str) -> i64 {
    stores.events.position(EXECUTIONS, "", &format!("execution-{name}")).await.unwrap()
}

#[tokio::test]
async fn one_bad_change_fails_alone_among_many() {
    let (stores, _db) = crate::fresh().await;
    // A job of an execution that does not exist: the database refuses it in the second flight.
    let orphan = Job::new(id("nobody"), "s", "h", json!(1));
    let bad = Changes { jobs: vec![JobWrite::Create(Box::new(orphan))], ..Changes::default() };
    let mut all: Vec<_> = (0..40).map(|n| stores.commit(create(&format!("e{n}")))).collect();
    all.insert(17, stores.commit(bad));
    let results = futures_util::future::join_all(all).await;
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), n == 17, "{n}: {result:?}");
    }
    for n in 0..40 {
        assert_eq!(position(&stores, &format!("e{n}")).await, 1);
    }
}

#[tokio::test]
async fn who_loses_half_way_leaves_nothing_behind_and_the_others_win() {
    let (stores, _db) = crate::fresh().await;
    stores.commit(create("taken")).await.unwrap();
    // It creates one execution and expects another to be new: one guard holds, the other does not.
    let mut half = create("half");
    half.executions.extend(create("taken").executions);
    let mut all: Vec<_> = (0..20).map(|n| stores.commit(create(&format!("e{n}")))).collect();
    all.push(stores.commit(half));
    let mut results = futures_util::future::join_all(all).await;
    assert!(results.pop().unwrap().unwrap_err().is_conflict());
    assert!(results.iter().all(Result::is_ok));
    assert!(stores.executions.get(&id("half")).await.unwrap().is_none());
}

#[tokio::test]
async fn writers_of_one_revision_win_once_and_positions_have_no_gap() {
    let (stores, _db) = crate::fresh().await;
    stores.commit(create("one")).await.unwrap();
    // Those without an event do not meet in the history: nothing but the revision tells them apart.
    for events in [vec![NewEvent::new("step.completed", json!({}))], Vec::new()] {
        let current = stores.executions.get(&id("one")).await.unwrap().unwrap();
        let write = || {
            let mut next = current.clone();
            next.status = ExecutionStatus::Running;
            Changes { executions: vec![ExecutionWrite::update(next, events.clone())], ..Changes::default() }
        };
        let results = futures_util::future::join_all((0..16).map(|_| stores.commit(write()))).await;
        let won = results.iter().filter(|r| r.is_ok()).count();
        assert_eq!(won, 1, "with {} events", events.len());
        assert!(results.iter().filter_map(|r| r.as_ref().err()).all(mainspring::Error::is_conflict));
    }
    assert_eq!(position(&stores, "one").await, 2);
}

#[tokio::test]
async fn a_failed_expectation_names_the_real_position() {
    let (stores, _db) = crate::fresh().await;
    let event = NewEvent::new("Added", json!({}));
    stores.events.append(Append::to("cart", vec![event.clone(), event.clone()])).await.unwrap();
    let append = Append::to("cart", vec![event]).expecting(ExpectedPosition::Exact(1));
    let changes = Changes { appends: vec![append], ..create("with-append") };
    let error = stores.commit(changes).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("position 2"), "{error}");
    assert!(stores.executions.get(&id("with-append")).await.unwrap().is_none());
}

#[tokio::test]
async fn bad_input_is_refused_before_any_sql() {
    let (stores, _db) = crate::fresh().await;
    let mut with_nul = create("nul");
    with_nul.executions[0].execution.context.insert("k".into(), json!("a\0b"));
    let error = stores.commit(with_nul).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().starts_with("execution.context"), "{error}");

    let mut twice = create("twice");
    twice.executions.extend(create("twice").executions);
    assert_eq!(stores.commit(twice).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(stores.executions.get(&id("twice")).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lane_whose_runtime_ends_is_answered() {
    // fault F34: nobody else would ever take what is pending.
    let db = TestDb::new().await;
    let options = PgStoreOptions {
        table_prefix: db.names().prefix().to_owned(),
        schema: db.names().schema().to_owned(),
        commit_lanes: 1,
        ..PgStoreOptions::default()
    };
    let stores = create_pg_stores(db.pool(), options).unwrap();
    let created = stores.executions.create(Execution::new(id("locked"), "f", "1.0.0", "s")).await.unwrap();
    let mut client = db.client().await;
    let lock = client.transaction().await.unwrap();
    let row = format!("SELECT 1 FROM {} FOR UPDATE", db.names().table("executions"));
    lock.batch_execute(&row).await.unwrap();

    let other = tokio::runtime::Runtime::new().unwrap();
    let stuck = Changes { executions: vec![ExecutionWrite::update(created, vec![])], ..Changes::default() };
    let theirs = stores.clone();
    other.spawn(async move { theirs.commit(stuck).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while lock.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }

    let mut pending = stores.commit(create("pending"));
    assert!(futures_util::poll!(&mut pending).is_pending());
    other.shutdown_background();
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), pending).await.expect("answered");
    assert!(answer.unwrap_err().is_retryable());
    drop(lock);
    assert!(stores.executions.get(&id("pending")).await.unwrap().is_none(), "as it was told");
}

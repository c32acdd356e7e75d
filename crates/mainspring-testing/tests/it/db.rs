//! Databases of tests: apart from each other, migrated, and with a clock of their own.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use mainspring_pg::{Migrator, Names};
use mainspring_testing::TestDb;

async fn tables(test: &TestDb) -> HashSet<String> {
    let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
    let rows = test.client().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn now(test: &TestDb) -> std::time::SystemTime {
    let sql = format!("SELECT {}()", test.names().table("now"));
    test.client().await.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let all = join_all((0..4).map(|_| TestDb::new())).await;
    let names: HashSet<&str> = all.iter().map(TestDb::name).collect();
    assert_eq!(names.len(), 4);
    for test in &all {
        assert!(tables(test).await.contains("ms_executions"));
        let migrator = Migrator::new(test.settings().clone(), test.names().clone());
        migrator.verify().await.unwrap();
        assert_eq!(test.db().all("SELECT id FROM {executions}", &[]).await.unwrap().len(), 0);
    }
    all[0].client().await.batch_execute("CREATE TABLE mine ()").await.unwrap();
    assert!(!tables(&all[1]).await.contains("mine"));
}

#[tokio::test]
async fn prefixes_pools_and_empty_databases() {
    let prefixed = TestDb::with_prefix("fm_").await;
    assert!(tables(&prefixed).await.contains("fm_executions"));
    assert!(!tables(&prefixed).await.contains("ms_executions"));
    assert_eq!(TestDb::with_pool(2).await.pool().status().max_size, 2);
    let empty = TestDb::empty().await;
    assert!(tables(&empty).await.is_empty());
    Migrator::new(empty.settings().clone(), Names::default()).up().await.unwrap();
    assert!(tables(&empty).await.contains("ms_executions"));
}

#[tokio::test]
async fn a_test_owns_the_time_of_every_connection() {
    let (test, other) = (TestDb::new().await, TestDb::new().await);
    let pooled = async || {
        let row = test.db().one("SELECT {now}()", &[]).await.unwrap();
        row.get::<_, std::time::SystemTime>(0)
    };
    let before = pooled().await;
    test.advance(Duration::from_secs(3600)).await;
    test.advance(Duration::from_secs(1800)).await;
    let hour_and_a_half = Duration::from_secs(5400);
    assert!(pooled().await.duration_since(before).unwrap() >= hour_and_a_half);
    assert!(now(&test).await.duration_since(before).unwrap() < hour_and_a_half + Duration::from_secs(60));
    assert!(now(&other).await.duration_since(before).unwrap() < Duration::from_secs(60));
}

#[tokio::test]
async fn what_is_left_in_a_session_of_the_pool_is_found() {
    // fault F38
    for (poison, left) in [
        ("BEGIN", "a transaction"),
        ("BEGIN; DO $$ BEGIN RAISE EXCEPTION 'no'; END $$", "a failed transaction"),
        ("SELECT pg_advisory_lock(1)", "an advisory lock"),
        ("SET work_mem = '1MB'", "the setting work_mem"),
        ("CREATE TEMP TABLE mine (id int)", "the table mine"),
        ("LISTEN mine", "the channel mine"),
    ] {
        let test = TestDb::with_pool(1).await;
        test.db().all("SELECT id FROM {executions}", &[]).await.unwrap();
        assert_eq!(test.left_in_sessions().await, Vec::<String>::new());
        drop(test.pool().get().await.unwrap().batch_execute(poison).await);
        assert_eq!(test.left_in_sessions().await, [left]);
    }
}

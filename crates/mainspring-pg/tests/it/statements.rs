//! Single statements: on the pool, inside transactions, and when they fail.

use std::time::{Duration, Instant};

use mainspring_core::{Error, ErrorKind};
use mainspring_pg::{Deadlines, Query, Row, constraint, is_transient};

use crate::{
    ground::{self, Ground},
    proxy::Proxy,
};

const PUT: &str = "INSERT INTO {things} (id, n) VALUES ($1, $2)";
const ALL: &str = "SELECT id, n FROM {things} ORDER BY id";
const COUNT: &str = "SELECT count(*) FROM {things}";

#[tokio::test]
async fn statements_run_on_the_pool_and_in_every_kind_of_transaction() {
    let ground = Ground::new().await;
    let db = ground.db(2);
    assert!(!db.in_transaction() && db.client().is_none());
    assert_eq!(db.exec(PUT, &[&1, &10]).await.unwrap(), 1);
    db.run(Query::new(PUT).bind(2).bind(20)).await.unwrap();

    let pool = mainspring_pg::pool(&ground::settings(), 1).unwrap();
    let mut client = pool.get().await.unwrap();
    let tx = client.transaction().await.unwrap();
    let here = db.on(&tx);
    assert!(here.in_transaction() && here.client().is_some());
    here.exec(PUT, &[&3, &30]).await.unwrap();
    here.with_tx(async |tx| tx.exec(PUT, &[&4, &40]).await).await.unwrap();
    assert_eq!(here.all(ALL, &[]).await.unwrap().len(), 4);
    assert_eq!(db.one(COUNT, &[]).await.unwrap().get::<_, i64>(0), 2);
    tx.commit().await.unwrap();

    let mut plain = ground::admin().await;
    let tx = plain.transaction().await.unwrap();
    let here = db.on(&tx);
    here.exec(PUT, &[&5, &50]).await.unwrap();
    assert_eq!(
        here.opt("SELECT n FROM {things} WHERE id = $1", &[&5]).await.unwrap().unwrap().get::<_, i32>(0),
        50
    );
    tx.rollback().await.unwrap();
    assert_eq!(ground.things().await, [1, 2, 3, 4]);

    assert!(db.opt("SELECT n FROM {things} WHERE id = $1", &[&99]).await.unwrap().is_none());
    for sql in [ALL, "SELECT n FROM {things} WHERE id = 99"] {
        assert_eq!(db.one(sql, &[]).await.unwrap_err().kind(), ErrorKind::Internal);
    }
}

#[tokio::test]
async fn rows_are_handed_over_until_one_is_refused() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    for n in 1..=4 {
        db.exec(PUT, &[&n, &(n * 10)]).await.unwrap();
    }
    let mut sum = 0;
    let add = |row: &Row| {
        sum += row.get::<_, i32>(1);
        if sum < 60 { Ok(()) } else { Err(Error::invalid("sum", "too much")) }
    };
    let refused = db.each(Query::new(ALL), add).await.unwrap_err();
    assert!(refused.is_invalid(), "{refused}");
    assert_eq!(sum, 60, "the fourth row is not handed over");
    // The connection is as good as before: there is only this one.
    assert_eq!(db.one(COUNT, &[]).await.unwrap().get::<_, i64>(0), 4);
    db.with_tx(async |tx| {
        let mut ids = Vec::new();
        let read = |row: &Row| {
            ids.push(row.get::<_, i32>(0));
            Ok(())
        };
        tx.each(Query::new(ALL), read).await?;
        assert_eq!(ids, [1, 2, 3, 4]);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn errors_say_what_happened_without_the_values() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    ground.sql("CREATE TABLE {names} (name text CONSTRAINT t_names_key PRIMARY KEY)").await;
    const NAME: &str = "INSERT INTO {names} VALUES ($1)";
    db.exec(NAME, &[&"canary"]).await.unwrap();
    let conflict = db.exec(NAME, &[&"canary"]).await.unwrap_err();
    assert!(conflict.is_conflict() && !is_transient(&conflict));
    assert_eq!(constraint(&conflict), Some("t_names_key"));
    assert!(conflict.to_string().contains("23505"), "{conflict}");

    let invalid = db.one("SELECT $1::text::int", &[&"canary"]).await.unwrap_err();
    assert!(invalid.is_invalid() && invalid.to_string().contains("22P02"), "{invalid}");
    let nul = db.exec(NAME, &[&"canary\0"]).await.unwrap_err();
    assert!(nul.is_invalid(), "{nul}");
    let missing = db.all("SELECT 1 FROM {nothing}", &[]).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Schema);
    assert!(missing.to_string().contains("mainspring migrate up"), "{missing}");
    for error in [conflict, invalid, nul] {
        assert!(!format!("{error:?} {error} {}", error.chain()).contains("canary"), "{error:?}");
    }
    // The one connection of the pool served all of it.
    assert_eq!(db.one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test]
async fn a_missing_grant_is_named() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    let role = format!("{}_reader", ground.names.schema());
    let sql = format!("CREATE ROLE {role}; GRANT USAGE ON SCHEMA {} TO {role}", ground.names.schema());
    ground::admin().await.batch_execute(&sql).await.unwrap();
    let error = db
        .with_tx(async |tx| {
            let switch = format!("SET LOCAL ROLE {role}");
            tx.client().unwrap().batch_execute(&switch).await.unwrap();
            tx.all(ALL, &[]).await
        })
        .await
        .unwrap_err();
    ground::admin().await.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("GRANT") && error.to_string().contains("t_things"), "{error}");
}

#[tokio::test]
async fn t6_an_exhausted_pool_says_so_in_time() {
    let ground = Ground::new().await;
    let mut deadlines = Deadlines::default();
    deadlines.wait = Duration::from_millis(300);
    let db = ground.db_on(&ground::settings(), 2, deadlines);
    let (_a, _) = db.begin(vec![]).await.unwrap();
    let (_b, _) = db.begin(vec![]).await.unwrap();
    let started = Instant::now();
    let error = db.one("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("all 2 of the pool"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn t7_a_silent_server_is_left_at_the_deadline() {
    // fault F19
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let mut deadlines = Deadlines::default();
    deadlines.statement = Duration::from_millis(300);
    let db = ground.db_on(&proxy.settings(), 1, deadlines);
    db.one(COUNT, &[]).await.unwrap();
    db.exec(PUT, &[&1, &1]).await.unwrap();

    proxy.black_hole(true);
    let error = db.one(COUNT, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    proxy.black_hole(false);
    db.one(COUNT, &[]).await.unwrap(); // on another connection: the pool has one place
    db.exec(PUT, &[&2, &2]).await.unwrap();

    proxy.black_hole(true);
    let error = db.exec(PUT, &[&3, &3]).await.unwrap_err();
    assert!(error.is_commit_unknown(), "{error}"); // it may have happened
    proxy.black_hole(false);
    assert_eq!(ground.things().await, [1, 2]);
    db.one(COUNT, &[]).await.unwrap();
}

#[tokio::test]
async fn t8_connections_that_died_in_the_pool_are_replaced() {
    let ground = Ground::new().await;
    let db = ground.db(3);
    let pids = || async {
        let (a, b, c) = tokio::join!(pid(&db), pid(&db), pid(&db));
        [a, b, c]
    };
    let before = pids().await;
    for pid in before {
        ground::admin().await.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after = pids().await;
    assert!(after.iter().all(|pid| !before.contains(pid)));
}

async fn pid(db: &mainspring_pg::Db<'_>) -> i32 {
    db.one("SELECT pg_backend_pid() FROM pg_sleep(0.05)", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn t11_an_altered_table_under_prepared_statements_heals_itself() {
    // fault F77
    let ground = Ground::new().await;
    let db = ground.db(4);
    db.exec(PUT, &[&1, &10]).await.unwrap();
    // Every one of the four connections has the statement.
    const WIDE: &str = "SELECT * FROM {things}, pg_sleep(0.05)";
    let all =
        || async { tokio::join!(db.all(WIDE, &[]), db.all(WIDE, &[]), db.all(WIDE, &[]), db.all(WIDE, &[])) };
    let (a, b, c, d) = all().await;
    assert!([a, b, c, d].iter().all(Result::is_ok));
    ground.sql("ALTER TABLE {things} ADD COLUMN more int").await;
    // The second try must not meet another connection that is out of date.
    db.all(WIDE, &[]).await.unwrap();
    let (a, b, c, d) = all().await;
    for rows in [a, b, c, d] {
        assert_eq!(rows.unwrap()[0].columns().len(), 4);
    }
    // In a transaction of our own the whole transaction runs again, …
    ground.sql("ALTER TABLE {things} ADD COLUMN still int").await;
    let rows = db.with_tx(async |tx| tx.all(WIDE, &[]).await).await.unwrap();
    assert_eq!(rows[0].columns().len(), 5);
    // … and a flight takes off again.
    ground.sql("ALTER TABLE {things} DROP COLUMN still").await;
    let (flight, rows) = db.begin(vec![Query::new(WIDE)]).await.unwrap();
    assert_eq!(rows[0][0].columns().len(), 4);
    flight.rollback().await.unwrap();
}

#[tokio::test]
async fn t9_a_statement_nobody_waits_for_gives_its_locks_back() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    db.exec(PUT, &[&1, &1]).await.unwrap();
    const SLOW: &str = "UPDATE {things} SET n = 2 WHERE id = 1 AND pg_sleep(60) IS NOT NULL";
    assert!(tokio::time::timeout(Duration::from_millis(200), db.exec(SLOW, &[])).await.is_err());
    let started = Instant::now();
    db.exec("UPDATE {things} SET n = 3 WHERE id = 1", &[]).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_pool_of_the_application_without_any_timeout_has_ours() {
    let ground = Ground::new().await;
    let config: tokio_postgres::Config = ground::url().parse().unwrap();
    let manager = deadpool_postgres::Manager::new(config, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).max_size(1).build().unwrap();
    let mut deadlines = Deadlines::default();
    (deadlines.wait, deadlines.create) = (Duration::from_millis(100), Duration::from_millis(200));
    let db = mainspring_pg::Db::with_deadlines(pool, ground.names.clone(), deadlines);
    db.with_tx(async |tx| tx.exec(PUT, &[&1, &1]).await).await.unwrap();
    let (_flight, _) = db.begin(vec![]).await.unwrap();
    assert_eq!(db.one(COUNT, &[]).await.unwrap_err().kind(), ErrorKind::Busy);
}

//! Flights: two round trips, one transaction.

use std::time::{Duration, Instant};

use mainspring_core::ErrorKind;
use mainspring_pg::{Deadlines, Query};

use crate::{
    ground::Ground,
    proxy::{Fault, Proxy},
};

fn put(id: i32) -> Query {
    Query::new("INSERT INTO {things} (id) VALUES ($1) RETURNING id").bind(id)
}

fn show(setting: &'static str) -> Query {
    Query::new("SELECT current_setting($1)").bind(setting)
}

#[tokio::test]
async fn a_flight_answers_every_query_and_commits() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    let (mut flight, rows) = db.begin(vec![put(1), show("enable_seqscan")]).await.unwrap();
    assert_eq!(rows[0][0].get::<_, i32>(0), 1);
    assert_eq!(rows[1][0].get::<_, &str>(0), "off");
    assert!(flight.xid().parse::<u64>().is_ok());
    let rows = flight.run(vec![put(2), put(3)]).await.unwrap();
    assert_eq!(rows.len(), 2);
    let rows = flight.commit(vec![put(4)]).await.unwrap();
    assert_eq!(rows.unwrap()[0][0].get::<_, i32>(0), 4);
    assert_eq!(ground.things().await, [1, 2, 3, 4]);
    // The settings were the transaction's, and the connection is the pool's again.
    assert_eq!(db.run(show("enable_seqscan")).await.unwrap()[0].get::<_, &str>(0), "on");

    let (flight, _) = db.begin(vec![put(5)]).await.unwrap();
    flight.rollback().await.unwrap();
    let error = db.with_tx(async |tx| tx.begin(vec![]).await.map(|_| ())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(ground.things().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_failing_statement_undoes_everything_and_the_connection_is_clean() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    db.run(put(1)).await.unwrap();
    let pid = async || db.one("SELECT pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0);
    let before = pid().await;

    let error = db.begin(vec![put(2), put(1), put(3)]).await.err().unwrap();
    assert!(error.is_conflict(), "{error}");
    let (mut flight, _) = db.begin(vec![put(2)]).await.unwrap();
    assert!(flight.run(vec![put(1)]).await.unwrap_err().is_conflict());
    assert_eq!(flight.run(vec![put(4)]).await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(flight.commit(vec![]).await.unwrap_err().kind(), ErrorKind::Internal);
    let (flight, _) = db.begin(vec![put(2)]).await.unwrap();
    assert!(flight.commit(vec![put(3), put(1)]).await.unwrap_err().is_conflict());
    let (flight, _) = db.begin(vec![put(2)]).await.unwrap();
    let error = flight.commit(vec![Query::new("SELECT 1 FROM {nothing}")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);

    assert_eq!(ground.things().await, [1]);
    assert_eq!(pid().await, before); // rolled back each time, never thrown away
}

#[tokio::test]
async fn t4_a_dropped_flight_is_never_handed_to_the_next_borrower() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    let (flight, rows) = db.begin(vec![put(1), Query::new("SELECT pg_backend_pid()")]).await.unwrap();
    let before: i32 = rows[1][0].get(0);
    drop(flight);
    let row = db.one("SELECT pg_backend_pid(), pg_current_xact_id_if_assigned()::text", &[]).await.unwrap();
    assert_ne!(row.get::<_, i32>(0), before);
    assert_eq!(row.get::<_, Option<&str>>(1), None);
    db.run(put(1)).await.unwrap(); // the lock of the dropped one is gone
    assert_eq!(ground.things().await, [1]);

    // A future dropped between BEGIN and its answer is no different.
    for micros in (0..3000).step_by(100) {
        drop(tokio::time::timeout(Duration::from_micros(micros), db.begin(vec![put(2)])).await);
        let row = db.one("SELECT pg_current_xact_id_if_assigned()::text", &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<&str>>(0), None);
    }
    assert_eq!(ground.things().await, [1]);
}

#[tokio::test]
async fn each_end_of_a_flight_is_one_round_trip() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let db = ground.db_on(&proxy.settings(), 1, Deadlines::default());
    let (flight, _) = db.begin((1..=40).map(put).collect()).await.unwrap(); // fills the cache
    flight.commit((101..=140).map(put).collect()).await.unwrap();
    proxy.delay(Duration::from_millis(500));
    let started = Instant::now();
    let (flight, rows) = db.begin((41..=80).map(put).collect()).await.unwrap();
    let begun = started.elapsed();
    flight.commit((141..=180).map(put).collect()).await.unwrap();
    let both = started.elapsed();
    assert_eq!(rows.len(), 40);
    assert!(begun < Duration::from_millis(1_900), "{begun:?}"); // one round trip is a second
    assert!(both < Duration::from_millis(3_800), "{both:?}");
}

#[tokio::test]
async fn t2_a_commit_goes_on_when_its_future_is_dropped() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    let (flight, _) = db.begin(vec![put(1)]).await.unwrap();
    let slow = Query::new("SELECT pg_sleep(0.3)");
    let limit = Duration::from_millis(50);
    assert!(tokio::time::timeout(limit, flight.commit(vec![slow, put(2)])).await.is_err());
    db.one("SELECT 1", &[]).await.unwrap(); // waits for the only connection
    assert_eq!(ground.things().await, [1, 2]);
}

#[tokio::test]
async fn t3_a_flight_whose_answer_was_lost_is_found_out() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let db = ground.db_on(&proxy.settings(), 1, Deadlines::default());
    let (flight, _) = db.begin(vec![put(1)]).await.unwrap();
    proxy.arm(Fault::CutAfter("COMMIT\0"));
    flight.commit(vec![]).await.unwrap();

    let (flight, _) = db.begin(vec![put(2)]).await.unwrap();
    proxy.arm(Fault::CutAfter("COMMIT\0"));
    assert!(flight.commit(vec![put(3)]).await.unwrap().is_none()); // committed, but the rows are lost

    let (flight, _) = db.begin(vec![put(4)]).await.unwrap();
    proxy.arm(Fault::CutBefore("COMMIT\0"));
    let error = flight.commit(vec![put(5)]).await.unwrap_err();
    assert!(error.is_retryable() && mainspring_pg::is_transient(&error), "{error}");
    assert_eq!(ground.things().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_is_replaced_before_take_off() {
    let ground = Ground::new().await;
    let proxy = Proxy::start().await;
    let db = ground.db_on(&proxy.settings(), 1, Deadlines::default());
    db.one("SELECT 1", &[]).await.unwrap();
    proxy.arm(Fault::CutBefore("BEGIN"));
    let (flight, _) = db.begin(vec![put(1)]).await.unwrap();
    flight.commit(vec![]).await.unwrap();
    assert_eq!(ground.things().await, [1]);
}

//! Reads in one round trip, and the transaction of a flight.

use mainspring_core::ErrorKind;
use mainspring_pg::Query;

use crate::ground::Ground;

const COUNT: &str = "SELECT count(*), current_setting('enable_seqscan'), pg_current_xact_id_if_assigned() IS NULL FROM {things}";
const PUT: &str = "INSERT INTO {things} (id) VALUES ($1)";

#[tokio::test]
async fn a_look_goes_by_index_and_costs_no_transaction_id() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    db.exec(PUT, &[&1]).await.unwrap();
    let rows = db.look(vec![Query::new(COUNT), Query::new("SELECT 7")]).await.unwrap();
    assert_eq!(rows[0][0].get::<_, i64>(0), 1);
    assert_eq!((rows[0][0].get::<_, &str>(1), rows[0][0].get::<_, bool>(2)), ("off", true));
    assert_eq!(rows[1][0].get::<_, i32>(0), 7);
    // The connection comes back without the settings, also after a failure.
    assert_eq!(db.run(Query::new(COUNT)).await.unwrap()[0].get::<_, &str>(1), "on");
    let failure = db.look(vec![Query::new("SELECT 1/0"), Query::new(COUNT)]).await.unwrap_err();
    assert!(failure.to_string().contains("22012"), "{failure}");
    assert_eq!(db.run(Query::new(COUNT)).await.unwrap()[0].get::<_, &str>(1), "on");
    // It cannot change anything, and it does not stand in a transaction.
    assert!(db.look(vec![Query::new(PUT).bind(2)]).await.is_err());
    let inside = db.with_tx(async |tx| tx.look(vec![Query::new(COUNT)]).await.map(drop)).await;
    assert_eq!(inside.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn statements_in_the_transaction_of_a_flight_are_committed_with_it_or_not_at_all() {
    let ground = Ground::new().await;
    let db = ground.db(1);
    let (flight, rows) = db.begin_plain(vec![Query::new(COUNT)]).await.unwrap();
    assert_eq!((rows[0][0].get::<_, &str>(1), rows[0][0].get::<_, bool>(2)), ("on", false));
    flight.db().unwrap().exec(PUT, &[&1]).await.unwrap();
    flight.commit(vec![Query::new("SELECT 1")]).await.unwrap();
    assert_eq!(ground.things().await, [1]);

    // A failure that nobody minded does not end as a commit.
    let (flight, _) = db.begin_plain(vec![]).await.unwrap();
    flight.db().unwrap().exec(PUT, &[&2]).await.unwrap();
    flight.db().unwrap().exec(PUT, &[&2]).await.unwrap_err();
    flight.commit(vec![Query::new("SELECT 1")]).await.unwrap_err();
    assert_eq!(ground.things().await, [1]);
}

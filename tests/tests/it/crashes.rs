//! A crash of Postgres while COMMIT is under way, when another transaction gets the id of the one that was lost (faults F14, F31).

use mainspring::{Migrator, Names, Settings, pool};
use mainspring_pg::{Db, Query, Session};
use mainspring_testing::{Cluster, ClusterOptions};
use tokio::task::block_in_place;

/// A server that writes to disk when somebody commits, and not by itself.
fn cluster() -> Cluster {
    let options = ClusterOptions::throwaway()
        .setting("synchronous_commit", "on")
        .setting("autovacuum", "off")
        .setting("wal_writer_delay", "10s");
    block_in_place(|| Cluster::start(options)).unwrap()
}

/// Commits until the server has handed out `xid`; whether it was to one of these.
async fn reused(session: &Session, xid: u64) -> bool {
    loop {
        let row = session.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap();
        let got: u64 = row.get::<_, &str>(0).parse().unwrap();
        if got >= xid {
            return got == xid;
        }
    }
}

fn put(id: i32) -> Query {
    Query::new("INSERT INTO {things} VALUES ($1)").bind(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_handed_out_again_does_not_answer_for_the_lost_transaction() {
    let mut cluster = cluster();
    let settings = Settings::parse(&cluster.url("postgres")).unwrap();
    Migrator::new(settings.clone(), Names::default()).up().await.unwrap();
    let db = Db::new(pool(&settings, 2).unwrap(), Names::default());
    let session = settings.connect().await.unwrap();
    session.batch_execute(&db.names().render("CREATE TABLE {things} (id int)")).await.unwrap();
    db.with_tx(async |tx| tx.run(put(0)).await).await.unwrap();

    for crashes in 1..=2 {
        let (flight, _) = db.begin(vec![put(crashes)]).await.unwrap();
        let xid = flight.xid().parse().unwrap();
        block_in_place(|| cluster.kill9()).unwrap();
        block_in_place(|| cluster.restart()).unwrap();
        let session = settings.connect().await.unwrap();
        if crashes == 1 {
            assert!(reused(&session, xid).await, "{xid} was not handed out again");
        }
        // After the second crash nobody has the id yet: it was lost, and that is known.
        let error = flight.commit(Vec::new()).await.unwrap_err();
        assert_eq!(error.is_commit_unknown(), crashes == 1, "{error:?}");
        let rows = session.query(&*db.names().render("SELECT id FROM {things}"), &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
    }
}

//! Partitions while others write, and the plans of the reads (E17).

use mainspring_core::{Append, EventStore, StreamId};
use mainspring_events::{EventStoreExt, PgEventStore};
use mainspring_testing::TestDb;

use crate::event;

#[tokio::test]
async fn a_partition_is_made_while_an_append_is_open() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    log.on(&tx).append(Append::to("slow", vec![event("1")])).await.unwrap();
    assert!(log.create_partition("billing").await.unwrap());
    let of = |tenant: &str| StreamId::new("s").in_partition("billing").of_tenant(tenant);
    log.append(Append::to(of("acme"), vec![event("1")])).await.unwrap();
    assert!(log.create_tenant("billing", "other").await.unwrap());
    assert_eq!(log.append(Append::to(of("other"), vec![event("1")])).await.unwrap().last, 1);
    tx.commit().await.unwrap();
    assert!(log.head(&"slow".into()).await.unwrap().exists());
    let made = log.partitions().await.unwrap();
    assert_eq!(made.into_iter().collect::<Vec<_>>(), [("billing".to_owned(), vec!["other".to_owned()])]);
}

#[tokio::test]
async fn a_conflict_in_the_callers_transaction_leaves_it_usable() {
    use mainspring_core::ExpectedPosition::{Exact, NoStream};
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    let here = log.on(&tx);
    let wrong = Append::to("a", vec![event("1")]).expecting(Exact(3));
    assert_eq!(here.append(wrong.clone()).await.unwrap_err().current_position(), Some(0));
    let several = vec![Append::to("b", vec![event("1")]), wrong];
    assert!(here.append_all(several).await.unwrap_err().is_conflict());
    let elsewhere = Append::to(StreamId::new("a").in_partition("none"), vec![event("1")]);
    assert!(here.append(elsewhere).await.unwrap_err().is_not_found());
    here.append(Append::to("a", vec![event("1")]).expecting(NoStream)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(log.head(&"a".into()).await.unwrap().position, 1);
    assert!(!log.head(&"b".into()).await.unwrap().exists());
}

/// Rows that scans of these tables have returned so far.
async fn scanned(db: &TestDb) -> i64 {
    let client = db.client().await;
    client.query_one("SELECT pg_stat_force_next_flush()", &[]).await.unwrap();
    let sql = "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE '%events%'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn reads_go_by_their_index_also_in_partitions_made_later() {
    // E17
    let db = TestDb::with_pool(1).await;
    let log = PgEventStore::new(&db.db());
    log.create_partition("billing").await.unwrap();
    for stream in [StreamId::new("big"), StreamId::new("big").in_partition("billing")] {
        log.append(Append::to(&stream, vec![event("x"); 10_000])).await.unwrap();
    }
    log.append(Append::to("other", vec![event("y").caused_by("r1", "m1")])).await.unwrap();
    db.client().await.batch_execute("VACUUM ANALYZE").await.unwrap();
    let last = log.in_partition("billing").read("big").backward().max_count(1).all().await.unwrap().events[0]
        .clone();
    for (what, most) in [("page", 40), ("last", 20), ("correlation", 20), ("global", 40)] {
        let flush = "SELECT pg_stat_force_next_flush()";
        log.db().all(flush, &[]).await.unwrap();
        let before = scanned(&db).await;
        let found = match what {
            "page" => log
                .in_partition("billing")
                .read("big")
                .from(5_000)
                .max_count(20)
                .all()
                .await
                .unwrap()
                .events
                .len(),
            "last" => log.read("big").backward().max_count(1).all().await.unwrap().events.len(),
            "correlation" => {
                let correlation_id = Some("r1".to_owned());
                log.query(mainspring_core::EventQuery { correlation_id, ..Default::default() })
                    .await
                    .unwrap()
                    .len()
            }
            _ => {
                let after_position = Some(last.global_position - 20);
                log.query(mainspring_core::EventQuery { after_position, ..Default::default() })
                    .await
                    .unwrap()
                    .len()
            }
        };
        assert!(found > 0, "{what}");
        log.db().all(flush, &[]).await.unwrap();
        let rows = scanned(&db).await - before;
        assert!(rows <= most, "{what}: {rows} rows were looked at");
    }
}

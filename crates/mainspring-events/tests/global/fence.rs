//! What is settled, and when, one transaction at a time.

use mainspring_core::EventStore;
use mainspring_events::{GlobalFilter, GlobalReader, PgEventStore};
use mainspring_testing::TestDb;

use crate::events;

/// The streams of what a reader is shown beyond `after`, and how far it went.
async fn seen(reader: &GlobalReader, after: i64) -> (Vec<String>, i64) {
    let page = reader.read(after, reader.settled().await.unwrap(), 100).await.unwrap();
    (page.events.into_iter().map(|event| event.stream).collect(), page.next)
}

#[tokio::test]
async fn the_very_first_event_of_a_log_waits_for_its_transaction() {
    // E13: nothing was given out before, so there is no position to be named after.
    let test = TestDb::new().await;
    let log = PgEventStore::new(&test.db());
    let reader = GlobalReader::new(&test.db()).unwrap();
    assert_eq!((reader.last().await.unwrap(), seen(&reader, 0).await), (0, (vec![], 0)));
    let mut client = test.client().await;
    let tx = client.transaction().await.unwrap();
    log.on(&tx).append(events("a", 1)).await.unwrap();
    assert_eq!(reader.last().await.unwrap(), 1);
    assert_eq!(seen(&reader, 0).await, (vec![], 0));
    tx.commit().await.unwrap();
    assert_eq!(seen(&reader, 0).await, (vec!["a".to_owned()], 1));
}

#[tokio::test]
async fn a_slow_transaction_is_waited_for_and_not_skipped() {
    // E12, E13, E14, E15, E16, X8
    let test = TestDb::new().await;
    let log = PgEventStore::new(&test.db());
    let reader = GlobalReader::new(&test.db()).unwrap();
    let (mut first, mut second) = (test.client().await, test.client().await);
    log.append(events("before", 1)).await.unwrap();
    let slow = first.transaction().await.unwrap();
    log.on(&slow).append(events("slow", 2)).await.unwrap();
    let slower = second.transaction().await.unwrap();
    log.on(&slower).append(events("slower", 1)).await.unwrap();
    log.append(events("fast", 1)).await.unwrap();
    assert_eq!(seen(&reader, 0).await, (vec!["before".to_owned()], 1));

    // Who it is can be asked.
    let pid: i32 = slow.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let fence = reader.fence().await.unwrap();
    let held = fence.held_by.unwrap();
    assert_eq!((fence.last, fence.settled, held.pid), (5, 1, Some(pid)));
    assert!(held.since.is_some() && held.age.is_some());
    assert_eq!(held.state.as_deref(), Some("idle in transaction"));

    // The slow one rolls back, and only the slower is waited for: its fence is the last position before it.
    slow.rollback().await.unwrap();
    assert_eq!(seen(&reader, 1).await, (vec![], 3));
    slower.commit().await.unwrap();
    assert_eq!(seen(&reader, 3).await, (vec!["slower".to_owned(), "fast".to_owned()], 5));
    assert_eq!(seen(&reader, 5).await, (vec![], 5));
    assert_eq!(reader.fence().await.unwrap().held_by, None);
}

#[tokio::test]
async fn nobody_waits_for_transactions_that_append_nothing() {
    let test = TestDb::new().await;
    let other = TestDb::new().await;
    let log = PgEventStore::new(&test.db());
    let reader = GlobalReader::new(&test.db()).unwrap();
    let mut clients = (test.client().await, other.client().await, test.client().await);
    // One that writes, with an older xid; one of another database that appends to its own log; one with a lock of its own.
    let here = clients.0.transaction().await.unwrap();
    here.batch_execute("CREATE TABLE mine (); SELECT pg_current_xact_id()").await.unwrap();
    let there = clients.1.transaction().await.unwrap();
    PgEventStore::new(&other.db()).on(&there).append(events("there", 1)).await.unwrap();
    let locked = clients.2.transaction().await.unwrap();
    locked
        .batch_execute("SELECT pg_advisory_xact_lock_shared(1), pg_advisory_xact_lock_shared(1, 1)")
        .await
        .unwrap();
    log.append(events("a", 3)).await.unwrap();
    assert_eq!(seen(&reader, 0).await.1, 3);
    assert_eq!(reader.fence().await.unwrap().held_by, None);
}

#[tokio::test]
async fn pages_are_bounded_filtered_and_say_how_far_they_looked() {
    // E26
    let test = TestDb::new().await;
    let log = PgEventStore::new(&test.db());
    for stream in ["a", "b", "a"] {
        log.append(events(stream, 4)).await.unwrap();
    }
    let all = GlobalReader::new(&test.db()).unwrap();
    let settled = all.settled().await.unwrap();
    let mut after = 0;
    let mut sizes = Vec::new();
    while after < settled.position() {
        let page = all.read(after, settled, 5).await.unwrap();
        assert!(page.events.iter().all(|event| event.global_position > after) && page.bytes > 0);
        sizes.push(page.events.len());
        after = page.next;
    }
    assert_eq!((sizes, after), (vec![5, 5, 2], 12));

    let only = |filter| all.clone().only(filter).unwrap();
    for (filter, found) in [
        (GlobalFilter { partitions: vec!["streams".into()], ..GlobalFilter::default() }, 12),
        (GlobalFilter { partitions: vec!["executions".into()], ..GlobalFilter::default() }, 0),
        (
            GlobalFilter {
                partitions: vec!["executions".into(), "streams".into()],
                ..GlobalFilter::default()
            },
            12,
        ),
        (GlobalFilter { tenant: Some(String::new()), ..GlobalFilter::default() }, 12),
        (GlobalFilter { tenant: Some("acme".into()), ..GlobalFilter::default() }, 0),
        (GlobalFilter { event_types: vec!["Added".into()], ..GlobalFilter::default() }, 12),
        (GlobalFilter { event_types: vec!["Removed".into()], ..GlobalFilter::default() }, 0),
    ] {
        let page = only(filter.clone()).read(0, settled, 100).await.unwrap();
        assert_eq!((page.events.len(), page.next), (found, 12), "{filter:?}");
    }
    assert!(all.read(0, settled, 0).await.unwrap_err().is_invalid());
    assert!(
        all.clone()
            .only(GlobalFilter { event_types: vec![String::new()], ..GlobalFilter::default() })
            .is_err()
    );
}

#[tokio::test]
async fn a_page_goes_by_the_index_of_positions_without_any_statistics() {
    // E17, also for the partitions.
    let test = TestDb::new().await;
    let log = PgEventStore::new(&test.db());
    for n in 0..40 {
        log.append(events(&format!("s{n}"), 50)).await.unwrap();
    }
    let client = test.client().await;
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let reader = GlobalReader::new(&test.db()).unwrap();
    let settled = reader.settled().await.unwrap();
    assert_eq!(reader.read(1_990, settled, 5).await.unwrap().events.len(), 5);
    let scans = "SELECT coalesce(sum(seq_scan), 0)::bigint, coalesce(sum(seq_tup_read), 0)::bigint
                 FROM pg_stat_user_tables WHERE relname LIKE '%events_streams'";
    let before: i64 = client.query_one(scans, &[]).await.unwrap().get(0);
    for _ in 0..3 {
        reader.read(1_990, settled, 5).await.unwrap();
    }
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let after: i64 = client.query_one(scans, &[]).await.unwrap().get(0);
    assert_eq!(after - before, 0, "the log was scanned");
}

#[tokio::test]
async fn a_transaction_takes_the_fence_once_however_much_it_appends() {
    // The locks of all transactions share one table, of some 6,400 places where nothing else is set.
    let test = TestDb::new().await;
    let db = test.db();
    let log = PgEventStore::new(&db);
    let reader = GlobalReader::new(&db).unwrap();
    let mut client = test.client().await;
    let mut tx = client.transaction().await.unwrap();
    let locks = db.names().render(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objsubid = 1",
    );
    let point = tx.savepoint("before").await.unwrap();
    log.on(&point).append(events("undone", 2)).await.unwrap();
    point.rollback().await.unwrap();
    assert_eq!(tx.query_one(&*locks, &[]).await.unwrap().get::<_, i64>(0), 0);

    // The lock went with the savepoint, so the next append takes it again.
    log.on(&tx).append(events("first", 1)).await.unwrap();
    assert_eq!(reader.settled().await.unwrap().position(), 2);
    let many =
        "SELECT count({event_fence}()), max(nextval('{event_position}')) FROM generate_series(1, 20000)";
    tx.query_one(&*db.names().render(many), &[]).await.unwrap();
    for n in 0..20 {
        log.on(&tx).append(events(&format!("s{n}"), 1)).await.unwrap();
    }
    assert_eq!(tx.query_one(&*locks, &[]).await.unwrap().get::<_, i64>(0), 1);
    assert_eq!(reader.settled().await.unwrap().position(), 2);
    tx.commit().await.unwrap();
    assert_eq!(reader.settled().await.unwrap().position(), 20_023);

    // What is remembered is over with the transaction.
    let tx = client.transaction().await.unwrap();
    log.on(&tx).append(events("next", 1)).await.unwrap();
    assert_eq!(reader.settled().await.unwrap().position(), 20_023);
    tx.rollback().await.unwrap();
}

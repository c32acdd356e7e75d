//! Bulk import.

use mainspring_core::{Append, EventId, EventQuery, EventStore, ExpectedPosition, StreamId};
use mainspring_events::{EventStoreExt, Imported, PgEventStore};
use mainspring_testing::TestDb;

use crate::event;

#[tokio::test]
async fn an_import_begins_streams_and_goes_on_with_those_that_exist() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    log.create_partition("billing").await.unwrap();
    log.append(Append::to("old", vec![event("1")])).await.unwrap();
    let many = |n: usize| (0..n).map(|n| event(&n.to_string())).collect::<Vec<_>>();
    let full =
        event("full").identified(EventId::new("evt_1").unwrap()).of_version(4).about("x").caused_by("r", "m");
    let appends = vec![
        Append::to("new", many(12_000)),
        Append::to("old", many(3)).expecting(ExpectedPosition::Exact(1)),
        Append::to("old", many(2)).expecting(ExpectedPosition::Exact(4)),
        Append::to(StreamId::new("s").in_partition("billing").of_tenant("acme"), vec![full.clone()]),
    ];
    let imported = log.import(appends.clone()).await.unwrap();
    assert_eq!(imported, Imported { events: 12_006, repeated: 0, streams: 2 });
    let read = log.read("new").all().await.unwrap();
    assert!(read.events.iter().map(|e| e.position).eq(1..=12_000));
    assert!(read.events.windows(2).all(|pair| pair[0].global_position < pair[1].global_position));
    assert_eq!(log.head(&"old".into()).await.unwrap().position, 6);
    let billing = log.in_partition("billing").tenant("acme").read("s").all().await.unwrap();
    assert_eq!(billing.events[0].event, full);
    // Streams go on behind it, and what has ids may be repeated.
    assert_eq!(log.append(Append::to("new", vec![event("x")])).await.unwrap().first, 12_001);
    let again = log.import([appends[3].clone()]).await.unwrap();
    assert_eq!(again, Imported { events: 0, repeated: 1, streams: 0 });
}

#[tokio::test]
async fn parts_of_a_long_stream_are_read_to_their_ends() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    let events = (0..6_500).map(|n| event(&n.to_string())).collect();
    log.import([Append::to("long", events)]).await.unwrap();
    let all = || log.read("long");
    for (read, first, last) in [
        (all().max_count(4_001), 1, 4_001),
        (all().max_count(4_000).from(3), 3, 4_002),
        (all().from(2_000).to(6_000), 2_000, 6_000),
        (all().to(2_000), 1, 2_000),
        (all().to(9_000).from(6_500), 6_500, 6_500),
    ] {
        let page = read.all().await.unwrap();
        assert!(page.events.iter().map(|e| e.position).eq(first..=last), "{first} to {last}");
        assert_eq!(page.head.position, 6_500);
    }
    let lose = "DELETE FROM {events} WHERE stream = 'long' AND stream_position = 5000";
    db.db().exec(lose, &[]).await.unwrap();
    assert!(all().all().await.unwrap_err().is_conflict(), "an event that is gone is not passed by");
}

#[tokio::test]
async fn an_import_that_is_refused_leaves_nothing_behind() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    let good = || Append::to("good", vec![event("1"), event("2")]);
    let mut bad = event("bad");
    bad.event_type = String::new();
    for (last, code) in [
        (Append::to("a", vec![event("1")]).expecting(ExpectedPosition::Exact(7)), "conflict"),
        (Append::to(StreamId::new("a").in_partition("none"), vec![event("1")]), "not_found"),
        (Append::to("a", vec![bad]), "invalid"),
        (good().expecting(ExpectedPosition::NoStream), "conflict"),
    ] {
        assert_eq!(log.import([good(), last]).await.unwrap_err().code(), code);
        assert!(log.query(EventQuery::default()).await.unwrap().is_empty());
    }
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    log.on(&tx).import([good()]).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(!log.head(&"good".into()).await.unwrap().exists());
}

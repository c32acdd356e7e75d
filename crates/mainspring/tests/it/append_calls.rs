//! Appends in one call: they leave behind what the two flights leave behind, and a lost answer is found out.

use mainspring::{
    Append, Appended, Backend, Changes, Committed, ErrorKind, EventStore, EventStoreExt, ExpectedPosition,
    NewEvent, PgStores, Result,
};
use mainspring_testing::{Cut, TestDb};
use serde_json::{Value, json};

use crate::calls::far_away;

fn append(stream: &str, expected: i64, events: i64) -> Append {
    let event = |n| NewEvent::new("Added", json!({"n": n}));
    Append::to(stream, (0..events).map(event).collect()).expecting(ExpectedPosition::Exact(expected))
}

fn one(append: Append) -> Changes {
    Changes { appends: vec![append], ..Changes::default() }
}

/// Heads and events, without times, and whether a call made the heads.
async fn left_behind(db: &TestDb) -> (Vec<Value>, bool) {
    let sql = db.names().render(
        "SELECT to_jsonb(s) - '{created_at,mark}'::text[] || jsonb_build_object('events',
             (SELECT jsonb_agg(to_jsonb(e) - 'created_at' ORDER BY e.stream_position)
              FROM {events} e WHERE e.stream = s.stream AND e.tenant = s.tenant AND e.partition = s.partition)),
           s.mark IS NOT NULL
         FROM {streams} s ORDER BY s.stream",
    );
    let rows = db.client().await.query(&*sql, &[]).await.unwrap();
    (rows.iter().map(|row| row.get(0)).collect(), rows.iter().all(|row| row.get(1)))
}

/// Appends of every kind that a call has a place for.
fn appends() -> Vec<Vec<Append>> {
    let mut told = append("b-1", 0, 2);
    told.stream_type = Some("basket".to_owned());
    for event in &mut told.events {
        event.subject = Some("somebody".to_owned());
        event.correlation_id = Some("c-1".to_owned());
        event.causation_id = Some("c-2".to_owned());
        event.metadata.insert("by".to_owned(), json!("me"));
        event.schema_version = 3;
    }
    vec![
        vec![append("a-1", 0, 3)],
        vec![told, append("a-1", 3, 1)],
        vec![append("c-1", 0, 1), append("a-1", 4, 2), append("b-1", 2, 1)],
    ]
}

#[tokio::test]
async fn a_call_leaves_behind_what_the_flights_do() {
    let (called, db) = crate::fresh().await;
    let (flown, other) = crate::fresh().await;
    for appends in appends() {
        let changes = Changes { appends, ..Changes::default() };
        let by_call = called.commit(changes.clone()).await.unwrap();
        // The caller's own transaction is not the call's.
        let mut client = other.client().await;
        let tx = client.transaction().await.unwrap();
        let by_flights = flown.on(&tx).commit(changes).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(by_call.appended, by_flights.appended);
    }
    let (rows, by_call) = left_behind(&db).await;
    assert!(by_call, "the flights made them");
    assert_eq!((rows, false), left_behind(&other).await);
}

#[tokio::test]
async fn what_a_call_refuses_is_refused_with_its_reason_and_spares_the_others() {
    // E04, E05: also for a stream that was deleted, which does not begin at 0 again, and for an archived one
    let (stores, _db) = crate::fresh().await;
    let log = &stores.events;
    log.append(append("a-1", 0, 2)).await.unwrap();
    log.append(append("b-1", 0, 2)).await.unwrap();
    let late = log.append(append("a-1", 1, 1)).await.unwrap_err();
    assert!(late.is_conflict() && late.to_string().contains('2'), "{late}");
    assert!(log.append(append("a-1", 0, 1)).await.unwrap_err().is_conflict());
    let both = log.append_all(vec![append("b-1", 2, 1), append("a-1", 7, 1)]).await;
    assert!(both.unwrap_err().is_conflict());
    assert_eq!(log.head(&"b-1".into()).await.unwrap().position, 2);
    log.delete_stream(&"a-1".into()).await.unwrap();
    assert!(log.append(append("a-1", 2, 1)).await.unwrap_err().is_conflict());
    let again = log.append(append("a-1", 0, 1)).await.unwrap();
    assert_eq!((again.first, again.last, again.created_stream), (3, 3, true));
    log.archive(&"b-1".into()).await.unwrap();
    assert!(log.append(append("b-1", 2, 1)).await.is_err());
}

async fn there(stores: &PgStores<'static>) -> Vec<(i64, Value)> {
    let read = stores.events.read("a-1").all().await.unwrap();
    read.events.iter().map(|event| (event.position, event.event.data.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_answer_is_lost_appended_once_and_says_where() {
    // fault F31, fault F32: before the server has all of it, after, and when its answer is lost
    for cut in [Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply] {
        let (near, far, proxy, _db) = far_away().await;
        for (expected, events) in [(0, 2), (2, 1)] {
            proxy.arm(cut, 1);
            let made = far.events.append(append("a-1", expected, events)).await.unwrap();
            let read = near.events.read("a-1").all().await.unwrap().events;
            let placed: Vec<i64> =
                read[usize::try_from(expected).unwrap()..].iter().map(|e| e.global_position).collect();
            let first = expected + 1;
            let wanted = Appended {
                first,
                last: expected + events,
                global_positions: placed,
                created_stream: expected == 0,
                repeated: false,
            };
            assert_eq!(made, wanted, "{cut:?}");
        }
        let wanted = [(1, json!({"n": 0})), (2, json!({"n": 1})), (3, json!({"n": 0}))];
        assert_eq!(there(&near).await, wanted, "{cut:?}");
    }
}

/// An append whose call is cut, while `others` happen before anybody can look what became of it.
async fn meanwhile(cut: Cut, others: Vec<Append>) -> (Result<Committed>, Vec<(i64, Value)>) {
    let (near, far, proxy, _db) = far_away().await;
    far.events.append(append("a-1", 0, 1)).await.unwrap();
    proxy.arm(cut, 1);
    proxy.refuse(true);
    let mine =
        Append::to("a-1", vec![NewEvent::new("Mine", json!("mine"))]).expecting(ExpectedPosition::Exact(1));
    let committing = tokio::spawn(async move { far.commit(one(mine)).await });
    let happened = cut == Cut::DropReply;
    while proxy.cuts() != 1 || (there(&near).await.len() == 2) != happened {}
    for other in others {
        near.events.append(other).await.unwrap();
    }
    proxy.refuse(false);
    (committing.await.unwrap(), there(&near).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_appended_meanwhile_is_told_from_what_the_call_did() {
    // X3: the call happened; it did not, and is made good; others were first; others came after it; by calls and by flights
    let anywhere = || append("a-1", 0, 1).expecting(ExpectedPosition::Any);
    let mine = (2, json!("mine"));
    let kind = |result: Result<Committed>| result.err().map(|error| error.kind());

    for cut in [Cut::DropReply, Cut::BeforeCommit] {
        let (answer, there) = meanwhile(cut, Vec::new()).await;
        assert_eq!((kind(answer), there), (None, vec![(1, json!({"n": 0})), mine.clone()]), "{cut:?}");
    }
    for first in [append("a-1", 1, 1), anywhere()] {
        let (answer, there) = meanwhile(Cut::BeforeCommit, vec![first]).await;
        assert_eq!((kind(answer), there.len()), (Some(ErrorKind::Conflict), 2));
    }
    let (answer, there) = meanwhile(Cut::DropReply, vec![anywhere()]).await;
    assert_eq!((kind(answer), &there[1]), (None, &mine));
    let (answer, there) = meanwhile(Cut::DropReply, vec![append("a-1", 2, 1)]).await;
    assert_eq!((kind(answer), &there[1]), (Some(ErrorKind::CommitUnknown), &mine));
    let (answer, there) = meanwhile(Cut::BeforeCommit, vec![append("a-1", 1, 1), anywhere()]).await;
    assert_eq!((kind(answer), there.len()), (Some(ErrorKind::CommitUnknown), 3));
}

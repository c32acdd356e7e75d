//! A batch in one call: it leaves behind what the two flights leave behind, and a lost answer is found out.

use mainspring::{
    Backend, Changes, Committed, ErrorKind, Execution, ExecutionId, ExecutionStatus, ExecutionStore,
    ExecutionWrite, NewEvent, PgStores, Result, Timestamp,
};
use mainspring_testing::{Cut, Proxy, TestDb};
use serde_json::{Value, json};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn create(name: &str) -> ExecutionWrite {
    let mut execution = Execution::new(ExecutionId::new(name).unwrap(), "f", "1.0.0", "s");
    execution.status = ExecutionStatus::Running;
    execution.context.insert("n".to_owned(), json!(1));
    ExecutionWrite::create(execution, vec![NewEvent::new("execution.created", json!({"by": "me"}))])
}

/// With metadata of its own, of its first event and of one of two later ones.
fn traced(mut write: ExecutionWrite) -> ExecutionWrite {
    write.execution.metadata.insert("traceparent".to_owned(), json!(TRACE));
    write.events[0] = write.events[0].clone().traced(TRACE);
    write
}

fn next(write: &ExecutionWrite, at: Timestamp, status: ExecutionStatus) -> ExecutionWrite {
    let mut execution = write.clone().applied(at);
    execution.status = status;
    execution.step_count += 1;
    ExecutionWrite::update(execution, vec![NewEvent::new("step.completed", json!([1])); 2])
}

fn one(write: &ExecutionWrite) -> Changes {
    Changes { executions: vec![write.clone()], ..Changes::default() }
}

/// Rows of executions and of their histories, without times, marks and places in the log.
async fn left_behind(db: &TestDb) -> Vec<(Value, Option<i64>)> {
    let sql = db.names().render(
        "SELECT to_jsonb(e) - '{created_at,updated_at,finished_at,deadline_at,mark}'::text[]
           || jsonb_build_object('ended', e.finished_at = e.updated_at, 'lasts', e.deadline_at - e.created_at,
             'events', (SELECT jsonb_agg(to_jsonb(h) - '{created_at,global_position}'::text[] ORDER BY h.stream_position)
               FROM {events_executions} h WHERE h.stream = 'execution-' || e.id)), e.mark
         FROM {executions} e ORDER BY e.id",
    );
    let rows = db.client().await.query(&*sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn a_call_leaves_behind_what_the_flights_do() {
    let (called, db) = crate::fresh().await;
    let (flown, other) = crate::fresh().await;
    for name in ["a", "b", "c"] {
        let mut write = if name == "b" { traced(create(name)) } else { create(name) };
        for status in [Some(ExecutionStatus::Running), Some(ExecutionStatus::Completed), None] {
            let at = called.commit(one(&write)).await.unwrap().at;
            // The caller's own transaction is not the call's.
            let mut client = other.client().await;
            let tx = client.transaction().await.unwrap();
            flown.on(&tx).commit(one(&write)).await.unwrap();
            tx.commit().await.unwrap();
            let Some(status) = status else { break };
            write = next(&write, at, status);
            if name == "c" {
                write = traced(write);
            }
        }
    }
    let (called, flown) = (left_behind(&db).await, left_behind(&other).await);
    assert!(called.iter().all(|(_, mark)| mark.is_some()) && flown.iter().all(|(_, mark)| mark.is_none()));
    let rows = |all: Vec<(Value, Option<i64>)>| all.into_iter().map(|(row, _)| row).collect::<Vec<_>>();
    assert_eq!(rows(called), rows(flown));
}

/// Stores with one connection, through a proxy.
pub(crate) async fn far_away() -> (PgStores<'static>, PgStores<'static>, Proxy, TestDb) {
    let (near, db) = crate::fresh().await;
    let proxy = Proxy::before(&db).await.unwrap();
    let far = mainspring::pool(proxy.settings(), 1).unwrap();
    let far = mainspring::create_pg_stores(far, mainspring::PgStoreOptions::default()).unwrap();
    (near, far, proxy, db)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_answer_is_lost_happened_once() {
    // faults F31, F32: before the server has all of it, after, and when its answer is lost
    for cut in [Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply] {
        let (near, far, proxy, _db) = far_away().await;
        let begun = create("a");
        proxy.arm(cut, 1);
        let at = far.commit(one(&begun)).await.unwrap().at;
        proxy.arm(cut, 1);
        far.commit(one(&next(&begun, at, ExecutionStatus::Running))).await.unwrap();
        assert_eq!(proxy.cuts(), 2, "{cut:?}");
        let row = near.executions.get(&begun.execution.id).await.unwrap().unwrap();
        assert_eq!((row.revision, row.position, row.step_count), (2, 3, 1), "{cut:?}");
    }
}

/// One step of an execution whose call is cut, while `others` happen before anybody can look what became of it.
async fn meanwhile(cut: Cut, others: &[&'static str]) -> Result<Committed> {
    let (near, far, proxy, db) = far_away().await;
    let begun = create("a");
    let at = far.commit(one(&begun)).await.unwrap().at;
    proxy.arm(cut, 1);
    proxy.refuse(true);
    let step = one(&next(&begun, at, ExecutionStatus::Running));
    let committing = tokio::spawn(async move { far.commit(step).await });
    let happened = cut == Cut::DropReply;
    let is_cut = async || {
        let row = near.executions.get(&begun.execution.id).await.unwrap().unwrap();
        proxy.cuts() == 1 && (row.revision == 2) == happened
    };
    while !is_cut().await {}
    for sql in others {
        db.client().await.batch_execute(&db.names().render(sql)).await.unwrap();
    }
    proxy.refuse(false);
    committing.await.unwrap()
}

const CHANGED: &str = "UPDATE {executions} SET revision = revision + 1, mark = 7";

#[tokio::test(flavor = "multi_thread")]
async fn what_others_did_meanwhile_is_told_from_what_the_call_did() {
    // X3: the call happened; it did not, and is made good; others were first; others came after it; the row is gone
    let kind = |result: Result<Committed>| result.err().map(|error| error.kind());
    assert_eq!(kind(meanwhile(Cut::DropReply, &[]).await), None);
    assert_eq!(kind(meanwhile(Cut::BeforeCommit, &[]).await), None);
    assert_eq!(kind(meanwhile(Cut::BeforeCommit, &[CHANGED]).await), Some(ErrorKind::Conflict));
    assert_eq!(kind(meanwhile(Cut::DropReply, &[CHANGED]).await), Some(ErrorKind::CommitUnknown));
    let unmarked = ["UPDATE {executions} SET revision = revision + 1"];
    assert_eq!(kind(meanwhile(Cut::DropReply, &unmarked).await), None);
    let gone = ["DELETE FROM {executions}"];
    assert_eq!(kind(meanwhile(Cut::DropReply, &gone).await), Some(ErrorKind::CommitUnknown));
}

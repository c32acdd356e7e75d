//! A worker of durable functions is killed or stopped at a known point; another one finishes (W44, X1, X2, faults F01 to F07, F53).

use mainspring::{ExecutionId, ExecutionStatus};
use mainspring_tests::{
    Lab, PATIENCE,
    durable::{Record, builder, open_accounts, records, start, wrong_books},
    worker,
};

use crate::{WORKER, all, hit};

/// `transfer`: take, tell, give.
const TRANSFER: u64 = 6;
/// `family`: three children of two steps and a sleep.
const FAMILY: u64 = 5;

async fn fresh() -> Lab {
    let lab = Lab::new().await;
    open_accounts(lab.near()).await;
    lab
}

async fn started(lab: &Lab, n: u64) -> ExecutionId {
    let engine = builder(lab.stores(4), &lab.ledger, &mainspring_testing::Faults::none()).build().unwrap();
    start(&engine, n, "it").await.id().clone()
}

async fn finish(lab: &Lab, id: &ExecutionId) -> Record {
    let engine = builder(lab.stores(4), &lab.ledger, &mainspring_testing::Faults::none()).build().unwrap();
    let second = worker(&engine).start().unwrap();
    lab.over(std::slice::from_ref(id)).await;
    second.stop().await.unwrap();
    assert_eq!(lab.get(id).await.status, ExecutionStatus::Completed);
    assert!(lab.broken().await.is_empty(), "{:?}", lab.broken().await);
    records(lab.near(), std::slice::from_ref(id)).await.unwrap().remove(0)
}

/// How it ends when nothing happens.
async fn undisturbed(n: u64) -> Record {
    let lab = fresh().await;
    let id = started(&lab, n).await;
    finish(&lab, &id).await
}

/// What happens to a worker that stands at a point.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// It is killed.
    Killed,
    /// It is stopped until another one has finished, and then works on.
    Stopped,
}

/// Lets a worker come to a point and meet its fate there; how often effects were repeated.
async fn disturb(n: u64, point: &str, nth: u64, fate: Fate, twin: &Record) -> Vec<usize> {
    let lab = fresh().await;
    let id = started(&lab, n).await;
    let mut child = lab.child(WORKER).durable().faults(&format!("{point}=stop@{nth}")).spawn();
    hit(&mut child, point).await;
    if fate == Fate::Killed {
        child.kill9().unwrap();
    }
    let record = finish(&lab, &id).await;
    assert_eq!(&record, twin, "{point} {nth}");
    if fate == Fate::Stopped {
        child.cont().unwrap();
        child.terminate().unwrap();
        child.line("stopped", PATIENCE).await.unwrap();
        let after = records(lab.near(), std::slice::from_ref(&id)).await.unwrap().remove(0);
        assert_eq!(&after, twin, "{point} {nth}: what a zombie did was stored");
    }
    if n == TRANSFER {
        let wrong = wrong_books(lab.near(), &[id]).await;
        assert!(wrong.is_empty(), "{point} {nth}: {wrong:?}");
    }
    lab.ledger.repeats().into_iter().map(|(_, count)| count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_its_commits_a_workflow_with_children_ends_the_same() {
    // W44, faults F03 to F06: each side of each commit, its children's included
    let twin = undisturbed(FAMILY).await;
    let points = (1..=10).flat_map(|nth| [("commit.before", nth), ("commit.after", nth)]);
    all(points.map(|(point, nth)| {
        let twin = &twin;
        async move {
            let repeats = disturb(FAMILY, point, nth, Fate::Killed, twin).await;
            // A step whose end was not committed is run again; no other is.
            assert!(
                repeats.iter().all(|count| *count == 2) && repeats.len() < 2,
                "{point} {nth}: {repeats:?}"
            );
            assert!(point == "commit.before" || repeats.is_empty(), "{point} {nth}: {repeats:?}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_step_or_a_transaction_its_sql_happens_once() {
    // W44, faults F03, F04: in the body of a step, in the bodies of `cx.tx` with its SQL done, and around what is committed besides
    let twin = undisturbed(TRANSFER).await;
    let points = [
        ("claim.after", 1),
        ("take.before", 1),
        ("tell.before", 1),
        ("give.before", 1),
        ("commit.before", 1),
        ("commit.after", 1),
    ];
    all(points.map(|(point, nth)| {
        let twin = &twin;
        async move {
            let repeats = disturb(TRANSFER, point, nth, Fate::Killed, twin).await;
            // What was recorded just before a transaction is committed with it, and so is run again with it.
            let expected = if point == "give.before" { vec![2] } else { vec![] };
            assert_eq!(repeats, expected, "{point}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_for_longer_than_its_lease_a_worker_leaves_no_trace_when_it_goes_on() {
    // X2, faults F07, F53: in the body of a step, before and after a commit. Transactions are not stopped in their middle here: their
    // locks are the application's own, and last until the session ends.
    let family = undisturbed(FAMILY).await;
    let points = [
        ("claim.after", 1),
        ("first.before", 1),
        ("commit.before", 2),
        ("commit.before", 4),
        ("commit.after", 3),
    ];
    all(points.map(|(point, nth)| {
        let twin = &family;
        async move {
            disturb(FAMILY, point, nth, Fate::Stopped, twin).await;
        }
    }))
    .await;
    let transfer = undisturbed(TRANSFER).await;
    disturb(TRANSFER, "tell.before", 1, Fate::Stopped, &transfer).await;
}

//! The process of an application whose code is called is killed at a known point; another one finishes (W44, W45, X1, fault F31).

use mainspring::ExecutionStatus;
use mainspring_testing::Faults;
use mainspring_tests::{
    Lab,
    called::{Kind, STEPS, log, start, world},
};

use crate::{WORKER, all, hit};

/// Lets a process come to a point for the nth time and kills it there; how often effects were repeated by the one after it, and
/// how many runs were found stranded.
async fn killed(kind: Kind, point: &str, nth: u64) -> (Vec<usize>, u64) {
    killed_in(&Lab::new().await, kind, point, nth).await
}

pub(crate) async fn killed_in(lab: &Lab, kind: Kind, point: &str, nth: u64) -> (Vec<usize>, u64) {
    let after = world(lab.stores(4), kind, &lab.ledger, &Faults::none()).await;
    let run = start(&after).await;
    let mut child = lab.child(WORKER).called(kind).faults(&format!("{point}=stop@{nth}")).spawn();
    hit(&mut child, point).await;
    child.kill9().unwrap();
    after.start().await.unwrap();
    lab.over(std::slice::from_ref(&run)).await;
    after.close().await.unwrap();
    assert_eq!(lab.get(&run).await.status, ExecutionStatus::Completed, "{kind:?} {point} {nth}");
    let log = log(&after, &run).await;
    for (event, times) in
        [("step_created", STEPS), ("step_completed", STEPS), ("run_started", 1), ("run_completed", 1)]
    {
        let found = log.iter().filter(|found| **found == event).count();
        assert_eq!(found, times, "{kind:?} {point} {nth}: {event} in {log:?}");
    }
    assert_eq!(lab.ledger.counts().len(), STEPS);
    let repeats = lab.ledger.repeats().into_iter().map(|(_, count)| count).collect();
    (repeats, after.recovered().found)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_creating_a_step_and_pushing_it_the_step_runs() {
    // W45: in one commit there is no between; apart, recovery finds it
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    all(kinds.into_iter().flat_map(|(http, apart)| {
        (1..=STEPS as u64).map(move |nth| async move {
            let (repeats, found) = killed(Kind { http, apart }, "created.after", nth).await;
            assert_eq!(repeats, Vec::<usize>::new());
            assert_eq!(found > 0, apart, "{found} found");
        })
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_step_it_runs_again_and_after_its_result_it_does_not() {
    // W44, X1: its message comes again when the lease is over
    all([false, true].into_iter().flat_map(|http| {
        let points = [("effect.after", 1), ("effect.after", 3), ("result.after", 1), ("result.after", 3)];
        points.into_iter().map(move |(point, nth)| async move {
            let (repeats, found) = killed(Kind { http, apart: false }, point, nth).await;
            let again = if point == "effect.after" { vec![2] } else { vec![] };
            assert_eq!((repeats, found), (again, 0), "{point} {nth}");
        })
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_its_commits_a_run_that_is_called_ends_the_same() {
    // X1, fault F31: each side of each commit; the answer of the one that was under way is lost
    let points = (1..=6).flat_map(|nth| [("commit.before", nth), ("commit.after", nth)]);
    all(points.map(|(point, nth)| async move {
        let (repeats, found) = killed(Kind { http: false, apart: false }, point, nth).await;
        assert!(repeats.iter().all(|count| *count == 2) && repeats.len() < 2, "{point} {nth}: {repeats:?}");
        assert!(point == "commit.before" || repeats.is_empty(), "{point} {nth}: {repeats:?}");
        assert_eq!(found, 0, "{point} {nth}");
    }))
    .await;
}

//! A worker is killed with SIGKILL, at a known point; another one finishes (X1, faults F01 to F06).

use mainspring_testing::{Faults, FaultyBackend, Report};
use mainspring_tests::{Lab, order, worker};

use crate::{WORKER, all, hit};

/// Kills a worker that stands at a point of its backend or of a handler for the `nth` time, then lets another one finish.
async fn kill(point: &str, nth: u64) -> (Lab, Report) {
    let lab = Lab::new().await;
    let engine = lab.engine();
    let ids = lab.create(&engine, 1).await;
    let mut child = lab.child(WORKER).faults(&format!("{point}=stop@{nth}")).spawn();
    hit(&mut child, point).await;
    assert!(!lab.are_over(&ids).await || point == "commit.after", "{point} was hit too late");
    child.kill9().unwrap();

    let second = worker(&engine).start().unwrap();
    let report = lab.all_completed(&ids).await;
    second.stop().await.unwrap();
    (lab, report)
}

fn repeats(lab: &Lab) -> Vec<usize> {
    lab.ledger.repeats().into_iter().map(|(_, count)| count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_its_claim_a_worker_costs_nothing() {
    // fault F01
    let (lab, report) = kill("claim.before", 1).await;
    assert_eq!((report.recovered, repeats(&lab)), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_its_claim_a_worker_is_replaced() {
    // fault F02
    let (lab, report) = kill("claim.after", 1).await;
    assert_eq!((report.recovered, repeats(&lab)), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_handler_its_step_runs_again() {
    // fault F03: before its side effect, so that nothing is done twice
    let points = [
        ("reserve.before", 1),
        ("charge.before", 1),
        ("charge.before", 2),
        ("pack.before", 1),
        ("close.before", 1),
    ];
    all(points.map(|(point, nth)| async move {
        let (lab, _) = kill(point, nth).await;
        assert!(repeats(&lab).is_empty(), "{point} {nth}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_job_it_goes_on_from_its_last_checkpoint() {
    // fault F03: after the side effect of an item and before its checkpoint, so that one item is done twice and no other is
    all((1..=3).map(|item| async move {
        let (lab, _) = kill("report.after", item).await;
        let repeats = lab.ledger.repeats();
        assert!(matches!(&repeats[..], [(key, 2)] if key.ends_with(&format!("/{item}"))), "{repeats:?}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_side_effect_and_commit_the_step_is_done_twice_and_recorded_once() {
    // fault F04, at every commit of an execution, its child and its job
    all((1..=order::COMMITS).map(|nth| async move {
        let (lab, _) = kill("commit.before", nth).await;
        // Starting a child or a job, taking over its end, and a delay have no side effect; nor has a job's end, whose items
        // have checkpoints.
        let expected = if [4, 6, 7, 8, 9, 10].contains(&nth) { vec![] } else { vec![2] };
        assert_eq!(repeats(&lab), expected, "commit {nth}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_its_commit_a_step_never_runs_again() {
    // faults F05 and F06: what follows a step is committed with it
    all((1..=order::COMMITS).map(|nth| async move {
        let (lab, _) = kill("commit.after", nth).await;
        assert!(repeats(&lab).is_empty(), "commit {nth}: {:?}", lab.ledger.repeats());
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_aborts_is_replaced_too() {
    // faults F03, F12: no signal from outside, and more than one execution in flight
    let lab = Lab::new().await;
    let engine = lab.engine();
    let ids = lab.create(&engine, 6).await;
    let mut child = lab.child(WORKER).concurrency(4).faults("commit.before=abort@9").spawn();
    hit(&mut child, "commit.before").await;
    assert!(!child.exit(mainspring_tests::PATIENCE).await.unwrap().success());
    let second = worker(&engine).start().unwrap();
    let report = lab.all_completed(&ids).await;
    assert!(report.recovered > 0, "{report}");
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_over_all_commits_leaves_none_out() {
    let lab = Lab::new().await;
    let backend = FaultyBackend::new(lab.stores(4), Faults::none());
    let faults = backend.faults().clone();
    let engine = lab.engine_on(backend);
    let ids = lab.create(&engine, 1).await;
    let worker = worker(&engine).concurrency(1).start().unwrap();
    lab.all_completed(&ids).await;
    worker.stop().await.unwrap();
    assert_eq!(faults.hits("commit.after"), 1 + order::COMMITS); // and the one that created it
    assert!(repeats(&lab).is_empty());
}

//! Every single call of the backend fails once, before it happened or after, and the worker is told that nobody knows (fault F30 to
//! fault F32, the single-fault sweep).

use mainspring_testing::{Faults, FaultyBackend, Report};
use mainspring_tests::{Lab, order, worker};

use crate::all;

/// Two executions, on a worker whose backend breaks once.
async fn survive(fault: String) -> (Lab, Report) {
    let lab = Lab::new().await;
    let backend = FaultyBackend::new(lab.stores(4), Faults::parse(&fault).unwrap());
    let faults = backend.faults().clone();
    let ids = lab.create(&lab.engine(), 2).await;
    let engine = lab.engine_on(backend);
    let worker = worker(&engine).concurrency(1).start().unwrap();
    let (point, _) = fault.split_once('=').unwrap();
    faults.wait_fired(point, 1).await;
    let report = lab.all_completed(&ids).await;
    worker.stop().await.unwrap();
    (lab, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_or_is_unknown_is_offered_again_and_its_handler_is_not() {
    // faults F31, F32: every commit of an execution, each with the failure before it and after it
    let sides = ["commit.before=error", "commit.after=error"];
    let faults =
        sides.into_iter().flat_map(|side| (1..=order::COMMITS).map(move |nth| format!("{side}@{nth}")));
    all(faults.map(|fault| async move {
        let (lab, report) = survive(fault.clone()).await;
        assert!(lab.ledger.repeats().is_empty(), "{fault}: {:?}", lab.ledger.repeats());
        assert_eq!(report.recovered, 0, "{fault}: {report}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_the_queue_that_fails_or_is_unknown_costs_nothing() {
    // faults F30, F31: claim, heartbeat, upkeep
    let verbs = ["claim", "extend", "maintain"].into_iter();
    let faults = verbs
        .flat_map(|verb| [1, 2].map(|nth| (verb, nth)))
        .flat_map(|(verb, nth)| [format!("{verb}.before=error@{nth}"), format!("{verb}.after=error@{nth}")]);
    all(faults.map(|fault| async move {
        let (lab, report) = survive(fault.clone()).await;
        assert!(lab.ledger.repeats().is_empty(), "{fault}: {:?}", lab.ledger.repeats());
        assert_eq!(report.recovered, 0, "{fault}: {report}");
    }))
    .await;
}

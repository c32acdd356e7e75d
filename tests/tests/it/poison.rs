//! An execution that kills every worker that touches it (X6, fault F12).

use mainspring::{ExecutionId, ExecutionStatus};
use mainspring_tests::{Lab, PATIENCE, order};
use serde_json::json;

use crate::{WORKER, hit};

const MAX_LOST: u32 = 3;

/// Lets children work until everything is over, a new one for each that died; how many died.
async fn breed(lab: &Lab, ids: &[ExecutionId], concurrency: usize) -> u32 {
    for died in 0.. {
        let mut plan =
            lab.child(WORKER).concurrency(concurrency).max_lost(MAX_LOST).faults("poison.before=abort@*");
        let mut child = plan.spawn();
        tokio::select! {
            () = lab.over(ids) => {
                child.terminate().unwrap();
                child.exit(PATIENCE).await.unwrap();
                return died;
            }
            exit = child.exit(PATIENCE) => assert!(!exit.unwrap().success()),
        }
        hit(&mut child, "poison.before").await;
    }
    0
}

async fn create(lab: &Lab, healthy: usize) -> (ExecutionId, Vec<ExecutionId>) {
    let engine = lab.engine();
    let before = lab.create(&engine, healthy / 2).await;
    let poison = engine.create("poison", json!({})).await.unwrap().execution.id;
    let after = lab.create(&engine, healthy - healthy / 2).await;
    (poison, [before, after].concat())
}

async fn check(lab: &Lab, poison: &ExecutionId, healthy: &[ExecutionId], died: u32) {
    let all = [healthy, std::slice::from_ref(poison)].concat();
    let report = lab.verdict(&all).await;
    let ended = lab.get(poison).await;
    assert_eq!(ended.status, ExecutionStatus::Failed);
    assert_eq!(ended.error.map(|error| error.code).as_deref(), Some("WORKER_LOST"));
    assert_eq!(died, MAX_LOST, "the poison costs so many workers and no more");
    let good = report.with_status(ExecutionStatus::Completed);
    assert_eq!(good, 2 * healthy.len() as u64, "the others complete, with their children: {report}");
    assert_eq!(lab.ledger.counts().len(), order::EFFECTS * healthy.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_execution_ends_after_so_many_workers() {
    // X6, fault F12: one at a time
    let lab = Lab::new().await;
    let (poison, healthy) = create(&lab, 4).await;
    let all = [&healthy[..], std::slice::from_ref(&poison)].concat();
    let died = breed(&lab, &all, 1).await;
    check(&lab, &poison, &healthy, died).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_execution_does_not_take_its_neighbours_with_it() {
    // X6, fault F12: the healthy ones are in flight beside it each time it kills the process
    let lab = Lab::new().await;
    let (poison, healthy) = create(&lab, 6).await;
    let all = [&healthy[..], std::slice::from_ref(&poison)].concat();
    let died = breed(&lab, &all, 8).await;
    check(&lab, &poison, &healthy, died).await;
}

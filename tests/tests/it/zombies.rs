//! A worker is stopped for longer than its lease, another one finishes, and the first one comes back (X2, fault F07).

use mainspring::{Backend, Execution, ExecutionId, Job, RecordedEvent};
use mainspring_tests::{Lab, worker};

use crate::{WORKER, all, hit};

/// Everything that is stored about an execution, its child and its jobs.
type Stored = Vec<(Execution, Vec<Job>, Vec<RecordedEvent>)>;

async fn stored(lab: &Lab, id: &ExecutionId) -> Stored {
    let near = lab.near();
    let mut family = vec![lab.get(id).await];
    family.extend(near.executions().find_children(id).await.unwrap());
    let mut stored = Vec::new();
    for member in family {
        let jobs = near.jobs().get_by_execution(&member.id).await.unwrap();
        let events = near.events().get_by_execution(&member.id).await.unwrap();
        stored.push((member, jobs, events));
    }
    stored
}

/// Stops a worker at a point until another one has finished its work, lets it continue, and lets it work alone.
async fn revive(point: &str, nth: u64) {
    let lab = Lab::new().await;
    let engine = lab.engine();
    let ids = lab.create(&engine, 1).await;
    let mut zombie = lab.child(WORKER).faults(&format!("{point}=stop@{nth}")).spawn();
    hit(&mut zombie, point).await;

    let second = worker(&engine).start().unwrap();
    lab.all_completed(&ids).await;
    second.stop().await.unwrap();
    let before = stored(&lab, &ids[0]).await;
    let effects = lab.ledger.by(zombie.id()).len();

    zombie.cont().unwrap();
    // It has one slot: when it has done another execution, it is through with what it came back to.
    let fresh = lab.create(&engine, 1).await;
    lab.over(&fresh).await;
    assert_eq!(stored(&lab, &ids[0]).await, before, "{point}: what a zombie did was stored");
    let by_zombie = lab.ledger.by(zombie.id()).len() - effects;
    // In a step it stood before its effect, which no fence can take back; a loser does nothing after its next write.
    let late = usize::from(point == "reserve.before");
    assert_eq!(by_zombie, mainspring_tests::order::EFFECTS + late, "{point}");
    let both = [ids, fresh].concat();
    lab.verdict(&both).await;

    zombie.terminate().unwrap();
    zombie.line("stopped", mainspring_tests::PATIENCE).await.unwrap();
    assert!(zombie.exit(mainspring_tests::PATIENCE).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_commits_nothing_and_works_on_as_a_fresh_holder() {
    // fault F07, X2: the end of a step, the start of a child, its end, the end of a job, the end of all
    all([1, 4, 5, 8, 11].map(|nth| revive("commit.before", nth))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_saves_no_checkpoint_and_does_no_further_item() {
    // fault F07, X2: checkpoint
    revive("report.after", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_wakes_in_a_handler_or_at_its_claim_changes_nothing() {
    // fault F07, X2: settle
    all(["reserve.before", "claim.after"].map(|point| revive(point, 1))).await;
}

//! One store is away for longer than a lease while the others work (fault F16): no execution may fail of it.

use std::time::Duration;

use mainspring_testing::{Action, Faults, FaultyBackend};
use mainspring_tests::{LEASE, Lab, worker};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_flow_cannot_be_looked_up_waits_for_the_database() {
    // fault F16: no attempt is used up because the database is away
    let lab = Lab::new().await;
    let faults = Faults::none();
    faults.arm_always("flow.before", Action::Error);
    let ids = lab.create(&lab.engine(), 1).await;
    let engine = lab.engine_on(FaultyBackend::new(lab.stores(4), faults.clone()));
    let worker = worker(&engine).start().unwrap();
    faults.wait_fired("flow.before", 1).await;
    sleep(LEASE * 3 + Duration::from_millis(500)).await; // the outage
    faults.disarm();
    lab.all_completed(&ids).await;
    worker.stop().await.unwrap();
}

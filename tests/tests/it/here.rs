//! Executions that their own process drives, without a worker, and a process that lives on when its caller does not wait.

use std::{sync::Arc, time::Duration};

use mainspring::{ExecutionStatus, Flow, HandlerError, JobHandler, JobRun, flow::Step};
use mainspring_testing::{Action, Faults, FaultyBackend};
use mainspring_tests::{Lab, order, worker};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};

/// Longer than any takeover, shorter than the patience of a test that is known to fail.
const ENOUGH: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_caller_goes_away_is_taken_over() {
    // faults F34, F53: as when a request is cancelled by its client, before its first step was committed, and while it was created
    for (point, hit) in [("commit.before", 2), ("commit.after", 1)] {
        let lab = Lab::new().await;
        let backend = FaultyBackend::new(lab.stores(4), Faults::none());
        let (faults, never) = (backend.faults().clone(), Arc::new(Notify::new()));
        let engine = lab.engine_on(backend);
        engine.publish().await.unwrap();
        faults.arm(point, hit, Action::Pause(never));
        let run = tokio::spawn(engine.create("parcel", json!({})).id("parcel-1").run());
        faults.wait_fired(point, 1).await;
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());

        let second = worker(&lab.engine()).start().unwrap();
        let id = "parcel-1".try_into().unwrap();
        let over = timeout(ENOUGH, lab.over(std::slice::from_ref(&id))).await;
        assert!(over.is_ok(), "{:?}", lab.get(&id).await);
        assert_eq!(lab.get(&id).await.status, ExecutionStatus::Completed);
        second.stop().await.unwrap();
    }
}

struct Never(Arc<Notify>);

impl JobHandler for Never {
    const NAME: &'static str = "never";
    type Input = Value;
    type Output = Value;

    async fn run(&self, job: JobRun, _input: Value) -> Result<Value, HandlerError> {
        self.0.notify_one();
        if job.attempt() == 1 {
            std::future::pending::<()>().await;
        }
        Ok(json!(null))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_caller_goes_away_is_taken_over() {
    // fault F34: as above, while a job of the execution runs in this process
    let lab = Lab::new().await;
    let flow = Flow::builder("job", "1.0.0").step(Step::new("never", "never")).build().unwrap();
    let begun = Arc::new(Notify::new());
    let engine = || {
        let builder = order::builder(lab.stores(4), &lab.ledger, &Faults::none()).flow(flow.clone());
        builder.job_handler(Never(begun.clone())).build().unwrap()
    };
    let first = engine();
    let run = tokio::spawn(first.create("job", json!({})).id("job-1").run());
    begun.notified().await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());

    let second = worker(&engine()).start().unwrap();
    let id = "job-1".try_into().unwrap();
    let over = timeout(ENOUGH, lab.over(std::slice::from_ref(&id))).await;
    assert!(over.is_ok(), "{:?}", lab.get(&id).await);
    second.stop().await.unwrap();
    drop(first);
}

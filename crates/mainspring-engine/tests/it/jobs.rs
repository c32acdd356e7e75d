//! Steps that are done as jobs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    Backend, ExecutionId, ExecutionStatus, Flow, JobStatus,
    flow::{RetryPolicy, Step},
};
use mainspring_engine::{Engine, HandlerError, JobHandler, JobRun};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{backend, builder, drain, stored, types};

/// Counts to its input, saving every number; what it does besides depends on the run.
struct Count {
    runs: Arc<AtomicU32>,
    started: mpsc::UnboundedSender<JobRun>,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Well,
    FailsTwice,
    Fails,
    GivesUp,
    PanicsOnce,
    HangsOnce,
}

impl JobHandler for Count {
    const NAME: &'static str = "count";
    type Input = Value;
    type Output = Value;

    async fn run(&self, job: JobRun, input: Value) -> Result<Value, HandlerError> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let begin = job.checkpoint::<u64>("at")?.unwrap_or(0);
        job.save("at", begin + 1).await?;
        job.progress(50, "half").await?;
        self.started.send(job.clone())?;
        match (self.how, run) {
            (How::FailsTwice, 1..=2) | (How::Fails, _) => {
                return Err(HandlerError::new("BUSY", format!("run {run}")));
            }
            (How::GivesUp, _) => return Err(HandlerError::terminal("BROKEN", "for good")),
            (How::PanicsOnce, 1) => panic!("once"),
            (How::HangsOnce, 1) => std::future::pending().await,
            _ => {}
        }
        Ok(json!({"input": input["n"], "begin": begin, "attempt": job.attempt()}))
    }
}

fn engine(
    backend: &MemoryBackend,
    how: How,
    step: Step,
) -> (Engine, Arc<AtomicU32>, mpsc::UnboundedReceiver<JobRun>) {
    let (started, starts) = mpsc::unbounded_channel();
    let runs = Arc::<AtomicU32>::default();
    let flow = Flow::builder("f", "1.0.0").step(step.output_key("out")).build().unwrap();
    let handler = Count { runs: Arc::clone(&runs), started, how };
    (builder(backend).job_handler(handler).flow(flow).build().unwrap(), runs, starts)
}

fn step() -> Step {
    Step::new("s", "count")
}

#[tokio::test(start_paused = true)]
async fn a_job_does_its_step_out_of_line() {
    // scenario F51
    for here in [false, true] {
        let backend = backend();
        let (engine, runs, _starts) = engine(&backend, How::Well, step());
        let id = if here {
            engine.create("f", json!({"n": 7})).run().await.unwrap().id
        } else {
            let id = engine.create("f", json!({"n": 7})).await.unwrap().execution.id;
            assert_eq!(drain(&engine).await, 3, "wake, job, reply");
            id
        };
        let done = stored(&backend, &id).await;
        assert_eq!(done.status, ExecutionStatus::Completed);
        assert_eq!(done.context["out"], json!({"input": 7, "begin": 0, "attempt": 1}));
        let jobs = backend.jobs().get_by_execution(&id).await.unwrap();
        assert_eq!((jobs.len(), jobs[0].status, runs.load(Ordering::SeqCst)), (1, JobStatus::Completed, 1));
        assert_eq!((jobs[0].progress.as_ref().unwrap().percent, &jobs[0].checkpoint["at"]), (50, &json!(1)));
        let types = types(&backend, &id).await;
        for kind in ["job.created", "job.claimed", "job.completed"] {
            assert!(types.contains(&kind.to_owned()), "{kind}: {types:?}");
        }
        drain(&engine).await;
        assert_eq!((stored(&backend, &id).await.revision, runs.load(Ordering::SeqCst)), (done.revision, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_is_tried_again_from_its_checkpoint_until_its_attempts_are_used_up() {
    // scenarios F51, F53, fault F82
    let retrying = || step().retry(RetryPolicy { max_attempts: 2, ..RetryPolicy::default() });
    for (how, step, runs_expected, expected) in [
        (How::FailsTwice, step(), 3, Ok(2)),
        (How::Fails, step(), 3, Err("BUSY: run 3")),
        (How::Fails, step().config(json!({"maxAttempts": 1})), 1, Err("BUSY: run 1")),
        (How::Fails, retrying(), 2, Err("BUSY: run 2")), // two jobs of one run each
        (How::GivesUp, step(), 1, Err("BROKEN: for good")),
        (How::PanicsOnce, step(), 2, Ok(1)),
    ] {
        let backend = backend();
        let (engine, runs, _starts) = engine(&backend, how, step);
        let id = engine.create("f", json!({"n": 1})).await.unwrap().execution.id;
        for _ in 0..5 {
            drain(&engine).await;
            backend.advance(Duration::from_secs(10));
        }
        let done = stored(&backend, &id).await;
        assert_eq!(runs.load(Ordering::SeqCst), runs_expected);
        match expected {
            Ok(begin) => assert_eq!(done.context["out"]["begin"], begin, "{:?}", done.error),
            Err(text) => assert_eq!(done.error.unwrap().to_string(), text),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_dead_worker_is_taken_over_and_the_old_run_can_write_nothing() {
    // scenario F53, X2
    let backend = backend();
    let (engine, runs, mut starts) = engine(&backend, How::HangsOnce, step());
    let id = engine.create("f", json!({"n": 1})).await.unwrap().execution.id;
    let dying = engine.worker().start().unwrap();
    let old = starts.recv().await.unwrap();
    drop(dying); // killed
    backend.advance(Duration::from_secs(31));
    drain(&engine).await;
    let done = stored(&backend, &id).await;
    assert_eq!(done.context["out"], json!({"input": 1, "begin": 1, "attempt": 2}));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    let error = old.save("at", 99).await.unwrap_err();
    assert!(error.is_terminal() && error.to_string().contains("superseded"), "{error}");
    assert!(old.cancel().is_cancelled());
    assert!(
        old.progress(99, "late").await.is_err()
            && old.clear_all().await.is_err()
            && old.clear("at").await.is_err()
    );
    assert!(types(&backend, &id).await.contains(&"job.superseded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_stopped_is_given_back_at_once() {
    // X11
    let backend = backend();
    let (engine, runs, mut starts) = engine(&backend, How::HangsOnce, step());
    let id = engine.create("f", json!({"n": 1})).await.unwrap().execution.id;
    let stopping = engine.worker().grace(Duration::from_millis(10)).start().unwrap();
    starts.recv().await.unwrap();
    stopping.stop().await.unwrap();
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.status, ExecutionStatus::Completed);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_job() {
    let backend = backend();
    let (engine, _, mut starts) = engine(&backend, How::HangsOnce, step());
    let id = engine.create("f", json!({"n": 1})).await.unwrap().execution.id;
    let worker = engine.worker().start().unwrap();
    let run = starts.recv().await.unwrap();
    assert!(engine.cancel(&id, "stop").await.unwrap().cancelled);
    run.cancel().cancelled().await;
    worker.stop().await.unwrap();
    let jobs = backend.jobs().get_by_execution(&id).await.unwrap();
    assert_eq!(jobs[0].status, JobStatus::Cancelled);
    assert_eq!(drain(&engine).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_process_runs_by_itself_is_left_alone_until_the_caller_goes_away() {
    // fault F34, scenario F53
    let backend = backend();
    let (here, _, mut starts) = engine(&backend, How::HangsOnce, step());
    let (elsewhere, runs, _starts) = engine(&backend, How::Well, step());
    let run = tokio::spawn(here.create("f", json!({"n": 1})).id("e").run());
    let old = starts.recv().await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        drain(&elsewhere).await;
        backend.advance(Duration::from_secs(20)); // longer than a lease in all
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_millis(1)).await;
    drain(&elsewhere).await;
    let done = stored(&backend, &ExecutionId::new("e").unwrap()).await;
    assert_eq!((done.status, runs.load(Ordering::SeqCst)), (ExecutionStatus::Completed, 1));
    assert!(old.save("at", 99).await.unwrap_err().is_terminal());
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_dead_process_is_taken_over_as_soon_as_its_lease_is_over() {
    // scenario F53: and not a moment before
    let backend = backend();
    let flow = Flow::builder("f", "1.0.0").step(Step::new("s", "count").output_key("out")).build().unwrap();
    let (started, mut starts) = mpsc::unbounded_channel();
    let runs = Arc::new(AtomicU32::new(0));
    let engine = || {
        let count = Count { runs: Arc::clone(&runs), started: started.clone(), how: How::HangsOnce };
        let lease = Duration::from_secs(2);
        builder(&backend).job_handler(count).flow(flow.clone()).lease(lease).build().unwrap()
    };
    let dying = engine();
    let run = tokio::spawn(dying.create("f", json!({"n": 3})).id("e").run());
    starts.recv().await.unwrap();
    run.abort();
    drop(dying); // its heartbeat ends with it
    drop(run.await);
    let (next, id) = (engine(), ExecutionId::new("e").unwrap());
    let status = async || stored(&backend, &id).await.status;
    for _ in 0..2 {
        drain(&next).await;
        assert_eq!(status().await, ExecutionStatus::Waiting, "its lease still runs");
        backend.advance(Duration::from_millis(900));
    }
    drain(&next).await;
    assert_eq!(status().await, ExecutionStatus::Waiting, "its lease still runs");
    backend.advance(Duration::from_millis(201));
    drain(&next).await;
    assert_eq!(status().await, ExecutionStatus::Completed);
}

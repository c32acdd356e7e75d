//! Steps that are done elsewhere: W14, W16, W17, W44 and W45.

use std::sync::{Arc, Mutex};

use mainspring_core::{
    Backend, ClaimRequest, ExecutionId, ExecutionStatus, JobStatus, Settlement, WorkerId, flow::RetryPolicy,
};
use mainspring_engine::{Cx, Engine, HandlerError, JobRun, ResultError, Workflow, WorkflowResult};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};

use super::{Counter, journal, repeat_messages, result, secs, status};
use crate::{backend, builder};

const STEPS: &str = "steps";
const SUM: Workflow<u32, u32, String> = Workflow::new("sum");

/// Adds one to every number below `n`, each in a step elsewhere, all at the same time.
async fn sum(cx: Cx, n: u32) -> WorkflowResult<u32, String> {
    let numbers: Vec<u32> = (0..n).collect();
    let ones = cx
        .map("each", &numbers, async |cx: Cx, n: &u32| Ok(cx.call::<u32>("plus_one", n).await?))
        .concurrency(1_000)
        .await?;
    Ok(ones.into_iter().sum())
}

/// An engine for the workflows, whose steps go to another queue.
fn flows(backend: &MemoryBackend) -> Engine {
    builder(backend).step_queue(STEPS).register(SUM, sum).register(ONE, one).build().unwrap()
}

/// An engine that only does steps.
fn steps(backend: &MemoryBackend, bodies: &Counter) -> Engine {
    let bodies = bodies.clone();
    builder(backend)
        .queue(STEPS)
        .step_fn("plus_one", move |_job: JobRun, n: u32| {
            bodies.up();
            async move { Ok(n + 1) }
        })
        .build()
        .unwrap()
}

async fn settle(engines: &[&Engine]) {
    loop {
        let mut delivered = 0;
        for engine in engines {
            delivered += engine.worker().concurrency(200).drain().await.unwrap();
        }
        if delivered == 0 {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_and_ten_steps_elsewhere_each_run_once_although_their_messages_repeat() {
    // W14
    let (backend, bodies) = (backend(), Counter::default());
    let flows = flows(&backend);
    let handle = flows.start(SUM, &110).await.unwrap();
    flows.worker().drain().await.unwrap();
    let parked = super::row(&backend, handle.id()).await;
    assert_eq!((parked.status, parked.driver), (ExecutionStatus::Waiting, None));
    assert_eq!(backend.queue().stats(STEPS).await.unwrap().ready, 110);
    repeat_messages(&backend, STEPS).await;
    settle(&[&steps(&backend, &bodies), &flows]).await;
    assert_eq!(result(&handle).await.unwrap(), (1..=110).sum::<u32>());
    assert_eq!(bodies.get(), 110);
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_step_and_its_message_are_one_commit() {
    // W45
    let backend = backend();
    let flows = flows(&backend);
    let handle = flows.start(SUM, &1).await.unwrap();
    flows.worker().drain().await.unwrap();
    assert_eq!(super::row(&backend, handle.id()).await.revision, 2); // created, then parked with all of it
    assert_eq!(journal(&backend, handle.id()).await, ["step.waiting each[0]/plus_one"]);
    assert_eq!(backend.queue().stats(STEPS).await.unwrap().ready, 1);
    // The process is gone: another one goes on.
    drop(flows);
    let (again, bodies) = (self::flows(&backend), Counter::default());
    settle(&[&steps(&backend, &bodies), &again]).await;
    assert_eq!(status(&backend, handle.id()).await, ExecutionStatus::Completed);
    assert_eq!(bodies.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_worker_dies_is_run_by_another_one() {
    // W44: a lost worker is no failure.
    let (backend, bodies) = (backend(), Counter::default());
    let flows = flows(&backend);
    let handle = flows.start(SUM, &1).await.unwrap();
    flows.worker().drain().await.unwrap();
    // It claims the message and the job, and is never heard of again.
    let dead = WorkerId::generate();
    let claimed = backend.queue().claim(ClaimRequest::new(STEPS, dead.clone(), secs(30), 1)).await.unwrap();
    let id = mainspring_core::JobId::new(claimed.deliveries[0].message.subject.clone().unwrap()).unwrap();
    let lost = backend.jobs().claim(&id, &dead).await.unwrap().unwrap();
    backend.advance(secs(31));
    settle(&[&steps(&backend, &bodies), &flows]).await;
    assert_eq!(result(&handle).await.unwrap(), 1);
    let job = backend.jobs().get(&id).await.unwrap().unwrap();
    assert_eq!((job.status, job.attempts, job.lost), (JobStatus::Completed, 2, 1));
    // It comes back with its result, which counts for nothing.
    assert!(!backend.jobs().complete(&lost.lease(), json!(7)).await.unwrap());
    assert_eq!(bodies.get(), 1);
}

const ONE: Workflow<Value, Value, String> = Workflow::new("one");

async fn one(cx: Cx, input: Value) -> WorkflowResult<Value, String> {
    let policy =
        RetryPolicy { max_attempts: 4, backoff: secs(10), multiplier: 1.0, ..RetryPolicy::default() };
    Ok(cx.call::<Value>("work", &input).retry(policy).timeout(secs(60)).await?)
}

type Runs = Arc<Mutex<Vec<(u32, u32)>>>;

/// Does `work` as `body` says, and notes attempts and lost workers of each run.
fn worker<F, Fut>(backend: &MemoryBackend, body: F) -> (Engine, Runs)
where
    F: Fn(u32, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
{
    let runs = Runs::default();
    let noted = Arc::clone(&runs);
    let handler = move |job: JobRun, input: Value| {
        noted.lock().unwrap().push((job.attempt(), job.lost()));
        body(job.attempt(), input)
    };
    (builder(backend).queue(STEPS).step_fn("work", handler).build().unwrap(), runs)
}

async fn started(backend: &MemoryBackend, input: Value) -> (Engine, ExecutionId) {
    let flows = flows(backend);
    let id = flows.start(ONE, &input).await.unwrap().id().clone();
    (flows, id)
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_as_the_policy_or_the_handler_says() {
    // W16
    let backend = backend();
    let (flows, id) = started(&backend, json!(1)).await;
    let (work, runs) = worker(&backend, |attempt, _| async move {
        match attempt {
            1 => Err(HandlerError::new("BUSY", "later")),
            2 => Err(HandlerError::new("BUSY", "much later").retry_after(secs(100))),
            _ => Ok(json!("done")),
        }
    });
    settle(&[&flows, &work]).await;
    assert_eq!(runs.lock().unwrap().len(), 1);
    backend.advance(secs(10));
    settle(&[&flows, &work]).await;
    assert_eq!(runs.lock().unwrap().len(), 2);
    backend.advance(secs(99));
    settle(&[&flows, &work]).await;
    assert_eq!(runs.lock().unwrap().len(), 2);
    backend.advance(secs(1));
    settle(&[&flows, &work]).await;
    assert_eq!(*runs.lock().unwrap(), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(result(&flows.workflow(ONE, id)).await.unwrap(), json!("done"));
}

#[tokio::test(start_paused = true)]
async fn what_no_run_can_help_is_the_workflows_failure() {
    // W16
    let backend = backend();
    let (flows, id) = started(&backend, json!(1)).await;
    let (work, runs) =
        worker(&backend, |_, _| async { Err(HandlerError::terminal("DECLINED", "no").details(json!(7))) });
    settle(&[&flows, &work]).await;
    match result(&flows.workflow(ONE, id)).await {
        Err(ResultError::Failed(failure)) => {
            assert_eq!((failure.code.as_str(), &failure.details), ("DECLINED", &json!(7)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(runs.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_has_failed() {
    let backend = backend();
    let (flows, id) = started(&backend, json!(1)).await;
    let (work, runs) = worker(&backend, |attempt, _| async move {
        if attempt == 1 {
            std::future::pending::<()>().await;
        }
        Ok(json!(attempt))
    });
    settle(&[&flows, &work]).await;
    backend.advance(secs(10));
    settle(&[&flows, &work]).await;
    assert_eq!(result(&flows.workflow(ONE, id)).await.unwrap(), json!(2));
    assert_eq!(runs.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn values_come_back_as_they_were() {
    // W17, W37
    for value in [json!("a\0b\u{2400}"), json!(null), json!({"k\0": [0, "", false]})] {
        let backend = backend();
        let (flows, id) = started(&backend, json!(0)).await;
        let (sent, wanted) = (value.clone(), value.clone());
        let (work, _) = worker(&backend, move |_, _| {
            let sent = sent.clone();
            async move { Ok(sent) }
        });
        settle(&[&flows, &work]).await;
        // What a workflow itself returns is checked at its own door.
        let events = backend.events().get_by_execution(&id).await.unwrap();
        let recorded = events.iter().find(|event| event.event.event_type == "step.completed").unwrap();
        let stored = recorded.event.data["result"].clone();
        assert_eq!(mainspring_core::nul::unescape(stored), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn steps_without_code_here_go_to_whoever_does_the_others() {
    let backend = backend();
    let (flows, id) = started(&backend, json!(20)).await;
    let others = builder(&backend)
        .queue(STEPS)
        .other_steps(|job: JobRun, input: Value| async move { Ok(json!([job.handler(), input])) })
        .build()
        .unwrap();
    settle(&[&flows, &others]).await;
    assert_eq!(result(&flows.workflow(ONE, id)).await.unwrap(), json!(["work", 20]));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_given_up_is_told_all_the_same() {
    let backend = backend();
    let (flows, id) = started(&backend, json!(1)).await;
    flows.worker().drain().await.unwrap();
    let dead = WorkerId::generate();
    let claimed = backend.queue().claim(ClaimRequest::new(STEPS, dead.clone(), secs(30), 1)).await.unwrap();
    let delivery = &claimed.deliveries[0];
    let job = mainspring_core::JobId::new(delivery.message.subject.clone().unwrap()).unwrap();
    let held = backend.jobs().claim(&job, &dead).await.unwrap().unwrap();
    // Somebody fails it by hand, and its message comes again.
    let failure = mainspring_core::Failure::new("BY_HAND", "enough");
    for _ in 0..4 {
        backend.jobs().fail(&held.lease(), failure.clone()).await.unwrap();
    }
    let mut stored = backend.jobs().get(&job).await.unwrap().unwrap();
    while stored.status == JobStatus::Pending {
        let again = backend.jobs().claim(&job, &dead).await.unwrap().unwrap();
        backend.jobs().fail(&again.lease(), failure.clone()).await.unwrap();
        stored = backend.jobs().get(&job).await.unwrap().unwrap();
    }
    assert_eq!(stored.status, JobStatus::Failed);
    let put_back = mainspring_core::Settle::new(delivery.lease.clone(), Settlement::PutBack);
    backend.queue().settle(vec![put_back]).await.unwrap();
    let (work, runs) = worker(&backend, |_, _| async { Ok(json!(1)) });
    settle(&[&work, &flows]).await;
    assert_eq!(runs.lock().unwrap().len(), 0);
    let failed = result(&flows.workflow(ONE, id)).await.unwrap_err();
    assert!(matches!(failed, ResultError::Failed(failure) if failure.code == "BY_HAND"));
}

#[tokio::test(start_paused = true)]
async fn going_back_before_a_finished_call_calls_again() {
    let (backend, bodies) = (backend(), Counter::default());
    let theirs = bodies.clone();
    let engine = builder(&backend)
        .step_fn("count", move |_job: JobRun, _: u32| {
            let n = theirs.up();
            async move { Ok(n) }
        })
        .register(ONE, async |cx: Cx, _| {
            let called: Value = cx.call("count", &0).await?;
            cx.signal::<()>("go").await?;
            Ok(called)
        })
        .build()
        .unwrap();
    let handle = engine.start(ONE, &json!(0)).await.unwrap();
    settle(&[&engine]).await;
    assert_eq!(bodies.get(), 1);
    handle.rewind("count").await.unwrap();
    settle(&[&engine]).await;
    handle.signal("go", &()).await.unwrap();
    settle(&[&engine]).await;
    assert_eq!((result(&handle).await.unwrap(), bodies.get()), (json!(2), 2));
}

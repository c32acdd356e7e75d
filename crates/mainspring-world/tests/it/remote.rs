//! Workflows whose code is here, with steps that are done by an application elsewhere: what is called how often, what a cancel
//! does to what runs, and what a wrong secret does.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_core::BoxFuture;
use mainspring_engine::{Cx, Workflow, WorkflowResult};
use mainspring_http::{Call, Credential, Guard, Invoker, Reply, Secret};
use mainspring_world::{CallOptions, RunStatus, StepFailure, StepHandlers, World};
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use crate::{
    ground::{self, Ground},
    way::{Twice, Way, over_both},
};

over_both! {
    #[tokio::test]
    steps_one_after_the_other_and_side_by_side_run_the_code_once
    #[tokio::test(start_paused = true)]
    steps_that_are_delivered_twice_are_recorded_once
    a_cancelled_run_stops_what_runs_elsewhere
    a_wrong_secret_pauses_the_messages_until_it_is_right
}

const BUDGET: Duration = Duration::from_secs(180);
const CHAIN: Workflow<i64, i64, String> = Workflow::new("chain");
const FAN: Workflow<i64, i64, String> = Workflow::new("fan");

/// How often the code of a workflow was begun.
type Begun = Arc<AtomicUsize>;

fn workflows(backend: &Ground, begun: &Begun) -> mainspring_world::WorldBuilder {
    let (chained, fanned) = (Arc::clone(begun), Arc::clone(begun));
    World::builder(backend.clone())
        .workflow(CHAIN, move |cx: Cx, n: i64| {
            chained.fetch_add(1, Ordering::Relaxed);
            chain(cx, n)
        })
        .workflow(FAN, move |cx: Cx, n: i64| {
            fanned.fetch_add(1, Ordering::Relaxed);
            fan(cx, n)
        })
        .concurrency(50)
}

async fn chain(cx: Cx, n: i64) -> WorkflowResult<i64, String> {
    let mut sum = 0;
    for n in 0..n {
        sum = cx.call("plus", &(sum, n)).await?;
    }
    Ok(sum)
}

async fn fan(cx: Cx, n: i64) -> WorkflowResult<i64, String> {
    let numbers: Vec<i64> = (0..n).collect();
    let each = async |cx: Cx, n: &i64| Ok(cx.call::<i64>("plus", &(*n, 1)).await?);
    Ok(cx.map("each", &numbers, each).concurrency(1_000).await?.into_iter().sum())
}

/// Adds, and notes which step it was done for.
fn plus(done: &Arc<Mutex<HashMap<String, usize>>>) -> StepHandlers {
    let done = Arc::clone(done);
    let plus = move |(a, b): (i64, i64), call: mainspring_world::StepContext| {
        *done.lock().unwrap().entry(call.step_id).or_default() += 1;
        async move { Ok(a + b) }
    };
    StepHandlers::new().step("plus", plus).unwrap()
}

async fn steps_one_after_the_other_and_side_by_side_run_the_code_once(way: Way) {
    // W18
    let (backend, begun, done) = (way.ground().await, Begun::default(), Arc::default());
    let invoker = way.to(plus(&done), backend.clone()).await;
    let world = workflows(&backend, &begun).invoker(invoker).build().unwrap();
    let chained = world.engine().start(CHAIN, &5).await.unwrap();
    assert!(world.run_until_idle(BUDGET).await.unwrap());
    assert_eq!((chained.result().await.unwrap(), begun.swap(0, Ordering::Relaxed)), (10, 1));
    // Code that is parked for seconds is dropped, and begun again: on a machine that stands still, once more.
    for tries in 1..=5 {
        let fanned = world.engine().start(FAN, &110).await.unwrap();
        assert!(world.run_until_idle(BUDGET).await.unwrap());
        assert_eq!(fanned.result().await.unwrap(), (1..=110).sum::<i64>());
        assert_eq!(done.lock().unwrap().len(), 5 + 110 * tries);
        if (1..=3).contains(&begun.swap(0, Ordering::Relaxed)) {
            return;
        }
    }
    panic!("the code was begun again for each step");
}

async fn steps_that_are_delivered_twice_are_recorded_once(way: Way) {
    // W14, fault F91: both deliveries have one step id, by which an application tells that it is one step
    let (backend, begun, done) = (way.ground().await, Begun::default(), Arc::default());
    let invoker = way.to(plus(&done), backend.clone()).await;
    let world = workflows(&backend, &begun).invoker(Arc::new(Twice(invoker))).build().unwrap();
    let fanned = world.engine().start(FAN, &110).await.unwrap();
    assert!(world.run_until_idle(BUDGET).await.unwrap());
    assert_eq!(fanned.result().await.unwrap(), (1..=110).sum::<i64>());
    let done = done.lock().unwrap().clone();
    assert!(done.len() == 110 && done.values().all(|count| *count == 2), "{done:?}");
    let history = backend.events().get_by_execution(fanned.id()).await.unwrap();
    let ended = history.iter().filter(|event| event.event.event_type == "step.completed").count();
    assert_eq!(ended, 110);
}

const SLOW: Workflow<(), i64, String> = Workflow::new("slow");

async fn slow(cx: Cx, (): ()) -> WorkflowResult<i64, String> {
    Ok(cx.call("slow", &()).await?)
}

async fn a_cancelled_run_stops_what_runs_elsewhere(way: Way) {
    // W21: the handler, and what it began besides
    let backend = way.ground().await;
    let (begun, (tell, mut told)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
    let began = Arc::clone(&begun);
    let steps = StepHandlers::new().step("slow", move |(): (), call| {
        let (began, tell) = (Arc::clone(&began), tell.clone());
        async move {
            tokio::spawn(async move {
                call.cancel.cancelled().await;
                tell.send("told to stop").unwrap();
            });
            began.notify_one();
            std::future::pending::<Result<i64, StepFailure>>().await
        }
    });
    let invoker = way.to(steps.unwrap(), backend.clone()).await;
    let world = World::builder(backend.clone()).workflow(SLOW, slow).invoker(invoker).build().unwrap();
    world.start().await.unwrap();
    let handle = world.engine().start(SLOW, &()).await.unwrap();
    begun.notified().await;
    assert_eq!(world.cancel(handle.id(), "enough").await.unwrap().status, RunStatus::Cancelled);
    assert_eq!(told.recv().await, Some("told to stop"));
    world.close().await.unwrap();
}

async fn a_wrong_secret_pauses_the_messages_until_it_is_right(way: Way) {
    // W42, fault F92
    let backend = way.ground().await;
    let (theirs, ours) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let reach = async |secret: &Secret| {
        let steps = StepHandlers::new();
        let credential = Credential::secret(secret.clone());
        way.with(steps, backend.clone(), Guard::secret(theirs.clone()), credential).await
    };
    let wrong = World::builder(backend.clone()).invoker(reach(&ours).await).build().unwrap();
    let only = CallOptions { max_attempts: Some(1), ..CallOptions::default() };
    for n in 0..20 {
        let input = json!({"stepId": format!("s{n}"), "input": [1, 2]});
        wrong.queue("__wkf_step_health_check", input, only.clone()).await.unwrap();
    }
    let calls = || async { backend.queues().get_queue("workflow_calls").await.unwrap().unwrap() };
    wrong.ready().await.unwrap();
    while !calls().await.paused {
        wrong.run_until_idle(Duration::from_millis(200)).await.unwrap();
    }
    assert!(backend.queue().dead_letters("workflow_calls", 100).await.unwrap().is_empty());

    let right = World::builder(backend.clone()).invoker(reach(&theirs).await).build().unwrap();
    right.pause_calls(false).await.unwrap();
    backend.advance(Duration::from_secs(10)).await;
    assert!(right.run_until_idle(BUDGET).await.unwrap());
    assert!(!calls().await.paused);
    // They have come through: nothing there has this name, and that is for good.
    assert_eq!(backend.queue().dead_letters("workflow_calls", 100).await.unwrap().len(), 20);
}

/// An application that refuses the secret for as long as it is told to.
#[derive(Clone, Default)]
struct Refuses {
    wrong: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    attempts: Arc<Mutex<Vec<u32>>>,
}

impl Invoker for Refuses {
    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Reply> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let reply = if self.wrong.load(Ordering::Relaxed) {
            Reply::Unauthorized
        } else {
            self.attempts.lock().unwrap().push(call.message.attempt);
            Reply::Ok(json!(1))
        };
        Box::pin(std::future::ready(reply))
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_opens_the_circuit_of_steps_until_it_is_right() {
    // faults F91, F92: 20 steps of a workflow, and for ten minutes nobody takes the secret
    let backend = ground::memory();
    let app = Refuses::default();
    app.wrong.store(true, Ordering::Relaxed);
    let world = workflows(&backend, &Begun::default()).concurrency(4);
    let world = world.invoker(Arc::new(app.clone())).build().unwrap();
    world.start().await.unwrap();
    let handle = world.engine().start(FAN, &20).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.is_refused());
    // Those that were under way when it was refused first, and one in each half minute.
    let calls = app.calls.load(Ordering::Relaxed);
    assert!((2..=4 + 20).contains(&calls), "{calls}");
    app.wrong.store(false, Ordering::Relaxed);
    assert_eq!(handle.result().await.unwrap(), 20);
    assert!(!world.is_refused());
    assert_eq!(*app.attempts.lock().unwrap(), [1; 20]);
    world.close().await.unwrap();
}

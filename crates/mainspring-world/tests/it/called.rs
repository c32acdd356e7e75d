//! Runs whose code is called, from their start to their end, by an application that replays.

use std::{sync::Arc, time::Duration};

use mainspring_core::ExecutionId;
use mainspring_http::Invoker;
use mainspring_world::{
    EventType, NewRun, Order, Paging, Resolve, Run, RunStatus, StepFailure, StepStatus, World, WorldBuilder,
};
use serde_json::{Value, json};

use crate::{
    ground::Ground,
    sdk::{Replay, Sdk},
    way::{Twice, Way, over_both},
};

over_both! {
    #[tokio::test(start_paused = true)]
    a_sum_is_made_of_steps
    many_steps_that_are_delivered_twice_are_recorded_once
    payloads_come_in_one_after_the_other
    a_step_is_tried_again_or_not
    steps_in_the_middle_of_the_code_need_one_call
    a_sleep_needs_two_calls_and_outlives_its_worker
    values_are_what_they_were
    a_run_that_fails_says_why
}

const BUDGET: Duration = Duration::from_secs(180);
const HOUR: Duration = Duration::from_secs(3600);

/// A worker and an application on one database.
struct Stage {
    backend: Ground,
    sdk: Sdk,
    world: World,
}

impl Stage {
    async fn new(way: Way, application: impl FnOnce(Sdk) -> Sdk) -> Self {
        Self::with(way, application, |builder| builder, |invoker| invoker).await
    }

    async fn with(
        way: Way,
        application: impl FnOnce(Sdk) -> Sdk,
        builder: impl FnOnce(WorldBuilder) -> WorldBuilder,
        between: impl FnOnce(Arc<dyn Invoker>) -> Arc<dyn Invoker>,
    ) -> Self {
        let backend = way.ground().await;
        let sdk = application(Sdk::new(World::builder(backend.clone()).build().unwrap()));
        let invoker = between(way.to(sdk.clone(), backend.clone()).await);
        let world = builder(World::builder(backend.clone()).invoker(invoker)).build().unwrap();
        world.ready().await.unwrap();
        Self { backend, sdk, world }
    }

    async fn start(&self, workflow: &str, input: Value) -> ExecutionId {
        self.world.start_run(NewRun::new(workflow, input)).await.unwrap().run_id
    }

    async fn works(&self) {
        assert!(self.world.run_until_idle(BUDGET).await.unwrap());
    }

    async fn run(&self, id: &ExecutionId) -> Run {
        self.world.storage().runs().get(id, Resolve::All).await.unwrap()
    }

    async fn output(&self, workflow: &str, input: Value) -> Value {
        let id = self.start(workflow, input).await;
        self.works().await;
        let run = self.run(&id).await;
        assert_eq!(run.status, RunStatus::Completed, "{run:?}");
        run.output.unwrap()
    }

    async fn count(&self, id: &ExecutionId, event_type: EventType) -> usize {
        let log = Paging::limit(1_000).order(Order::Ascending);
        let log = self.world.storage().events().list(id, &log, Resolve::None).await.unwrap();
        assert!(!log.has_more);
        log.data.iter().filter(|event| event.event_type == event_type).count()
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn plus(input: Value, _: u32) -> Result<Value, StepFailure> {
    Ok(json!(number(&input[0]) + number(&input[1])))
}

fn sum(replay: &Replay, input: &Value) -> Option<Result<Value, String>> {
    let steps: Vec<_> =
        (0..number(input)).map(|n| replay.step(&format!("s{n}"), "plus", json!([n, 1]))).collect();
    let all: Option<Result<Vec<Value>, String>> = steps.into_iter().collect();
    Some(all?.map(|all| json!(all.iter().map(number).sum::<i64>())))
}

async fn a_sum_is_made_of_steps(way: Way) {
    // W13
    let stage = Stage::new(way, |sdk| sdk.workflow("sum", sum).step("plus", plus)).await;
    assert_eq!(stage.output("sum", json!(2)).await, json!(3));
    let (calls, steps) = stage.sdk.counts();
    assert!(steps == 2 && (2..=3).contains(&calls), "{calls}: once, and once more for what ended until then");
}

async fn many_steps_that_are_delivered_twice_are_recorded_once(way: Way) {
    // W14, fault F91
    let application = |sdk: Sdk| sdk.workflow("sum", sum).step("plus", plus);
    let many = |builder: WorldBuilder| builder.concurrency(50);
    let stage = Stage::with(way, application, many, |invoker| Arc::new(Twice(invoker))).await;
    let id = stage.start("sum", json!(110)).await;
    stage.works().await;
    assert_eq!(stage.run(&id).await.output, Some(json!((1..=110).sum::<i64>())));
    let steps = stage.world.storage().steps();
    let steps = steps.list(&id, &Paging::limit(1_000), Resolve::None).await.unwrap().data;
    assert_eq!(steps.len(), 110);
    assert!(steps.iter().all(|step| step.status == StepStatus::Completed));
    for (event_type, count) in
        [(EventType::StepCreated, 110), (EventType::StepCompleted, 110), (EventType::RunCompleted, 1)]
    {
        assert_eq!(stage.count(&id, event_type).await, count, "{event_type}");
    }
    let dead = stage.backend.queue().dead_letters("workflow_calls", 10).await.unwrap();
    assert!(dead.is_empty(), "{dead:?}");
}

fn votes(replay: &Replay, _: &Value) -> Option<Result<Value, String>> {
    let payloads = replay.hook("votes", "token-of-the-votes");
    (payloads.len() == 3).then(|| Ok(json!(payloads)))
}

async fn payloads_come_in_one_after_the_other(way: Way) {
    // W12, W15, fault F55: before there is a hook, three times, and when the run is over
    let stage = Stage::new(way, |sdk| sdk.workflow("votes", votes)).await;
    let id = stage.start("votes", json!(null)).await;
    let vote = async |vote: Value| stage.world.resume_hook("token-of-the-votes", vote).await;
    assert!(vote(json!("early")).await.unwrap_err().is_not_found());
    stage.works().await;
    for vote_of in ["yes", "no", "no"] {
        assert_eq!(stage.run(&id).await.status, RunStatus::Running);
        assert_eq!(vote(json!(vote_of)).await.unwrap(), id);
        stage.works().await;
    }
    assert_eq!(stage.run(&id).await.output, Some(json!(["yes", "no", "no"])));
    assert!(vote(json!("late")).await.unwrap_err().is_not_found());
    // W33: the token is free again
    let again = stage.start("votes", json!(null)).await;
    stage.works().await;
    assert_eq!(vote(json!("yes")).await.unwrap(), again);
}

fn two_ways(replay: &Replay, _: &Value) -> Option<Result<Value, String>> {
    let (often, once) = (replay.step("a", "often", json!(1)), replay.step("b", "once", json!(1)));
    let (often, once) = (often?, once?);
    Some(Ok(json!({"often": often.unwrap(), "once": once.unwrap_err()})))
}

async fn a_step_is_tried_again_or_not(way: Way) {
    // W16, W28
    let often = |_: Value, attempt: u32| match attempt {
        3 => Ok(json!(attempt)),
        _ => Err(StepFailure::retry("busy")),
    };
    let once = |_: Value, _: u32| Err(StepFailure::fatal("never"));
    let stage =
        Stage::new(way, |sdk| sdk.workflow("two", two_ways).step("often", often).step("once", once)).await;
    let id = stage.start("two", json!(null)).await;
    for _ in 0..3 {
        stage.works().await;
        stage.backend.advance(Duration::from_secs(2)).await;
    }
    assert_eq!(stage.run(&id).await.output, Some(json!({"often": 3, "once": "never"})));
    let step = async |step| stage.world.storage().steps().get(Some(&id), step, Resolve::All).await.unwrap();
    assert_eq!((step("a").await.attempt, step("b").await.attempt), (3, 1));
    assert_eq!(
        (step("b").await.status, stage.count(&id, EventType::StepRetrying).await),
        (StepStatus::Failed, 2)
    );
}

fn inline(replay: &Replay, input: &Value) -> Option<Result<Value, String>> {
    let one = replay.inline("one", || json!(number(input) + 1));
    let two = replay.inline("two", || json!(number(&one) * 2));
    Some(Ok(two))
}

async fn steps_in_the_middle_of_the_code_need_one_call(way: Way) {
    // W18, W29
    let stage = Stage::new(way, |sdk| sdk.workflow("inline", inline)).await;
    assert_eq!(stage.output("inline", json!(20)).await, json!(42));
    assert_eq!(stage.sdk.counts(), (1, 0));
}

fn nap(replay: &Replay, _: &Value) -> Option<Result<Value, String>> {
    replay.sleep("nap", HOUR)?;
    Some(Ok(json!("awake")))
}

async fn a_sleep_needs_two_calls_and_outlives_its_worker(way: Way) {
    // W19, W34
    let stage = Stage::new(way, |sdk| sdk.workflow("nap", nap)).await;
    let id = stage.start("nap", json!(null)).await;
    stage.works().await;
    stage.backend.advance(HOUR - Duration::from_secs(1)).await;
    stage.works().await;
    assert_eq!((stage.sdk.counts(), stage.run(&id).await.status), ((1, 0), RunStatus::Running));
    stage.backend.advance(Duration::from_secs(1)).await;
    stage.works().await;
    assert_eq!((stage.sdk.counts(), stage.run(&id).await.output), ((2, 0), Some(json!("awake"))));
    assert_eq!(stage.count(&id, EventType::WaitCompleted).await, 1);
}

fn same(replay: &Replay, input: &Value) -> Option<Result<Value, String>> {
    replay.step("same", "same", input.clone())
}

async fn values_are_what_they_were(way: Way) {
    // W17, W37
    let stage = Stage::new(way, |sdk| sdk.workflow("same", same).step("same", |input, _| Ok(input))).await;
    let nested = json!({"a": [1, {"b": null}], "": {"ü": "\u{1F980}"}, "at": "2026-01-01T00:00:00.000Z"});
    for value in [
        json!(42),
        json!(0),
        json!(-1.5),
        json!(""),
        json!("a\0b\u{2400}0"),
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!({"nul\0": ["\0"]}),
        nested,
    ] {
        assert_eq!(stage.output("same", value.clone()).await, value);
    }
}

fn broken(replay: &Replay, _: &Value) -> Option<Result<Value, String>> {
    replay.step("a", "broken", json!(null))
}

async fn a_run_that_fails_says_why(way: Way) {
    // W16
    let broken_step = |_: Value, _: u32| Err(StepFailure::fatal("out of paper"));
    let stage = Stage::new(way, |sdk| sdk.workflow("broken", broken).step("broken", broken_step)).await;
    let id = stage.start("broken", json!(null)).await;
    stage.works().await;
    let run = stage.run(&id).await;
    assert_eq!((run.status, run.error.unwrap().message.as_str()), (RunStatus::Failed, "out of paper"));
}

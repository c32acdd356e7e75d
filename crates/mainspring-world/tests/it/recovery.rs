//! Recovery: what is pushed for runs that nobody would call any more, and for which runs nothing is.

use std::{sync::Arc, time::Duration};

use mainspring_core::{ClaimRequest, ExecutionId, Failure, NewMessage, Settle, Settlement, WorkerId};
use mainspring_world::{
    CallOptions, Fact, NewRun, Recovered, Resolve, RunEvent, RunStatus, StepHandlers, Storage, World,
};
use serde_json::json;

use crate::{
    ground::{self, Ground, create_hook, create_step, receive, start, start_step},
    sdk::{Replay, Sdk},
    way::{Way, over_both},
};

const MINUTE: Duration = Duration::from_secs(60);

over_both! {
    #[tokio::test(start_paused = true)]
    a_stranded_run_goes_on_by_itself
    an_event_behind_an_open_hook_is_brought_to_the_code_that_waits
}

fn nothing() -> Recovered {
    Recovered::default()
}

fn one() -> Recovered {
    Recovered { found: 1, repaired: 1 }
}

async fn world(backend: &Ground) -> World {
    let world = World::builder(backend.clone()).build().unwrap();
    world.ready().await.unwrap();
    world
}

/// A run that began without a message.
async fn begun(world: &World) -> ExecutionId {
    let id = world.storage().runs().create(NewRun::new("order", json!(1))).await.unwrap().run_id;
    world.storage().events().create(Some(&id), start()).await.unwrap();
    id
}

async fn does(world: &World, id: &ExecutionId, event: impl Into<RunEvent>) {
    world.storage().events().create(Some(id), event).await.unwrap();
}

async fn push(world: &World, message: NewMessage) {
    world.storage().backend().queues().push_each(vec![message]).await.unwrap();
}

#[tokio::test]
async fn only_what_is_owed_and_not_on_its_way_is_pushed_and_once() {
    // W45
    let backend = ground::memory();
    let world = world(&backend).await;
    let id = world.storage().runs().create(NewRun::new("order", json!(1))).await.unwrap().run_id;
    assert_eq!(world.recover().await.unwrap(), nothing(), "it may still be on its way");
    backend.advance(MINUTE).await;
    assert_eq!(world.recover().await.unwrap(), one());
    assert_eq!(world.recover().await.unwrap(), nothing(), "it is on its way now");
    // Another process, which remembers nothing.
    let other = World::builder(backend.clone()).build().unwrap();
    assert_eq!(other.recover().await.unwrap(), nothing());
    assert_eq!(world.recovered(), one());

    // A step without its message, one with it, and one that may not be begun yet.
    let id = {
        does(&world, &id, start()).await;
        begun(&world).await
    };
    does(&world, &id, create_step("lost")).await;
    let message = world.step_message("order", &id, "plus", "sent").unwrap();
    world.storage().events().create_with(Some(&id), create_step("sent"), vec![message]).await.unwrap();
    for event in [create_step("later"), start_step("later")] {
        does(&world, &id, event).await;
    }
    let at = backend.now() + MINUTE * 10;
    let error = mainspring_world::Fault::new("busy");
    does(&world, &id, RunEvent::about("later", Fact::StepRetrying { error, retry_after: Some(at) })).await;
    backend.advance(MINUTE).await;
    assert_eq!(world.recover().await.unwrap(), one());
    backend.advance(MINUTE * 10).await;
    assert_eq!(world.recover().await.unwrap(), one(), "its time has come");
    assert_eq!(world.recovered(), Recovered { found: 3, repaired: 3 });
}

#[tokio::test]
async fn a_run_that_waits_is_left_alone() {
    // No duplicates pile up for what waits for a hook or for a time, and nothing is taken from whoever works.
    let backend = ground::memory();
    let world = world(&backend).await;
    let (hooked, asleep) = (begun(&world).await, begun(&world).await);
    does(&world, &hooked, create_hook("h", "token")).await;
    let wait = Fact::WaitCreated { resume_at: backend.now() + MINUTE * 30 };
    does(&world, &asleep, RunEvent::about("w", wait)).await;
    let (paused, over) = (begun(&world).await, begun(&world).await);
    does(&world, &paused, Fact::RunPaused {}).await;
    does(&world, &over, Fact::RunCompleted { output: None }).await;
    // Called just now, and claimed by a worker for longer than a minute.
    let called = begun(&world).await;
    push(&world, world.flow_message("order", &called).unwrap()).await;
    let claim = ClaimRequest::new("workflow_calls", WorkerId::generate(), MINUTE * 60, 10);
    assert_eq!(backend.queue().claim(claim).await.unwrap().deliveries.len(), 1);
    // Of another application, and of nobody who calls.
    let theirs = World::builder(backend.clone()).queue_prefix("other_").build().unwrap();
    begun(&theirs).await;
    Storage::new(backend.clone()).runs().create(NewRun::new("kept", json!(1))).await.unwrap();
    backend.advance(MINUTE * 5).await;
    assert_eq!(world.recover().await.unwrap(), nothing());
    backend.advance(MINUTE * 25).await;
    assert_eq!(world.recover().await.unwrap(), one(), "the sleep is over");
    assert_eq!(theirs.recover().await.unwrap(), one(), "each its own");
}

/// It waits for two payloads, or for half an hour and one of them.
fn approve(replay: &Replay, _: &serde_json::Value) -> Option<Result<serde_json::Value, String>> {
    let payloads = replay.hook("h", "token");
    match (payloads.as_slice(), replay.steps_done()) {
        ([first, second, ..], _) => Some(Ok(json!([first, second]))),
        ([_], 0) => replay.step("s", "plus", json!(1)).map(|_| unreachable!("it was not done")),
        _ => None,
    }
}

async fn an_event_behind_an_open_hook_is_brought_to_the_code_that_waits(way: Way) {
    // W45 with a hook: what came in was written down, and its message was lost with the process that was to push it.
    let backend = way.ground().await;
    let sdk = Sdk::new(world(&backend).await).workflow("order", approve).step("plus", |input, _| Ok(input));
    let invoker = way.to(sdk.clone(), backend.clone()).await;
    let world = World::builder(backend.clone()).invoker(invoker).build().unwrap();
    let works = async || assert!(world.run_until_idle(MINUTE).await.unwrap());
    let id = world.start_run(NewRun::new("order", json!(1))).await.unwrap().run_id;
    works().await;
    backend.advance(MINUTE).await;
    assert_eq!(world.recover().await.unwrap(), nothing(), "it waits for what has not come");

    does(&world, &id, receive("h", json!("first"))).await;
    assert_eq!(world.recover().await.unwrap(), nothing(), "its message may still be pushed");
    backend.advance(MINUTE).await;
    assert_eq!(world.recover().await.unwrap(), one());
    // The code was called for the payload, its step was done, and it was called for that, and waits again.
    works().await;
    assert_eq!(sdk.counts(), (3, 1));
    for _ in 0..2 {
        backend.advance(MINUTE * 120).await;
        assert_eq!(world.recover().await.unwrap(), nothing(), "its code has seen everything");
        let other = World::builder(backend.clone()).build().unwrap();
        assert_eq!(other.recover().await.unwrap(), nothing(), "and every process knows");
    }
    does(&world, &id, receive("h", json!("second"))).await;
    backend.advance(MINUTE).await;
    assert_eq!(world.recover().await.unwrap(), one());
    works().await;
    let run = world.storage().runs().get(&id, Default::default()).await.unwrap();
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!(["first", "second"]))));
    assert_eq!((sdk.counts(), world.recovered().repaired), ((4, 1), 2));
}

#[tokio::test]
async fn an_event_does_not_wait_for_a_message_of_a_later_time() {
    // The run sleeps for half an hour, and the message that wakes it then is there; its hook was told something meanwhile.
    let backend = ground::memory();
    let sdk = Sdk::new(world(&backend).await).workflow("order", |replay, _| {
        match replay.hook("h", "token").pop() {
            Some(payload) => Some(Ok(payload)),
            None => replay.sleep("w", MINUTE * 30).map(|()| Ok(json!("nobody said anything"))),
        }
    });
    let invoker = Way::FUNCTION.to(sdk.clone(), backend.clone()).await;
    let world = World::builder(backend.clone()).invoker(invoker).build().unwrap();
    let id = world.start_run(NewRun::new("order", json!(1))).await.unwrap().run_id;
    assert!(world.run_until_idle(MINUTE).await.unwrap());
    backend.advance(MINUTE).await;
    assert_eq!(world.recover().await.unwrap(), nothing());
    does(&world, &id, receive("h", json!("yes"))).await;
    backend.advance(MINUTE).await;
    assert_eq!(world.recover().await.unwrap(), one());
    assert!(world.run_until_idle(MINUTE).await.unwrap());
    let run = world.storage().runs().get(&id, Default::default()).await.unwrap();
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!("yes"))));
}

#[tokio::test]
async fn a_call_that_is_put_off_after_a_failure_is_not_hurried() {
    let backend = ground::memory();
    let world = world(&backend).await;
    let id = begun(&world).await;
    does(&world, &id, create_hook("h", "token")).await;
    does(&world, &id, receive("h", json!(1))).await;
    push(&world, world.flow_message("order", &id).unwrap()).await;
    let claim = ClaimRequest::new("workflow_calls", WorkerId::generate(), MINUTE, 1);
    let lease = backend.queue().claim(claim).await.unwrap().deliveries.remove(0).lease;
    let error = Failure::new("FAILED", "busy");
    let settlement = Settlement::RetryAfter { delay: MINUTE * 10, error };
    backend.queue().settle(vec![Settle::new(lease, settlement)]).await.unwrap();
    backend.advance(MINUTE * 2).await;
    assert_eq!(world.recover().await.unwrap(), nothing(), "it is on its way");
}

#[tokio::test]
async fn what_was_given_up_is_not_pushed_again() {
    let backend = ground::memory();
    let world = world(&backend).await;
    let id = world.storage().runs().create(NewRun::new("order", json!(1))).await.unwrap().run_id;
    let payload = json!({"runId": id});
    let once = CallOptions { max_attempts: Some(1), ..CallOptions::default() };
    world.queue("__wkf_workflow_order", payload, once).await.unwrap();
    let app = StepHandlers::new(); // knows no workflow
    let invoker = Way::FUNCTION.to(app, backend.clone()).await;
    let worker = World::builder(backend.clone()).invoker(invoker).build().unwrap();
    assert!(worker.run_until_idle(MINUTE).await.unwrap());
    assert_eq!(backend.queue().dead_letters("workflow_calls", 10).await.unwrap().len(), 1);
    let run = world.storage().runs().get(&id, Resolve::None).await.unwrap();
    assert_eq!(run.status, RunStatus::Failed);
    backend.advance(MINUTE).await;
    assert_eq!(worker.recover().await.unwrap(), nothing(), "it is over");
}

async fn a_stranded_run_goes_on_by_itself(way: Way) {
    // W45: its process was killed between the event and the message
    let backend = way.ground().await;
    let sdk = Sdk::new(world(&backend).await)
        .workflow("order", |replay, input| replay.step("s1", "plus", input.clone()))
        .step("plus", |input, _| Ok(input));
    let invoker = way.to(sdk.clone(), backend.clone()).await;
    let world = World::builder(backend.clone()).invoker(invoker).build().unwrap();
    let id = begun(&world).await;
    does(&world, &id, create_step("s1")).await;
    for _ in 0..3 {
        assert!(world.run_until_idle(MINUTE).await.unwrap());
        backend.advance(MINUTE).await;
    }
    let run = world.storage().runs().get(&id, Default::default()).await.unwrap();
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!([1, 2]))));
    assert_eq!((sdk.counts(), world.recovered()), ((1, 1), one()));
}

#[tokio::test]
async fn two_rounds_at_the_same_time_push_once() {
    let ground = ground::postgres().await;
    let make =
        || World::builder(Arc::clone(&ground.backend)).recovery(Duration::from_millis(1)).build().unwrap();
    let worlds = [make(), make()];
    for _ in 0..10 {
        begun(&worlds[0]).await;
    }
    let mut done = nothing();
    while done.found < 10 {
        let (a, b) = tokio::join!(worlds[0].recover(), worlds[1].recover());
        for round in [a.unwrap(), b.unwrap()] {
            done = Recovered { found: done.found + round.found, repaired: done.repaired + round.repaired };
        }
    }
    assert_eq!(done, Recovered { found: 10, repaired: 10 });
    let stats = ground.backend.queue().stats("workflow_calls").await.unwrap();
    assert_eq!(stats.ready, 10);
}

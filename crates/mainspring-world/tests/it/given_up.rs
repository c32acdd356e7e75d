//! Calls that are given up: the dead letter and the end of their run are one commit, in whatever way they are given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    Backend, BoxFuture, ClaimRequest, DeadLetter, ExecutionId, Failure, Settle, Settlement, WorkerId,
};
use mainspring_http::{Call, Endpoint, Invoker, Reply};
use mainspring_testing::{
    MemoryBackend,
    faults::{Action, Faults, FaultyBackend},
};
use mainspring_world::{NewRun, Resolve, Run, RunStatus, World};
use serde_json::json;

use crate::{
    ground::{Ground, cancel, complete, create_step, start},
    way::{Way, over_both},
};

over_both! {
    #[tokio::test(start_paused = true)]
    a_call_that_is_given_up_fails_its_run
    a_run_that_is_over_is_left_alone
    a_call_that_killed_its_workers_fails_its_run
    a_dead_letter_that_is_brought_back_revives_nothing
    what_was_given_up_without_a_word_is_found
}

const BUDGET: Duration = Duration::from_secs(180);
const MINUTE: Duration = Duration::from_secs(60);
const QUEUE: &str = "workflow_calls";

/// An application that always answers the same.
#[derive(Clone)]
struct Says(Reply, Arc<AtomicUsize>);

impl Says {
    fn new(reply: Reply) -> Self {
        Self(reply, Arc::default())
    }

    fn calls(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

impl Endpoint for Says {
    fn call(&self, _: Call) -> BoxFuture<'_, Reply> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(self.0.clone()))
    }
}

/// An application on a ground of its own, and whoever calls it.
async fn stage(way: &Way, says: &Says) -> (Ground, World) {
    let ground = way.ground().await;
    let invoker = way.to(says.clone(), ground.clone()).await;
    let world = World::builder(ground.clone()).invoker(invoker).build().unwrap();
    world.ready().await.unwrap();
    (ground, world)
}

/// A run and the message that calls its code, or one of its steps.
async fn called(world: &World, step: bool) -> ExecutionId {
    if !step {
        return world.start_run(NewRun::new("order", json!(1))).await.unwrap().run_id;
    }
    let id = world.storage().runs().create(NewRun::new("order", json!(1))).await.unwrap().run_id;
    let events = world.storage().events();
    events.create(Some(&id), start()).await.unwrap();
    let message = world.step_message("order", &id, "plus", "s1").unwrap();
    events.create_with(Some(&id), create_step("s1"), vec![message]).await.unwrap();
    id
}

async fn works(ground: &Ground, world: &World) {
    for _ in 0..4 {
        assert!(world.run_until_idle(BUDGET).await.unwrap());
        ground.advance(MINUTE).await;
    }
}

async fn dead(backend: &dyn Backend) -> Vec<DeadLetter> {
    backend.queue().dead_letters(QUEUE, 10).await.unwrap()
}

async fn run(world: &World, id: &ExecutionId) -> Run {
    world.storage().runs().get(id, Resolve::All).await.unwrap()
}

/// It failed, and says which message was given up, after how many attempts, and why.
async fn failed(world: &World, id: &ExecutionId, words: &[&str]) {
    let run = run(world, id).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let error = run.error.unwrap();
    assert_eq!(error.code.as_deref(), Some("CALL_GIVEN_UP"));
    for word in words {
        assert!(error.message.contains(word), "{word}: {error:?}");
    }
}

async fn a_call_that_is_given_up_fails_its_run(way: Way) {
    // R06
    let cases = [
        (Reply::failed("not today"), 3, "FAILED"),
        (Reply::fatal("never"), 1, "FATAL"),
        (Reply::BadRequest("what?".into()), 1, "BAD_REQUEST"),
    ];
    for (reply, calls, code) in cases {
        for step in [false, true] {
            let says = Says::new(reply.clone());
            let (ground, world) = stage(&way, &says).await;
            let id = called(&world, step).await;
            works(&ground, &world).await;
            assert_eq!(says.calls(), calls);
            let dead = dead(&*ground).await;
            assert_eq!((dead.len(), dead[0].reason.code.as_str()), (1, code));
            let attempts = if calls == 1 { "1 attempt".to_owned() } else { format!("{calls} attempts") };
            failed(&world, &id, &[dead[0].message.id.as_str(), code, &attempts]).await;
            assert!(!world.recover().await.unwrap().found > 0, "nothing is owed to it");
        }
    }
}

async fn a_run_that_is_over_is_left_alone(way: Way) {
    // R06
    for (end, status) in [(complete(json!(3)), RunStatus::Completed), (cancel(), RunStatus::Cancelled)] {
        let says = Says::new(Reply::fatal("never"));
        let (ground, world) = stage(&way, &says).await;
        let id = called(&world, false).await;
        for event in [start(), end] {
            world.storage().events().create(Some(&id), event).await.unwrap();
        }
        let before = ground.log(&id).await;
        // Nobody's run, and no run at all.
        for payload in [json!({"runId": "wrun_gone"}), json!({"runId": 7}), json!(1)] {
            world.queue("__wkf_workflow_order", payload, Default::default()).await.unwrap();
        }
        works(&ground, &world).await;
        assert_eq!(dead(&*ground).await.len(), 4);
        assert_eq!((run(&world, &id).await.status, ground.log(&id).await), (status, before));
    }
}

async fn a_call_that_killed_its_workers_fails_its_run(way: Way) {
    // R06
    for step in [false, true] {
        let says = Says::new(Reply::ok());
        let (ground, world) = stage(&way, &says).await;
        let id = called(&world, step).await;
        for _ in 0..10 {
            let dying = ClaimRequest::new(QUEUE, WorkerId::generate(), Duration::from_secs(1), 1);
            assert_eq!(ground.queue().claim(dying).await.unwrap().deliveries.len(), 1);
            ground.advance(MINUTE).await;
            ground.queue().maintain().await.unwrap();
        }
        works(&ground, &world).await;
        assert_eq!(says.calls(), 0);
        let dead = dead(&*ground).await;
        assert_eq!((dead.len(), dead[0].reason.code.as_str(), dead[0].lost), (1, "WORKER_LOST", 10));
        failed(&world, &id, &[dead[0].message.id.as_str(), "WORKER_LOST", "10 workers"]).await;
    }
}

async fn a_dead_letter_that_is_brought_back_revives_nothing(way: Way) {
    // R06
    let says = Says::new(Reply::fatal("never"));
    let (ground, world) = stage(&way, &says).await;
    let id = called(&world, false).await;
    works(&ground, &world).await;
    let (ended, log) = (run(&world, &id).await, ground.log(&id).await);
    let letter = dead(&*ground).await.remove(0).message.id;
    assert_eq!(ground.queues().retry_messages(QUEUE, vec![letter]).await.unwrap().len(), 1);
    works(&ground, &world).await;
    assert_eq!((run(&world, &id).await, ground.log(&id).await), (ended, log));
    let begin = world.storage().events().create(Some(&id), start()).await;
    assert!(begin.unwrap_err().is_expired(), "what its code asks for is refused");
}

async fn what_was_given_up_without_a_word_is_found(way: Way) {
    // R06: by the queue itself, by an older version, or by hand.
    for step in [false, true] {
        let (ground, world) = stage(&way, &Says::new(Reply::ok())).await;
        let id = called(&world, step).await;
        let claim = ClaimRequest::new(QUEUE, WorkerId::generate(), MINUTE, 1);
        let claimed = ground.queue().claim(claim).await.unwrap().deliveries.remove(0);
        let settlement = Settlement::DeadLetter(Failure::new("TIMEOUT", "took too long"));
        let settle = Settle::new(claimed.lease, settlement);
        ground.queue().settle(vec![settle]).await.unwrap().remove(0).unwrap();
        ground.advance(MINUTE * 2).await;
        assert_eq!(world.recover().await.unwrap().found, 1);
        failed(&world, &id, &[claimed.message.id.as_str(), "TIMEOUT"]).await;
        assert_eq!(world.recover().await.unwrap().found, 0);
    }
}

/// A world on a backend that breaks, in memory, that calls what it is given.
fn fragile(invoker: Arc<dyn Invoker>) -> (MemoryBackend, Faults, World) {
    let (memory, faults) = (MemoryBackend::new(), Faults::none());
    let backend: Arc<dyn Backend> = Arc::new(FaultyBackend::new(memory.clone(), faults.clone()));
    let world = World::builder(backend).invoker(invoker).recovery(None).build().unwrap();
    (memory, faults, world)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_be_marked_failed_keeps_its_call() {
    // R07, and a commit of which nobody knows.
    for (point, times) in [("commit.before", 5), ("commit.after", 1)] {
        let says = Says::new(Reply::fatal("never"));
        let invoker = Way::FUNCTION.to(says.clone(), MemoryBackend::new()).await;
        let (memory, faults, world) = fragile(invoker);
        world.ready().await.unwrap();
        let id = called(&world, false).await;
        (1..=times).for_each(|nth| faults.arm(point, nth, Action::Error));
        world.start().await.unwrap();
        while faults.fired(point) < times {
            assert_eq!(dead(&memory).await.len(), 0, "neither without the other");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while run(&world, &id).await.status != RunStatus::Failed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let dead = dead(&memory).await;
        failed(&world, &id, &[dead[0].message.id.as_str(), "FATAL"]).await;
        world.close().await.unwrap();
        assert_eq!((dead.len(), says.calls()), (1, 1));
    }
}

/// Whoever should call panics, or is never heard of again.
struct Broken(bool);

impl Invoker for Broken {
    fn invoke<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Reply> {
        Box::pin(async { if self.0 { panic!("two is 3") } else { std::future::pending().await } })
    }
}

#[tokio::test(start_paused = true)]
async fn an_invoker_that_panics_or_never_answers_fails_the_run() {
    // R06
    for (panics, code) in [(true, "PANIC"), (false, "TIMEOUT")] {
        let (memory, _, world) = fragile(Arc::new(Broken(panics)));
        world.ready().await.unwrap();
        let queue = memory.queues().get_queue(QUEUE).await.unwrap().unwrap();
        let timeout = Some(Duration::from_secs(5));
        let options = mainspring_core::QueueOptions { timeout, max_attempts: 1, ..queue.options };
        memory.queues().update_queue(QUEUE, options).await.unwrap();
        let id = called(&world, false).await;
        assert!(world.run_until_idle(BUDGET).await.unwrap());
        let dead = dead(&memory).await;
        assert_eq!((dead.len(), dead[0].reason.code.as_str()), (1, code));
        failed(&world, &id, &[dead[0].message.id.as_str(), code]).await;
    }
}

#[tokio::test]
async fn a_transport_says_what_it_gave_up() {
    // R06, W43: what a queue of the user's own gives up is that queue's to know.
    let world = World::builder(MemoryBackend::new()).build().unwrap();
    world.ready().await.unwrap();
    let id = called(&world, false).await;
    let data = json!({"runId": id});
    let message = mainspring_http::MessageData::new("__wkf_workflow_order".parse().unwrap(), data);
    let why = Failure::new("TOO_OFTEN", "five times");
    world.give_up(&message, why.clone()).await.unwrap();
    failed(&world, &id, &["TOO_OFTEN", "five times"]).await;
    let ended = run(&world, &id).await;
    world.give_up(&message, why).await.unwrap();
    assert_eq!(run(&world, &id).await, ended, "once");
}

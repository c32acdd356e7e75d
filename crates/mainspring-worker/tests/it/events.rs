//! What is told of a worker: events, snapshots, and a spy for tests (Q46, Q55, Q56).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{Backend, Delivery, Failure, MessageId, NewMessage, QueueDriver, Settlement};
use mainspring_worker::{Activity, Event, Spy, State, Verdict};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{QUEUE, backend, done, flaky, push, worker};

fn id(name: &str) -> MessageId {
    MessageId::new(name).unwrap()
}

async fn push_named(queue: &dyn QueueDriver, names: &[&str]) {
    let message = |name: &&str| NewMessage {
        id: id(name),
        max_attempts: Some(2),
        ..NewMessage::new(QUEUE, "t", json!(name))
    };
    queue.push(names.iter().map(message).collect()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_spy_sees_every_message_come_to_every_state_also_when_it_did_before() {
    // Q56
    let queue = backend();
    push_named(&*queue, &["fine", "flaky", "bad", "later", "gone", "own"]).await;
    let until = queue.now() + Duration::from_secs(3600);
    let handler = move |delivery: Delivery, _| async move {
        match delivery.message.id.as_str() {
            "flaky" => Verdict::failed(&delivery, Failure::new("BAD", "again")),
            "bad" => Settlement::DeadLetter(Failure::new("BAD", "never")).into(),
            "later" => Settlement::SnoozeUntil(until).into(),
            "own" => Verdict::Committed,
            _ => done(),
        }
    };
    let spy = Spy::new();
    let running = worker(&queue, handler).spy(&spy).start().unwrap();
    assert_eq!(spy.wait_for(&id("flaky"), State::Retried).await.failures, 0);
    queue.advance(Duration::from_secs(5));
    assert_eq!(spy.wait_for(&id("flaky"), State::DeadLettered).await.failures, 1);
    for (name, state) in [
        ("fine", State::Completed),
        ("bad", State::DeadLettered),
        ("later", State::Snoozed),
        ("own", State::Committed),
        ("fine", State::Claimed), // long ago
    ] {
        spy.wait_for(&id(name), state).await;
    }
    let by_data = spy.wait_for_one(State::Completed, |delivery| delivery.message.data == json!("gone")).await;
    assert_eq!(by_data.message.id, id("gone"));
    use State::{Claimed, DeadLettered, Retried};
    assert_eq!(spy.states(&id("flaky")), [Claimed, Retried, Claimed, DeadLettered]);
    running.stop().await.unwrap();
    let snapshot = running.snapshot();
    assert_eq!(
        (snapshot.delivered, snapshot.completed, snapshot.retried, snapshot.dead_lettered),
        (7, 2, 1, 2)
    );
    assert!(snapshot.stopping && snapshot.running.is_empty() && snapshot.unsettled == 0);
    spy.clear();
    assert!(spy.states(&id("fine")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_says_what_runs_and_for_how_long() {
    // Q55
    let queue = backend();
    push_named(&*queue, &["a", "b", "c"]).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let handler = move |_, _| {
        started.send(()).unwrap();
        std::future::pending::<Verdict>()
    };
    let running = worker(&queue, handler).concurrency(2).start().unwrap();
    starts.recv().await.unwrap();
    starts.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let snapshot = running.snapshot();
    assert_eq!(
        (snapshot.queue.as_str(), snapshot.delivered, snapshot.waiting, snapshot.stopping),
        (QUEUE, 2, 0, false)
    );
    assert_eq!(snapshot.worker, running.id());
    let mut ids: Vec<_> = snapshot.running.iter().map(|r| r.id.to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    for one in &snapshot.running {
        assert!(one.running >= Duration::from_secs(7) && one.attempt == 1 && one.message_type == "t");
    }
    running.stop_now().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_runs_for_long_is_reported_once_and_named() {
    // faults F09, F83
    let queue = backend();
    push_named(&*queue, &["slow", "quick"]).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = |delivery: Delivery, _| async move {
        if delivery.message.id.as_str() == "slow" {
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        done()
    };
    let running = worker(&queue, handler)
        .report_after(Duration::from_secs(60))
        .on_event(move |event| match event {
            Event::Stuck { delivery, running, replaced } => {
                tell.send((delivery.message.id.clone(), *running, *replaced)).unwrap();
            }
            Event::Stopped { delivered } => {
                tell.send((id("stopped"), Duration::ZERO, *delivered == 2)).unwrap();
            }
            _ => {}
        })
        .start()
        .unwrap();
    let (which, after, replaced) = told.recv().await.unwrap();
    assert!(which == id("slow") && after > Duration::from_secs(60) && !replaced);
    while running.snapshot().completed < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    running.stop().await.unwrap();
    assert_eq!(told.recv().await.unwrap().0, id("stopped"), "reported twice");
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_loops_are_told_and_survived_also_by_a_listener_that_panics() {
    // Q46
    let queue = flaky::failing(3);
    push(&*queue, 4).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let told = Arc::clone(&told);
        move |event: &Event<'_>| {
            if let Event::Failing { what, error } = event {
                told.lock().unwrap().push(*what);
                panic!("{what}: {error}");
            }
        }
    };
    let spy = Spy::new();
    let driver = Arc::clone(&queue) as Arc<dyn QueueDriver>;
    let handler = mainspring_worker::deliver_fn(|_, _| async { done() });
    let running = mainspring_worker::Worker::new(driver, Arc::new(handler))
        .maintenance_interval(Duration::from_millis(50))
        .lease(Duration::from_millis(500))
        .on_event(listener)
        .spy(&spy)
        .start()
        .unwrap();
    for n in 0..4 {
        spy.wait_for_one(State::Completed, |delivery| delivery.message.data == json!(n)).await;
    }
    let all = [Activity::Claim, Activity::Settle, Activity::Heartbeat, Activity::Upkeep];
    while !all.iter().all(|what| told.lock().unwrap().contains(what)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.stop().await.unwrap(), 4);
    assert_eq!(told.lock().unwrap().iter().filter(|what| **what == Activity::Settle).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_takes_too_long_is_cancelled_and_its_late_result_does_not_count() {
    // Q11, fault F84; and one that settled itself in the meantime is believed
    let queue = backend();
    push_named(&*queue, &["listens", "does-not", "commits", "quick"]).await;
    let (tell, mut cancelled) = mpsc::unbounded_channel();
    let handler = move |delivery: Delivery, cancel: CancellationToken| {
        let tell = tell.clone();
        async move {
            match delivery.message.id.as_str() {
                "listens" | "commits" => {
                    cancel.cancelled().await;
                    tell.send(delivery.message.id.clone()).unwrap();
                    if delivery.message.id.as_str() == "commits" { Verdict::Committed } else { done() }
                }
                "does-not" => std::future::pending().await,
                _ => done(),
            }
        }
    };
    let spy = Spy::new();
    let running = worker(&queue, handler).timeout(Duration::from_secs(30)).spy(&spy).start().unwrap();
    for (name, state) in [
        ("quick", State::Completed),
        ("listens", State::Retried),
        ("does-not", State::Retried),
        ("commits", State::Committed),
    ] {
        spy.wait_for(&id(name), state).await;
    }
    cancelled.recv().await.unwrap();
    cancelled.recv().await.unwrap();
    running.stop().await.unwrap();
    assert!(!spy.states(&id("listens")).contains(&State::Completed));
}

//! Many workers, some of which die.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    Backend, ClaimRequest, ExecutionStatus, NewMessage, QueueStats, Settle, Settlement, WorkerId,
    flow::{StepOutcome, StepResult, WAKE, advance},
};
use mainspring_engine::{Engine, Invocation};
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{backend, builder, drain, line, note, stored, types};

/// `note`, but the first `hang` calls never return.
fn hanging(backend: &MemoryBackend, hang: u32) -> (Engine, mpsc::UnboundedReceiver<String>) {
    let calls = Arc::new(AtomicU32::new(0));
    let (started, starts) = mpsc::unbounded_channel();
    let handler = move |call: Invocation, _: Value| {
        let call_number = calls.fetch_add(1, Ordering::SeqCst);
        started.send(call.idempotency_key()).unwrap();
        async move {
            if call_number < hang {
                std::future::pending::<()>().await;
            }
            Ok(json!(call.idempotency_key()))
        }
    };
    (builder(backend).handle_fn("note", handler).flow(line("line", 3)).build().unwrap(), starts)
}

#[tokio::test(start_paused = true)]
async fn a_fleet_runs_every_step_of_everything_once() {
    let backend = backend();
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let make = || {
        let calls = Arc::clone(&calls);
        let handler = move |call: Invocation, _: Value| {
            calls.lock().unwrap().push(call.idempotency_key());
            async { Ok(json!(null)) }
        };
        builder(&backend).handle_fn("note", handler).flow(line("line", 3)).build().unwrap()
    };
    let engines: Vec<Engine> = (0..3).map(|_| make()).collect();
    let workers: Vec<_> =
        engines.iter().map(|engine| engine.worker().concurrency(4).start().unwrap()).collect();
    let ids = futures_util::future::try_join_all(
        (0..100).map(|_| engines[0].create("line", json!({})).into_future()),
    );
    for created in ids.await.unwrap() {
        let done = engines[1].run(&created.execution.id).await.unwrap();
        assert_eq!((done.status, done.step_count), (ExecutionStatus::Completed, 3));
    }
    for worker in workers {
        worker.stop().await.unwrap();
    }
    let mut calls = std::mem::take(&mut *calls.lock().unwrap());
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 300, "and none of them twice");
    assert_eq!(backend.queue().stats("default").await.unwrap(), QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn a_step_of_a_dead_worker_runs_again_with_the_same_key() {
    // X1, faults F02, F03
    let backend = backend();
    let (engine, mut starts) = hanging(&backend, 1);
    let id = engine.create("line", json!({})).await.unwrap().execution.id;
    let dying = engine.worker().start().unwrap();
    let first = starts.recv().await.unwrap();
    drop(dying); // killed in the middle of a handler
    backend.advance(Duration::from_secs(31));
    drain(&engine).await;
    assert_eq!(starts.recv().await.unwrap(), first);
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, done.step_count, done.retries.len()), (ExecutionStatus::Completed, 3, 0));
    assert_eq!(types(&backend, &id).await[1], "execution.recovered");
}

#[tokio::test(start_paused = true)]
async fn the_commit_of_a_zombie_is_refused() {
    // X2, fault F07: claim, let the holder expire, let another finish; the old decision changes nothing.
    let backend = backend();
    let engine = builder(&backend).handle_fn("note", note).flow(line("line", 1)).build().unwrap();
    let execution = engine.create("line", json!({})).await.unwrap().execution;
    let request = ClaimRequest::new("default", WorkerId::generate(), Duration::from_secs(1), 1);
    let old = backend.queue().claim(request).await.unwrap().deliveries.remove(0);
    backend.advance(Duration::from_secs(2));
    drain(&engine).await;
    let done = stored(&backend, &execution.id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    let late = StepResult::new(StepOutcome::Success(json!("late")), backend.now());
    let flow = line("line", 1);
    let mut decision =
        advance(&flow, execution, Vec::new(), late, &Default::default(), backend.now()).changes;
    assert!(backend.commit(decision.clone()).await.unwrap_err().is_conflict());
    decision.settle = Some(Settle::new(old.lease, Settlement::Done));
    assert!(backend.commit(decision).await.unwrap_err().is_fenced());
    assert_eq!(stored(&backend, &done.id).await, done);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_gives_executions_back_at_once() {
    // X11, fault F10
    let backend = backend();
    let (engine, mut starts) = hanging(&backend, 1);
    let id = engine.create("line", json!({})).await.unwrap().execution.id;
    let worker = engine.worker().grace(Duration::from_millis(10)).start().unwrap();
    starts.recv().await.unwrap();
    worker.stop().await.unwrap();
    assert_eq!(
        backend.queue().stats("default").await.unwrap(),
        QueueStats { ready: 1, ..QueueStats::default() }
    );
    drain(&engine).await;
    let done = stored(&backend, &id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    assert!(!types(&backend, &id).await.contains(&"execution.recovered".to_owned()), "nothing was lost");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_drove_by_itself_goes_to_the_workers() {
    let backend = backend();
    let (dying, mut starts) = hanging(&backend, 1);
    let run = tokio::spawn(dying.create("line", json!({})).id("e").run());
    starts.recv().await.unwrap();
    run.abort();
    drop(dying); // its heartbeat ends with it
    drop(run.await);
    let id = mainspring_core::ExecutionId::new("e").unwrap();
    assert!(stored(&backend, &id).await.holder.is_some());
    let (engine, _starts) = hanging(&backend, 0);
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.status, ExecutionStatus::Running, "its lease still runs");
    backend.advance(Duration::from_secs(31));
    drain(&engine).await;
    drain(&engine).await;
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, done.step_count), (ExecutionStatus::Completed, 3));
    assert_eq!(types(&backend, &id).await[1], "execution.recovered");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_shuts_down_gives_back_what_it_drove() {
    let backend = backend();
    let (engine, mut starts) = hanging(&backend, 1);
    let run = tokio::spawn(engine.create("line", json!({})).id("e").run());
    starts.recv().await.unwrap();
    run.abort();
    drop(run.await);
    engine.shutdown().await.unwrap();
    let (next, _starts) = hanging(&backend, 0);
    drain(&next).await;
    drain(&next).await;
    let id = mainspring_core::ExecutionId::new("e").unwrap();
    assert_eq!(stored(&backend, &id).await.status, ExecutionStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_kills_its_workers_fails() {
    // fault F12
    let backend = backend();
    let (engine, mut starts) = hanging(&backend, u32::MAX);
    let id = engine.create("line", json!({})).await.unwrap().execution.id;
    for _ in 0..2 {
        let dying = engine.worker().start().unwrap();
        starts.recv().await.unwrap();
        drop(dying);
        backend.advance(Duration::from_secs(31));
        backend.queue().maintain().await.unwrap();
    }
    engine.worker().max_lost(2).drain().await.unwrap();
    let failed = stored(&backend, &id).await;
    assert_eq!(
        (failed.status, failed.error.unwrap().code.as_str()),
        (ExecutionStatus::Failed, "WORKER_LOST")
    );
    assert_eq!(backend.queue().stats("default").await.unwrap(), QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn messages_nobody_waits_for_go_away_and_strangers_are_parked() {
    let backend = backend();
    let engine = builder(&backend).handle_fn("note", note).flow(line("line", 1)).build().unwrap();
    let id = engine.create("line", json!({})).await.unwrap().execution.id;
    let wake = |subject: Option<&str>| NewMessage {
        subject: subject.map(Into::into),
        ..NewMessage::new("default", WAKE, json!(null))
    };
    let messages = vec![
        wake(Some(id.as_str())),
        wake(Some("nobody")),
        wake(None),
        NewMessage::new("default", "stranger", json!(1)),
    ];
    backend.queue().push(messages).await.unwrap();
    assert_eq!(drain(&engine).await, 5);
    assert_eq!(stored(&backend, &id).await.step_count, 1);
    assert_eq!(
        backend.queue().stats("default").await.unwrap(),
        QueueStats { dead: 1, ..QueueStats::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_the_driver_calls_no_handler() {
    let backend = backend();
    let (engine, mut starts) = hanging(&backend, 0);
    let execution = engine.create("line", json!({})).await.unwrap().execution;
    let id = mainspring_core::MessageId::generate();
    let stale = mainspring_core::flow::wake_message(&execution, id, mainspring_core::Available::Now);
    backend.queue().push(vec![stale]).await.unwrap();
    assert_eq!(drain(&engine).await, 2); // both at once
    assert_eq!(stored(&backend, &execution.id).await.status, ExecutionStatus::Completed);
    let mut calls = 0;
    while starts.try_recv().is_ok() {
        calls += 1;
    }
    assert_eq!(calls, 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_tick_leaves_is_for_whoever_comes_next() {
    // The process that ticked lives on: nobody waits for its lease.
    let backend = backend();
    let (ticking, mut starts) = hanging(&backend, 0);
    let id = ticking.create("line", json!({})).await.unwrap().execution.id;
    assert!(!ticking.tick(&id).await.unwrap().done);
    let left = stored(&backend, &id).await;
    assert!((left.holder.is_none(), left.driver.is_some()) == (true, true), "{left:?}");
    let (next, mut theirs) = hanging(&backend, 0);
    assert_eq!(drain(&next).await, 2, "the wake-up of the create, which is stale, and that of the tick");
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, done.step_count), (ExecutionStatus::Completed, 3));
    let keys = |starts: &mut mpsc::UnboundedReceiver<String>| {
        std::iter::from_fn(|| starts.try_recv().ok()).collect::<Vec<_>>()
    };
    assert_eq!((keys(&mut starts).len(), keys(&mut theirs).len()), (1, 2), "every step once");
    assert!(!types(&backend, &id).await.contains(&"execution.recovered".to_owned()), "nothing was lost");
    assert!(ticking.tick(&id).await.unwrap().done);
}

#[tokio::test(start_paused = true)]
async fn a_worker_and_a_tick_at_once_take_every_step_once() {
    // fault F53: a worker is in the middle of a step when the tick comes, and the other way round.
    let backend = backend();
    let (engine, mut starts) = hanging(&backend, 1);
    let id = engine.create("line", json!({})).await.unwrap().execution.id;
    let worker = engine.worker().start().unwrap();
    starts.recv().await.unwrap(); // and never returns
    let before = stored(&backend, &id).await;
    assert!(!engine.tick(&id).await.unwrap().done);
    assert_eq!(stored(&backend, &id).await, before, "it is in the worker's hands");
    drop(worker);
    backend.advance(Duration::from_secs(31));
    backend.queue().maintain().await.unwrap();
    let second = hanging(&backend, 1);
    let (ticking, mut theirs) = second;
    let tick = tokio::spawn({
        let (ticking, id) = (ticking.clone(), id.clone());
        async move { ticking.tick(&id).await }
    });
    theirs.recv().await.unwrap(); // and never returns
    assert_eq!(drain(&engine).await, 1, "the wake-up is stale since the tick took hold");
    assert_eq!(stored(&backend, &id).await.step_count, 0);
    tick.abort();
    drop(tick.await);
    while stored(&backend, &id).await.holder.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await; // until what the caller left is handed over
    }
    drain(&engine).await;
    let done = stored(&backend, &id).await;
    assert_eq!((done.status, done.step_count), (ExecutionStatus::Completed, 3));
}

/// Lets workers die in every first call of a step until the execution is over; how many died.
async fn kill(
    backend: &MemoryBackend,
    steps: usize,
    poison: Option<usize>,
) -> (u32, mainspring_core::Execution) {
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let (started, mut starts) = mpsc::unbounded_channel();
    let handler = move |call: Invocation, _: Value| {
        let key = call.idempotency_key();
        let mut calls = calls.lock().unwrap();
        let deadly = !calls.contains(&key) || poison.is_some_and(|step| key.ends_with(&format!("/{step}")));
        calls.push(key);
        if deadly {
            started.send(()).unwrap();
        }
        async move {
            if deadly {
                std::future::pending::<()>().await;
            }
            Ok(json!(null))
        }
    };
    let engine = builder(backend).handle_fn("note", handler).flow(line("line", steps)).build().unwrap();
    let id = engine.create("line", json!({})).await.unwrap().execution.id;
    for died in 0..100 {
        let worker = engine.worker().max_lost(3).start().unwrap();
        let over = async {
            while !stored(backend, &id).await.status.is_terminal() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            biased;
            Some(()) = starts.recv() => drop(worker),
            () = over => return (died, stored(backend, &id).await),
        }
        backend.advance(Duration::from_secs(31));
        backend.queue().maintain().await.unwrap();
    }
    panic!("it never ends");
}

#[tokio::test(start_paused = true)]
async fn workers_that_die_while_it_makes_progress_are_not_held_against_it() {
    // X6, fault F12: 12 workers die, each in another step, and three in one step would be too many
    let (died, done) = kill(&backend(), 12, None).await;
    assert_eq!((died, done.status, done.step_count), (12, ExecutionStatus::Completed, 12));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_kills_its_workers_is_found_after_others_that_did_so_once() {
    // X6, fault F12: five died in the steps before
    let (died, failed) = kill(&backend(), 12, Some(5)).await;
    assert_eq!((died, failed.current_step.as_str(), failed.step_count), (5 + 3, "f", 5));
    assert_eq!(failed.error.unwrap().code, "WORKER_LOST");
}

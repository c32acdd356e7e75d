//! Code that changes while executions are under way.

use mainspring_core::ExecutionStatus;
use mainspring_engine::{Cx, Drift, Engine, NON_DETERMINISM, Workflow, WorkflowResult};
use mainspring_testing::MemoryBackend;

use super::{Counter, result, row, secs};
use crate::{backend, builder, drain};

const STEPS: Workflow<(), Vec<String>, String> = Workflow::new("steps");

/// Takes the steps named, sleeps where it says `nap`, and counts bodies.
async fn take(cx: Cx, names: &[&str], bodies: &Counter) -> WorkflowResult<Vec<String>, String> {
    let mut taken = Vec::new();
    for name in names {
        if name.starts_with("nap") {
            cx.scope(name).sleep(secs(60)).await;
        } else {
            let body = async || {
                bodies.up();
                Ok::<_, String>((*name).to_owned())
            };
            taken.push(cx.step(name, body).await?);
        }
    }
    Ok(taken)
}

fn engine(backend: &MemoryBackend, drift: Drift, names: &'static [&str], bodies: &Counter) -> Engine {
    let bodies = bodies.clone();
    let code = move |cx: Cx, ()| {
        let bodies = bodies.clone();
        async move { take(cx, names, &bodies).await }
    };
    builder(backend).register(STEPS.drift(drift), code).build().unwrap()
}

const OLD: &[&str] = &["a", "b", "nap", "c"];

#[tokio::test(start_paused = true)]
async fn a_step_that_was_removed_renamed_or_moved_parks_the_execution_until_the_code_fits() {
    // fault F88
    for (new, expected, got) in [
        (&["a", "nap", "c"][..], "b", "nap/sleep"),
        (&["a", "b2", "nap", "c"], "b", "nap/sleep"),
        (&["b", "a", "nap", "c"], "a", "b"),
        (&["a", "b", "nap2", "c"], "nap/sleep", "nap2/sleep"),
        (&["a"], "b", "the end"),
    ] {
        let (backend, bodies) = (backend(), Counter::default());
        let old = engine(&backend, Drift::Fail, OLD, &bodies);
        let handle = old.start(STEPS, &()).await.unwrap();
        drain(&old).await;
        backend.advance(secs(60));
        let changed = engine(&backend, Drift::Fail, new, &bodies);
        drain(&changed).await;
        let parked = row(&backend, handle.id()).await;
        assert_eq!(parked.status, ExecutionStatus::Waiting, "{new:?}");
        let error = parked.error.unwrap();
        assert_eq!(error.code, NON_DETERMINISM);
        assert_eq!(
            (error.details["expected"].as_str(), error.details["got"].as_str()),
            (Some(expected), Some(got))
        );
        assert!(error.message.contains(expected) && error.message.contains(got), "{error}");
        // It stays so, and goes on once the code fits again.
        handle.resume().await.unwrap();
        drain(&changed).await;
        assert_eq!(row(&backend, handle.id()).await.status, ExecutionStatus::Waiting);
        handle.resume().await.unwrap();
        drain(&old).await;
        assert_eq!(result(&handle).await.unwrap(), ["a", "b", "c"]);
        assert_eq!(row(&backend, handle.id()).await.error, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_put_in_between_disturbs_nothing() {
    let (backend, bodies) = (backend(), Counter::default());
    let old = engine(&backend, Drift::Fail, OLD, &bodies);
    let handle = old.start(STEPS, &()).await.unwrap();
    drain(&old).await;
    backend.advance(secs(60));
    let new = engine(&backend, Drift::Fail, &["a", "x", "y", "b", "nap", "nap2", "c"], &bodies);
    drain(&new).await;
    // Parked in the second nap: what was put in is recorded after what was there, and comes back in its place.
    assert_eq!((row(&backend, handle.id()).await.error, bodies.get()), (None, 4));
    backend.advance(secs(60));
    drain(&new).await;
    assert_eq!(result(&handle).await.unwrap(), ["a", "x", "y", "b", "c"]);
    assert_eq!(bodies.get(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_may_tolerate_drift() {
    for drift in [Drift::Warn, Drift::Allow] {
        let (backend, bodies) = (backend(), Counter::default());
        let old = engine(&backend, drift, OLD, &bodies);
        let handle = old.start(STEPS, &()).await.unwrap();
        drain(&old).await;
        backend.advance(secs(60));
        let new = engine(&backend, drift, &["b", "nap2", "c"], &bodies);
        drain(&new).await;
        backend.advance(secs(60));
        drain(&new).await;
        assert_eq!(result(&handle).await.unwrap(), ["b", "c"]);
        assert_eq!(bodies.get(), 3);
    }
}

const PATCHED: Workflow<(), String, String> = Workflow::new("patched");

#[tokio::test(start_paused = true)]
async fn a_patch_is_taken_by_those_who_come_first_and_for_ever() {
    let backend = backend();
    let build = |patched: bool| {
        let code = move |cx: Cx, ()| async move {
            let way = if patched && cx.patched("new-way") { "new" } else { "old" };
            let way = cx.step(way, async || Ok::<_, String>(way.to_owned())).await?;
            cx.sleep(secs(60)).await;
            WorkflowResult::<String, String>::Ok(way)
        };
        builder(&backend).register(PATCHED, code).build().unwrap()
    };
    let (before, after) = (build(false), build(true));
    let old = before.start(PATCHED, &()).await.unwrap();
    drain(&before).await;
    let new = after.start(PATCHED, &()).await.unwrap();
    drain(&after).await;
    backend.advance(secs(60));
    drain(&after).await;
    assert_eq!(result(&old).await.unwrap(), "old");
    assert_eq!(result(&new).await.unwrap(), "new");
}

const VERSIONED: Workflow<(), u32, String> = Workflow::new("versioned");

#[tokio::test(start_paused = true)]
async fn an_execution_stays_at_its_version() {
    let backend = backend();
    let engine = builder(&backend)
        .register(VERSIONED, async |cx: Cx, ()| {
            cx.sleep(secs(1)).await;
            Ok(1)
        })
        .register(VERSIONED.version("2"), async |_cx: Cx, ()| Ok(2))
        .build()
        .unwrap();
    let one = engine.start(VERSIONED, &()).await.unwrap();
    let two = engine.start(VERSIONED.version("2"), &()).await.unwrap();
    drain(&engine).await;
    backend.advance(secs(1));
    drain(&engine).await;
    assert_eq!((result(&one).await.unwrap(), result(&two).await.unwrap()), (1, 2));
}

const MANY: Workflow<u32, u32, String> = Workflow::new("many");

#[tokio::test(start_paused = true)]
async fn a_workflow_goes_on_as_a_new_one_and_takes_its_signals_along() {
    let backend = backend();
    let engine = builder(&backend)
        .register(MANY, async |cx: Cx, sum: u32| {
            let more: u32 = cx.signal("add").await?;
            if more == 0 { Ok(sum) } else { cx.continue_as_new(&(sum + more)).await }
        })
        .build()
        .unwrap();
    let handle = engine.start(MANY, &0).await.unwrap();
    for n in [1, 2, 3] {
        handle.signal("add", &n).await.unwrap();
    }
    drain(&engine).await;
    handle.signal("add", &4).await.unwrap();
    handle.signal("add", &0).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), 10);
    let first = row(&backend, handle.id()).await;
    assert_eq!(first.status, ExecutionStatus::Completed);
    assert!(first.position < 8, "{}", first.position);
}

const RANDOM: Workflow<(), Vec<String>, String> = Workflow::new("random");

#[tokio::test(start_paused = true)]
async fn time_and_chance_are_the_same_at_every_replay() {
    let backend = backend();
    let engine = builder(&backend)
        .register(RANDOM, async |cx: Cx, ()| {
            let now = || cx.now().to_string();
            let mut seen = vec![now(), cx.random().to_string(), cx.ulid(), cx.random().to_string()];
            let pure = cx.pure("salt", || cx.id().to_string().len() as u64 + 1);
            cx.sleep(secs(60)).await;
            seen.push(now());
            let recorded = cx.step("keep", async || Ok::<_, String>(seen.clone())).await?;
            assert_eq!(recorded, seen);
            cx.sleep(secs(60)).await;
            assert_eq!((recorded, pure.is_some()), (seen.clone(), true));
            Ok(seen)
        })
        .build()
        .unwrap();
    let handle = engine.start(RANDOM, &()).await.unwrap();
    for _ in 0..3 {
        drain(&engine).await;
        backend.advance(secs(60));
    }
    let seen = result(&handle).await.unwrap();
    assert_ne!(seen[1], seen[3]);
    assert_eq!((seen[2].len(), &seen[4][..]), (26, "2026-01-01T00:01:00Z"));
}

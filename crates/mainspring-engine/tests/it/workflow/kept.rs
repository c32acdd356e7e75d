//! Futures of parked executions: kept for a short time, and gone without a trace after it.

use std::{sync::Arc, time::Duration};

use mainspring_core::ExecutionStatus;
use mainspring_engine::{Cx, Engine, EngineBuilder, Workflow, WorkflowResult};

use super::{Counter, result, secs, status};
use crate::{backend, builder, drain};

const TALK: Workflow<u32, Vec<String>, String> = Workflow::new("talk");

/// Counts how often its code begins; `held` is what its futures hold.
fn talk(builder: EngineBuilder, begun: &Counter, held: &Arc<()>) -> Engine {
    let (begun, held) = (begun.clone(), Arc::clone(held));
    builder
        .register(TALK, move |cx: Cx, words: u32| {
            let (begun, held) = (begun.clone(), Arc::clone(&held));
            async move { listen(cx, begun, held, words).await }
        })
        .build()
        .unwrap()
}

async fn listen(cx: Cx, begun: Counter, held: Arc<()>, words: u32) -> WorkflowResult<Vec<String>, String> {
    begun.up();
    let _held = held;
    let mut heard = Vec::new();
    for _ in 0..words {
        let word: String = cx.signal("word").await?;
        heard.push(cx.step("note", async || Ok::<_, String>(word.clone())).await?);
        cx.sleep(secs(1)).await;
    }
    Ok(heard)
}

#[tokio::test(start_paused = true)]
async fn one_that_is_woken_soon_goes_on_where_it_stood() {
    let (backend, begun, held) = (backend(), Counter::default(), Arc::new(()));
    let engine = talk(builder(&backend), &begun, &held);
    let handle = engine.start(TALK, &3).await.unwrap();
    drain(&engine).await;
    for word in ["one", "two", "three"] {
        handle.signal("word", &word).await.unwrap();
        drain(&engine).await;
        backend.advance(secs(1));
        drain(&engine).await;
    }
    assert_eq!(result(&handle).await.unwrap(), ["one", "two", "three"]);
    assert_eq!(begun.get(), 1, "nothing was replayed");
    assert_eq!(Arc::strong_count(&held), 2, "what has ended is gone: the test and the code hold it");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_idle_for_long_is_dropped_and_replayed() {
    let (backend, begun, held) = (backend(), Counter::default(), Arc::new(()));
    let engine = talk(builder(&backend).lease(secs(4)), &begun, &held);
    let handle = engine.start(TALK, &1).await.unwrap();
    drain(&engine).await;
    assert_eq!((Arc::strong_count(&held), begun.get()), (3, 1));
    let worker = engine.worker().start().unwrap();
    tokio::time::sleep(secs(10)).await;
    assert_eq!(Arc::strong_count(&held), 2, "its worker has dropped it");
    handle.signal("word", &"late").await.unwrap();
    while status(&backend, handle.id()).await != ExecutionStatus::Completed {
        backend.advance(secs(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.stop().await.unwrap();
    assert_eq!((result(&handle).await.unwrap(), begun.get()), (vec!["late".to_owned()], 2));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_driven_elsewhere_meanwhile_is_not_gone_on_with() {
    // fault F53
    let (backend, begun, held) = (backend(), Counter::default(), Arc::new(()));
    let here = talk(builder(&backend), &begun, &held);
    let there = talk(builder(&backend), &begun, &held);
    let handle = here.start(TALK, &2).await.unwrap();
    drain(&here).await;
    handle.signal("word", &"one").await.unwrap();
    drain(&there).await;
    backend.advance(secs(1));
    drain(&there).await;
    handle.signal("word", &"two").await.unwrap();
    drain(&here).await;
    backend.advance(secs(1));
    drain(&here).await;
    assert_eq!(result(&handle).await.unwrap(), ["one", "two"]);
    assert_eq!(begun.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_kept_than_may_be_and_a_rewind_is_seen() {
    let (backend, begun, held) = (backend(), Counter::default(), Arc::new(()));
    let engine = talk(builder(&backend).keep_parked(secs(60), 10), &begun, &held);
    let mut handles = Vec::new();
    for _ in 0..50 {
        handles.push(engine.start(TALK, &1).await.unwrap());
    }
    drain(&engine).await;
    assert_eq!(Arc::strong_count(&held), 12);
    for handle in &handles {
        handle.signal("word", &"go").await.unwrap();
    }
    drain(&engine).await;
    for handle in &handles {
        handle.rewind("note").await.unwrap();
    }
    backend.advance(secs(2));
    drain(&engine).await;
    backend.advance(secs(2));
    drain(&engine).await;
    for handle in &handles {
        assert_eq!(result(handle).await.unwrap(), ["go"]);
    }
    assert_eq!(Arc::strong_count(&held), 2);
}

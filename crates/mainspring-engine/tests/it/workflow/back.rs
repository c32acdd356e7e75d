//! Forks, rewinds, retries, and the same for many.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mainspring_core::{Backend, ExecutionFilter, ExecutionStatus, event::kind};
use mainspring_engine::{Back, Cx, Engine, ResultError, Workflow, WorkflowResult, fail};
use mainspring_testing::MemoryBackend;

use super::{Counter, journal, result, row, secs, status};
use crate::{backend, builder, drain, history};

const LINE: Workflow<String, Vec<u64>, String> = Workflow::new("line");
const LEAF: Workflow<u64, u64, String> = Workflow::new("leaf");

/// What a test changes while executions are under way.
#[derive(Clone, Default)]
struct Shop {
    bodies: Counter,
    mended: Arc<AtomicBool>,
}

async fn line(cx: Cx, shop: Shop, what: String) -> WorkflowResult<Vec<u64>, String> {
    let mut seen = vec![cx.random() % 1_000];
    seen.push(cx.step("a", async || Ok::<_, String>(u64::from(shop.bodies.up()))).await?);
    if what.contains("child") {
        seen.push(cx.child(LEAF, &7).await?);
    }
    if what.contains("signal") {
        seen.push(cx.signal("word").await?);
    }
    let broken = what.contains("broken") && !shop.mended.load(Ordering::SeqCst);
    seen.push(
        cx.step("b", async || match broken {
            true => Err("out of order".to_owned()),
            false => Ok(u64::from(shop.bodies.up())),
        })
        .await?,
    );
    Ok(seen)
}

async fn leaf(cx: Cx, n: u64) -> WorkflowResult<u64, String> {
    match cx.signal::<u64>("answer").await {
        Ok(answer) => Ok(answer + n),
        Err(halt) => fail(halt.code().to_owned()),
    }
}

fn engine(backend: &MemoryBackend, shop: &Shop) -> Engine {
    let shop = shop.clone();
    builder(backend)
        .register(LINE, move |cx: Cx, what: String| line(cx, shop.clone(), what))
        .register(LEAF, leaf)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_fork_shares_what_is_recorded_before_a_step() {
    // X7
    let (backend, shop) = (backend(), Shop::default());
    let engine = engine(&backend, &shop);
    let handle = engine.start(LINE, &"plain".to_owned()).attribute("customer", "c-7").await.unwrap();
    drain(&engine).await;
    let first = result(&handle).await.unwrap();
    assert_eq!(first[1..], [1, 2]);
    let fork = handle.fork("b").id("again").await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&fork).await.unwrap(), [first[0], 1, 3], "the random number and `a` are shared");
    let events = history(&backend, fork.id()).await;
    assert_eq!(events[0].event.data["forkedFrom"], handle.id().as_str());
    assert_eq!(journal(&backend, fork.id()).await, ["step.completed a", "step.completed b"]);
    assert_eq!(row(&backend, fork.id()).await.attributes.len(), 1);
    // A fork of a fork, from its beginning, still has the same random numbers.
    let whole = fork.fork(Back::ToStart).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&whole).await.unwrap()[1..], [4, 5]);
    assert!(handle.fork("b").id("again").await.unwrap_err().is_conflict());
    assert!(handle.fork("nothing").await.unwrap_err().is_not_found());
    assert_eq!(result(&handle).await.unwrap(), first, "nothing happened to the first one");
}

#[tokio::test(start_paused = true)]
async fn a_fork_waits_for_signals_and_children_of_its_own() {
    let (backend, shop) = (backend(), Shop::default());
    let engine = engine(&backend, &shop);
    let handle = engine.start(LINE, &"child signal".to_owned()).await.unwrap();
    drain(&engine).await;
    let child = async |id| backend.executions().find_children(id).await.unwrap().remove(0).id;
    let early = handle.fork(Back::BeforeFailure).await.unwrap(); // in the middle of its child
    drain(&engine).await;
    let (old, new) = (child(handle.id()).await, child(early.id()).await);
    assert_ne!(old, new);
    engine.signal(&old, "answer", &1).await.unwrap();
    handle.signal("word", &10).await.unwrap();
    drain(&engine).await;
    let first = result(&handle).await.unwrap();
    assert_eq!(first[2..4], [8, 10]);
    let late = handle.fork("word").await.unwrap(); // shares the child's result, and not the signal
    drain(&engine).await;
    assert_eq!(status(&backend, late.id()).await, ExecutionStatus::Waiting);
    late.signal("word", &20).await.unwrap();
    engine.signal(&new, "answer", &2).await.unwrap();
    early.signal("word", &30).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&late).await.unwrap()[2..4], [8, 20]);
    assert_eq!(result(&early).await.unwrap()[2..4], [9, 30]);
}

#[tokio::test(start_paused = true)]
async fn a_rewind_does_again_what_came_after_a_step() {
    let (backend, shop) = (backend(), Shop::default());
    let engine = engine(&backend, &shop);
    let handle = engine.start(LINE, &"child signal".to_owned()).await.unwrap();
    drain(&engine).await;
    let old = backend.executions().find_children(handle.id()).await.unwrap().remove(0).id;
    handle.signal("word", &10).await.unwrap(); // kept: nobody has asked for it
    handle.rewind("a").await.unwrap();
    assert_eq!(status(&backend, &old).await, ExecutionStatus::Cancelled);
    drain(&engine).await;
    let children = backend.executions().find_children(handle.id()).await.unwrap();
    let new = children.into_iter().find(|child| child.id != old).unwrap().id;
    assert_eq!(shop.bodies.get(), 2, "`a` was done again");
    handle.rewind("a").await.unwrap(); // and once more
    drain(&engine).await;
    assert_eq!(status(&backend, &new).await, ExecutionStatus::Cancelled);
    let children = backend.executions().find_children(handle.id()).await.unwrap();
    let last = children.into_iter().find(|child| !child.status.is_terminal()).unwrap().id;
    engine.signal(&last, "answer", &1).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap()[1..], [3, 8, 10, 4]);
    let rewinds = history(&backend, handle.id()).await;
    let rewinds = rewinds.iter().filter(|event| event.event.event_type == kind::EXECUTION_REWOUND);
    assert_eq!(rewinds.count(), 2);
    assert!(handle.rewind("a").await.unwrap_err().is_conflict(), "it is over");
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_retried_from_where_it_failed_and_once() {
    let (backend, shop) = (backend(), Shop::default());
    let engine = engine(&backend, &shop);
    let handle = engine.start(LINE, &"broken".to_owned()).id("it").await.unwrap();
    assert!(handle.retry().await.unwrap_err().is_conflict(), "it is under way");
    drain(&engine).await;
    assert!(matches!(result(&handle).await, Err(ResultError::App(text)) if text == "out of order"));
    shop.mended.store(true, Ordering::SeqCst);
    let (first, second) = (handle.retry().await.unwrap(), handle.retry().await.unwrap());
    assert!(first.was_created() && !second.was_created());
    assert_eq!((first.id().as_str(), second.id()), ("it-retry", first.id()));
    drain(&engine).await;
    assert_eq!(result(&first).await.unwrap()[1..], [1, 2], "`a` was not done again");
}

#[tokio::test(start_paused = true)]
async fn many_are_retried_cancelled_and_resumed_by_filter_in_batches() {
    // X7
    let (backend, shop) = (backend(), Shop::default());
    let engine = engine(&backend, &shop);
    for n in 0..250 {
        let what = if n % 10 == 0 { "broken" } else { "signal" };
        let start = engine.start(LINE, &what.to_owned()).id(format!("it-{n}"));
        start.attribute("kind", what).await.unwrap();
        backend.advance(secs(1));
    }
    drain(&engine).await;
    shop.mended.store(true, Ordering::SeqCst);
    let failed = ExecutionFilter { status: Some(ExecutionStatus::Failed), ..ExecutionFilter::default() };
    assert_eq!(engine.bulk(failed.clone()).count().await.unwrap(), 25);
    let mut told = Vec::new();
    let part = engine.bulk(failed.clone()).limit(10).progress(|progress| told.push(progress.done));
    let part = part.retry().await.unwrap();
    assert_eq!((part.done, part.complete, told.len(), told.last()), (10, false, 10, Some(&10)));
    let rest = engine.bulk(failed.clone()).after(part.cursor.unwrap()).retry().await.unwrap();
    assert_eq!((rest.done, rest.complete), (15, true));
    let again = engine.bulk(failed).retry().await.unwrap();
    assert_eq!((again.seen, again.done, again.skipped), (25, 0, 25));
    drain(&engine).await;
    let waiting = ExecutionFilter { status: Some(ExecutionStatus::Waiting), ..ExecutionFilter::default() };
    let waiting = waiting.with("kind", "signal");
    assert_eq!(engine.bulk(waiting.clone()).count().await.unwrap(), 225);
    let resumed = engine.bulk(waiting.clone()).limit(5).resume().await.unwrap();
    assert_eq!(resumed.done, 5);
    assert_eq!(drain(&engine).await, 5);
    // Cancelled ones no longer match, so a second round of the same begins behind them.
    let first = engine.bulk(waiting.clone()).limit(200).cancel("recalled").await.unwrap();
    let second = engine.bulk(waiting.clone()).cancel("recalled").await.unwrap();
    assert_eq!((first.done, second.done), (200, 25));
    assert_eq!(engine.bulk(waiting).count().await.unwrap(), 0);
}

//! Loops that go on for ever: a replay begins at the last round that was written down.

use std::ops::ControlFlow;

use mainspring_core::{Backend, event::kind};
use mainspring_engine::{
    Cx, Either, Engine, ExportedHistory, Replay, Workflow, WorkflowHandle, WorkflowResult,
};
use mainspring_testing::{MemoryBackend, Spans, crash_everywhere};

use super::{Counter, result, row, secs};
use crate::{backend, builder, drain, history};

const COUNT: Workflow<u64, u64, String> = Workflow::new("count");

/// One step a round; in the last round it waits for a signal first.
fn counting(backend: &MemoryBackend, rounds: &Counter, bodies: &Counter) -> Engine {
    let (rounds, bodies) = (rounds.clone(), bodies.clone());
    builder(backend)
        .register(COUNT, move |cx: Cx, last: u64| {
            let (rounds, bodies) = (rounds.clone(), bodies.clone());
            async move {
                let first = cx.step("first", async || Ok::<_, String>(1_u64)).await?;
                let each = async |cx: Cx, (n, sum): (u64, u64)| {
                    rounds.up();
                    if n == last {
                        cx.signal::<()>("go").await?;
                        return Ok(ControlFlow::Break(sum));
                    }
                    let body = async || {
                        bodies.up();
                        Ok::<_, String>(n)
                    };
                    Ok(ControlFlow::Continue((n + 1, sum + cx.step("step", body).await?)))
                };
                let sum: u64 = cx.repeat("page", (0, 0), each).await?;
                Ok(first + sum)
            }
        })
        .build()
        .unwrap()
}

/// Rows that were read, and those of them that counted, for every replay.
fn replays(spans: &Spans) -> Vec<(u64, u64)> {
    let number = |text: Option<&str>| text.unwrap().parse().unwrap();
    let replays = spans.named("mainspring.replay").into_iter();
    replays.map(|span| (number(span.field("rows")), number(span.field("counted")))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_long_loop_is_gone_on_with_as_cheaply_as_a_short_one() {
    let long = if std::env::var_os("MAINSPRING_LONG").is_some() { 100_000 } else { 2_000 };
    let mut costs = Vec::new();
    for steps in [200, long] {
        let (backend, rounds, bodies) = (backend(), Counter::default(), Counter::default());
        let handle = {
            let engine = counting(&backend, &rounds, &bodies);
            let handle = engine.start(COUNT, &steps).await.unwrap();
            drain(&engine).await;
            handle
        };
        assert_eq!((u64::from(rounds.get()), u64::from(bodies.get())), (steps + 1, steps));
        let spans = Spans::default();
        let _traced = tracing::subscriber::set_default(spans.clone());
        let rounds = Counter::default();
        let other = counting(&backend, &rounds, &bodies);
        handle.signal("go", &()).await.unwrap();
        drain(&other).await;
        assert_eq!(result(&handle).await.unwrap(), 1 + steps * (steps - 1) / 2);
        assert_eq!(u64::from(bodies.get()), steps, "no body ran again");
        let [(rows, counted)] = replays(&spans)[..] else { panic!("one replay") };
        costs.push((rows, counted, rounds.get()));
    }
    for (rows, counted, rounds) in &costs {
        assert!(*rows <= 256 && *counted <= 110 && *rounds <= 101, "{costs:?}");
    }
}

const TALK: Workflow<u32, Vec<u32>, String> = Workflow::new("talk");

/// Rounds that record a lot and commit little: values, a signal, a step; all of it before a deadline.
async fn talk(cx: Cx, rounds: u32) -> WorkflowResult<Vec<u32>, String> {
    let deadline = cx.sleep(secs(3_600));
    let heard = cx.repeat("round", Vec::new(), async |cx, mut heard: Vec<u32>| {
        let inner = cx.repeat("inner", 0, async |cx, n| {
            (0..20).for_each(|m| assert_eq!(cx.pure("value", || m), Some(m)));
            let n: u32 = cx.step("add", async || Ok::<_, String>(n + 1)).await?;
            Ok(if n == 2 { ControlFlow::Break(n) } else { ControlFlow::Continue(n) })
        });
        assert_eq!(inner.await?, 2);
        heard.push(cx.signal::<u32>("word").await?);
        let done = heard.len() == rounds as usize;
        Ok(if done { ControlFlow::Break(heard) } else { ControlFlow::Continue(heard) })
    });
    let heard = match cx.race(Box::pin(heard), deadline).await {
        Either::Left(heard) => heard?,
        Either::Right(()) => Vec::new(),
    };
    Ok(cx.step("end", async || Ok::<_, String>(heard.clone())).await?)
}

#[tokio::test(start_paused = true)]
async fn a_loop_survives_every_crash_and_takes_no_signal_twice() {
    // W14, W44
    let mut run = crash_everywhere(TALK, &7, |engine| engine.register(TALK, talk));
    for word in 0..7_u32 {
        run = run.signal("word", &word);
    }
    let run = run.run().await;
    assert_eq!(run.result.unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    assert!(run.crashes > 30, "{}", run.crashes);
}

async fn said(handle: &WorkflowHandle<Vec<u32>, String>, words: std::ops::Range<u32>) {
    for word in words {
        handle.signal("word", &word).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_beside_a_loop_is_not_forgotten_with_its_rounds() {
    let backend = backend();
    let engine = || builder(&backend).register(TALK, talk).build().unwrap();
    let handle = engine().start(TALK, &100).await.unwrap();
    for part in 0..5 {
        said(&handle, part * 10..part * 10 + 10).await;
        drain(&engine()).await; // each time another process
        backend.advance(secs(600));
    }
    let wakes = row(&backend, handle.id()).await.wake_at.unwrap();
    assert!(wakes.since(backend.now()) <= secs(600), "the deadline is the first one");
    let advanced = handle.history().await.unwrap();
    let advanced = advanced.iter().filter(|recorded| recorded.event.event_type == kind::LOOP_ADVANCED);
    assert!(advanced.count() >= 10);
    backend.advance(secs(601));
    drain(&engine()).await;
    assert_eq!(result(&handle).await.unwrap(), [0_u32; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_loop_can_be_gone_back_in_and_forked_and_verified() {
    let backend = backend();
    let engine = || builder(&backend).register(TALK, talk).build().unwrap();
    let handle = engine().start(TALK, &12).await.unwrap();
    said(&handle, 0..10).await;
    drain(&engine()).await;
    // Into a round that was left out of every replay since.
    handle.rewind("round[2]/inner[0]/add").await.unwrap();
    drain(&engine()).await;
    let fork = handle.fork("round[8]/inner[0]/add").await.unwrap();
    drain(&engine()).await;
    said(&fork, 20..24).await; // its inbox is its own
    drain(&engine()).await;
    assert_eq!(result(&fork).await.unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23]);
    said(&handle, 10..12).await;
    drain(&engine()).await;
    assert_eq!(result(&handle).await.unwrap(), (0..12).collect::<Vec<_>>());
    for handle in [handle, fork] {
        let exported: ExportedHistory =
            engine().export(handle.id()).await.unwrap().to_string().parse().unwrap();
        assert_eq!(engine().verify_replay(&exported).await.unwrap(), Replay::Fits);
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_whose_rounds_make_steps_elsewhere_is_replayed_whole() {
    let backend = backend();
    let bodies = Counter::default();
    let engine = || {
        let bodies = bodies.clone();
        let code = move |cx: Cx, rounds: u64| {
            let bodies = bodies.clone();
            async move {
                let outer = cx.clone();
                let each = async |cx: Cx, n: u64| {
                    let body = async || {
                        bodies.up();
                        Ok::<_, String>(n)
                    };
                    // `step`, `step#2`, `step#3` …, since they are made outside of the round.
                    let n = outer.step("step", body).await?;
                    cx.step("own", async || Ok::<_, String>(())).await?;
                    if n == rounds {
                        cx.signal::<()>("go").await?;
                        return Ok(ControlFlow::Break(n));
                    }
                    Ok(ControlFlow::Continue(n + 1))
                };
                cx.repeat("page", 0, each).await
            }
        };
        builder(&backend).register(COUNT, code).build().unwrap()
    };
    let handle = engine().start(COUNT, &200).await.unwrap();
    drain(&engine()).await;
    handle.signal("go", &()).await.unwrap();
    drain(&engine()).await;
    assert_eq!(result(&handle).await.unwrap(), 200);
    assert_eq!(bodies.get(), 201, "no body ran again");
    let history = history(&backend, handle.id()).await;
    assert!(history.iter().all(|recorded| recorded.event.event_type != kind::LOOP_ADVANCED));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_was_renamed_parks_with_both_names() {
    let backend = backend();
    let (rounds, bodies) = (Counter::default(), Counter::default());
    let engine = counting(&backend, &rounds, &bodies);
    let handle = engine.start(COUNT, &500).await.unwrap();
    drain(&engine).await;
    let renamed = builder(&backend)
        .register(COUNT, async |cx: Cx, _| {
            let first = cx.step("first", async || Ok::<_, String>(1_u64)).await?;
            cx.repeat("sheet", first, async |cx, n| {
                cx.signal::<()>("go").await?;
                Ok(ControlFlow::Break(n))
            })
            .await
        })
        .build()
        .unwrap();
    handle.resume().await.unwrap();
    drain(&renamed).await;
    let failure = row(&backend, handle.id()).await.error.unwrap();
    assert_eq!(failure.code, "NON_DETERMINISM");
    assert!(failure.message.contains("`page") && failure.message.contains("`sheet[0]/go`"), "{failure}");
}

//! Several things at once: join, map, sagas, and what is durable when.

use mainspring_core::ExecutionStatus;
use mainspring_engine::{Cx, Either, ResultError, Workflow, WorkflowResult};

use super::{Counter, journal, repeat_messages, result, row, secs};
use crate::{backend, builder, drain};

const FAN: Workflow<usize, Vec<usize>, String> = Workflow::new("fan");

#[tokio::test(start_paused = true)]
async fn a_step_is_not_put_off_by_a_sleep_beside_it() {
    let backend = backend();
    let engine = builder(&backend)
        .register(FAN, async |cx: Cx, steps: usize| {
            let steps = async {
                let mut sum = Vec::new();
                for n in 0..steps {
                    sum.push(cx.step("one", async || Ok::<_, String>(n)).await?);
                }
                WorkflowResult::<_, String>::Ok(sum)
            };
            match cx.race(Box::pin(steps), cx.sleep(secs(3_600))).await {
                Either::Left(sum) => sum,
                Either::Right(()) => Ok(Vec::new()),
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(FAN, &3).await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_and_ten_steps_run_once_each_in_few_commits() {
    // W14, W18: the messages come again, and one drive takes all the steps
    let backend = backend();
    let (drives, bodies) = (Counter::default(), Counter::default());
    let theirs = (drives.clone(), bodies.clone());
    let engine = builder(&backend)
        .register(FAN, move |cx: Cx, window: usize| {
            let (drives, bodies) = theirs.clone();
            async move {
                drives.up();
                let items: Vec<usize> = (0..110).collect();
                let pack = async |cx: Cx, item: &usize| {
                    let pack = async || {
                        bodies.up();
                        Ok::<_, String>(item * 2)
                    };
                    let packed = cx.step("pack", pack).await?;
                    let ship = async || {
                        bodies.up();
                        Ok::<_, String>(packed + 1)
                    };
                    Ok(cx.step("ship", ship).await?)
                };
                cx.map("item", &items, pack).concurrency(window).await
            }
        })
        .build()
        .unwrap();
    for (window, most) in [(1_000, 4), (16, 20)] {
        let handle = engine.start(FAN, &window).await.unwrap();
        repeat_messages(&backend, "default").await;
        engine.nudge(handle.id()).await.unwrap();
        assert_eq!(drain(&engine).await, 3);
        engine.nudge(handle.id()).await.unwrap();
        drain(&engine).await;
        let done = row(&backend, handle.id()).await;
        assert_eq!(result(&handle).await.unwrap(), (0..110).map(|n| n * 2 + 1).collect::<Vec<_>>());
        assert_eq!(done.step_count, 220);
        assert!(done.revision <= most, "{} commits", done.revision);
        let recorded = journal(&backend, handle.id()).await;
        assert!(recorded.contains(&"step.completed item[109]/ship".to_owned()));
    }
    assert_eq!((drives.get(), bodies.get()), (2, 440));
}

const BRANCHES: Workflow<(), String, String> = Workflow::new("branches");

#[tokio::test(start_paused = true)]
async fn branches_of_any_shape_replay_as_they_ran() {
    let backend = backend();
    let bodies = Counter::default();
    let theirs = bodies.clone();
    let engine = builder(&backend)
        .register(BRANCHES, move |cx: Cx, ()| {
            let bodies = theirs.clone();
            async move {
                // Both branches make steps of the same names in the same scope: who makes them first is up to the bodies.
                let branch = async |name: &'static str, pause: u64| {
                    let mut text = String::new();
                    for _ in 0..3 {
                        let body = async || {
                            bodies.up();
                            tokio::time::sleep(secs(pause)).await;
                            Ok::<_, String>(name.to_owned())
                        };
                        text += &cx.step("work", body).await?;
                    }
                    WorkflowResult::<_, String>::Ok(text)
                };
                let (slow, fast) = futures_util::join!(branch("s", 5), branch("f", 2));
                cx.sleep(secs(60)).await;
                Ok(slow? + &fast?)
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(BRANCHES, &()).await.unwrap();
    drain(&engine).await;
    assert_eq!((row(&backend, handle.id()).await.error, bodies.get()), (None, 6));
    backend.advance(secs(60));
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), "sssfff");
    assert_eq!(bodies.get(), 6);
}

const TRIP: Workflow<u32, String, String> = Workflow::new("trip");

#[tokio::test(start_paused = true)]
async fn a_saga_undoes_what_was_done_in_reverse_order() {
    let backend = backend();
    let flaky = Counter::default();
    let theirs = flaky.clone();
    let engine =
        builder(&backend)
            .register(TRIP, move |cx: Cx, budget: u32| {
                let flaky = theirs.clone();
                async move {
                    let flaky = &flaky;
                    let mut saga = cx.saga();
                    let flight = cx.step("flight", async || Ok::<_, String>("LX 38".to_owned())).await?;
                    saga.undo("cancel-flight", flight, async |flight: String| Ok(flight.len()));
                    cx.step("hotel", async || Ok::<_, String>(())).await?;
                    let undo = async |()| if flaky.up() < 2 { Err("busy".to_owned()) } else { Ok(()) };
                    saga.undo("cancel-hotel", (), undo);
                    cx.sleep(secs(1)).await;
                    let paid = cx.step("pay", async || {
                        if budget > 9 { Ok("paid".to_owned()) } else { Err("poor".to_owned()) }
                    });
                    let paid = paid.await.map_err(Into::into);
                    saga.end(paid).await
                }
            })
            .build()
            .unwrap();
    let rich = engine.start(TRIP, &10).await.unwrap();
    let poor = engine.start(TRIP, &1).await.unwrap();
    drain(&engine).await;
    backend.advance(secs(1));
    drain(&engine).await;
    assert_eq!(result(&rich).await.unwrap(), "paid");
    assert!(matches!(result(&poor).await, Err(ResultError::App(text)) if text == "poor"));
    let undone: Vec<String> = journal(&backend, poor.id()).await.into_iter().skip(5).collect();
    let expected = ["step.retry cancel-hotel", "step.completed cancel-hotel", "step.completed cancel-flight"];
    assert_eq!(undone, expected);
    assert_eq!(row(&backend, rich.id()).await.step_count, 4);
}

const LONG: Workflow<u32, u32, String> = Workflow::new("long");

#[tokio::test(start_paused = true)]
async fn a_thousand_steps_cost_a_commit_each_and_no_read() {
    let backend = backend();
    let engine = builder(&backend)
        .register(LONG, async |cx: Cx, steps: u32| {
            let mut sum = 0;
            for n in 0..steps {
                sum += cx.step("add", async || Ok::<_, String>(n)).await?;
            }
            cx.set_status("almost done");
            cx.sleep(secs(1)).await;
            Ok(sum)
        })
        .build()
        .unwrap();
    let handle = engine.start(LONG, &1_000).await.unwrap();
    drain(&engine).await;
    let parked = row(&backend, handle.id()).await;
    assert_eq!((parked.status, parked.step_count), (ExecutionStatus::Waiting, 1_000));
    assert_eq!(parked.revision, 1_001); // created, 999 steps, and the last one with the park
    assert_eq!(handle.custom_status().await.unwrap(), "almost done");
    backend.advance(secs(1));
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), 499_500);
}

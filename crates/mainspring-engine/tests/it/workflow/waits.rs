//! Sleeping, signals, hooks, children.

use mainspring_core::{ExecutionId, ExecutionStatus, TokenSecret};
use mainspring_engine::{Cx, Either, ResultError, StepError, Workflow, WorkflowResult};
use serde_json::{Value, json};

use super::{Counter, journal, result, row, secs, status};
use crate::{backend, builder, drain};

const NAP: Workflow<(), u32, String> = Workflow::new("nap");

#[tokio::test(start_paused = true)]
async fn a_sleep_of_thirty_days_takes_two_drives_and_survives_everything() {
    // W19
    let backend = backend();
    let (drives, bodies) = (Counter::default(), Counter::default());
    let register = || {
        let (drives, bodies) = (drives.clone(), bodies.clone());
        builder(&backend)
            .register(NAP, move |cx: Cx, ()| {
                let (drives, bodies) = (drives.clone(), bodies.clone());
                async move {
                    drives.up();
                    let first = cx.step("before", async || Ok::<_, String>(bodies.up())).await?;
                    cx.sleep(secs(30 * 24 * 3600)).await;
                    let second = cx.step("after", async || Ok::<_, String>(bodies.up())).await?;
                    Ok(first * 10 + second)
                }
            })
            .build()
            .unwrap()
    };
    let engine = register();
    let handle = engine.start(NAP, &()).await.unwrap();
    drain(&engine).await;
    let parked = row(&backend, handle.id()).await;
    assert_eq!((parked.status, parked.revision), (ExecutionStatus::Waiting, 2));
    assert!(parked.wait_reason.is_some_and(|reason| reason.starts_with("`sleep` until")));
    backend.advance(secs(30 * 24 * 3600 - 1));
    drain(&engine).await;
    assert_eq!((status(&backend, handle.id()).await, drives.get()), (ExecutionStatus::Waiting, 1));
    drop(engine); // another process, after a deploy
    let engine = register();
    backend.advance(secs(1));
    drain(&engine).await;
    assert_eq!(result(&engine.workflow(NAP, handle.id().clone())).await.unwrap(), 12);
    assert_eq!((drives.get(), bodies.get()), (2, 2));
    let expected =
        ["step.completed before", "step.waiting sleep", "step.completed sleep", "step.completed after"];
    assert_eq!(journal(&backend, handle.id()).await, expected);
}

const LISTEN: Workflow<u32, Vec<String>, String> = Workflow::new("listen");

async fn listen(cx: Cx, wanted: u32) -> WorkflowResult<Vec<String>, String> {
    let mut heard = Vec::new();
    for _ in 0..wanted {
        heard.push(cx.signal::<String>("word").await?);
        let last = heard.last().cloned().unwrap_or_default();
        cx.step("note", async || Ok::<_, String>(last.clone())).await?;
    }
    Ok(heard)
}

#[tokio::test(start_paused = true)]
async fn signals_come_early_late_twice_and_in_order() {
    // fault F55
    let backend = backend();
    let engine = builder(&backend).register(LISTEN, listen).build().unwrap();
    let id = ExecutionId::new("listener").unwrap();
    engine.signal(&id, "word", &"one").id("1").await.unwrap(); // before it exists
    engine.signal(&id, "word", &"one").id("1").await.unwrap(); // twice
    drain(&engine).await;
    let handle = engine.start(LISTEN, &3).id("listener").await.unwrap();
    handle.signal("word", &"two").await.unwrap(); // before it waits
    handle.signal("other", &"nobody asks").await.unwrap();
    drain(&engine).await;
    assert_eq!(status(&backend, &id).await, ExecutionStatus::Waiting);
    assert_eq!(row(&backend, &id).await.wait_reason.unwrap(), "`word#3` for signal `word`");
    handle.signal("word", &"three").await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), ["one", "two", "three"]);
    assert!(handle.signal("word", &"four").await.unwrap_err().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_another_type_is_the_waiters_failure() {
    let backend = backend();
    let engine = builder(&backend).register(LISTEN, listen).build().unwrap();
    let handle = engine.start(LISTEN, &1).await.unwrap();
    handle.signal("word", &json!({"not": "a text"})).await.unwrap();
    drain(&engine).await;
    assert!(matches!(result(&handle).await, Err(ResultError::Failed(failure)) if failure.code == "PAYLOAD"));
}

const APPROVE: Workflow<bool, Vec<Value>, String> = Workflow::new("approve");

#[tokio::test(start_paused = true)]
async fn a_hook_is_resumed_by_its_token() {
    // W15
    let backend = backend();
    let mails = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let sent = std::sync::Arc::clone(&mails);
    let engine = builder(&backend)
        .register(APPROVE, move |cx: Cx, many: bool| {
            let sent = std::sync::Arc::clone(&sent);
            async move {
                let hook = cx.hook::<Value>("approval");
                let hook = if many { hook.many() } else { hook };
                cx.step("mail", async || {
                    let token = hook.token().await.map_err(|error| error.to_string())?;
                    sent.lock().unwrap().push(token.reveal());
                    Ok::<_, String>(())
                })
                .await?;
                let mut payloads = vec![hook.next().await?];
                if many {
                    payloads.push(hook.next().await?);
                }
                Ok(payloads)
            }
        })
        .build()
        .unwrap();
    for many in [false, true] {
        let handle = engine.start(APPROVE, &many).await.unwrap();
        drain(&engine).await;
        let token: TokenSecret = mails.lock().unwrap().pop().unwrap().parse().unwrap();
        engine.resume(&token, json!("first")).await.unwrap();
        if many {
            engine.resume(&token, json!("second")).await.unwrap();
        } else {
            assert!(engine.resume(&token, json!("again")).await.unwrap_err().is_conflict());
        }
        drain(&engine).await;
        let expected = if many { vec![json!("first"), json!("second")] } else { vec![json!("first")] };
        assert_eq!(result(&handle).await.unwrap(), expected);
        assert!(engine.resume(&token, json!("late")).await.unwrap_err().is_conflict());
    }
}

const PARENT: Workflow<u32, u32, String> = Workflow::new("parent");
const CHILD: Workflow<u32, u32, String> = Workflow::new("child");

#[tokio::test(start_paused = true)]
async fn children_answer_their_parent() {
    let backend = backend();
    let engine = builder(&backend)
        .register(PARENT, async |cx: Cx, n: u32| {
            let (a, b) = cx.join(cx.child(CHILD, &n), cx.child(CHILD, &(n + 1))).await;
            let odd = match cx.child(CHILD, &0).await {
                Err(StepError::App(text)) => text.len() as u32,
                other => panic!("{other:?}"),
            };
            let detached = cx.child(CHILD, &99).detach().await;
            assert!(detached.as_str().starts_with("exec_"));
            Ok(a? + b? + odd)
        })
        .register(CHILD, async |cx: Cx, n: u32| {
            cx.sleep(secs(u64::from(n))).await;
            if n == 0 { mainspring_engine::fail("none".to_owned()) } else { Ok(n * 10) }
        })
        .build()
        .unwrap();
    let handle = engine.start(PARENT, &3).await.unwrap();
    for _ in 0..8 {
        drain(&engine).await;
        backend.advance(secs(1));
    }
    assert_eq!(result(&handle).await.unwrap(), 30 + 40 + 4);
    let done = row(&backend, handle.id()).await;
    let children = mainspring_core::Backend::executions(&backend).find_children(&done.id).await.unwrap();
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|child| child.root == done.id));
}

const RACE: Workflow<(), String, String> = Workflow::new("race");

#[tokio::test(start_paused = true)]
async fn a_race_has_one_winner_for_ever() {
    let backend = backend();
    let engine = builder(&backend)
        .register(RACE, async |cx: Cx, ()| {
            let first = match cx.race(cx.signal::<String>("paid"), cx.sleep(secs(60))).await {
                Either::Left(word) => word?,
                Either::Right(()) => "late".to_owned(),
            };
            // Both are ready when this is replayed: the history knows who was first.
            cx.sleep(secs(60)).await;
            Ok(first)
        })
        .build()
        .unwrap();
    let late = engine.start(RACE, &()).await.unwrap();
    let paid = engine.start(RACE, &()).await.unwrap();
    drain(&engine).await;
    paid.signal("paid", &"paid").await.unwrap();
    drain(&engine).await;
    backend.advance(secs(60));
    drain(&engine).await;
    late.signal("paid", &"too late").await.unwrap();
    for _ in 0..3 {
        drain(&engine).await;
        backend.advance(secs(60));
    }
    assert_eq!(result(&late).await.unwrap(), "late");
    assert_eq!(result(&paid).await.unwrap(), "paid");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_parked_workflow_and_its_children() {
    // fault F54
    let backend = backend();
    let engine = builder(&backend)
        .register(PARENT, async |cx: Cx, n: u32| Ok(cx.child(CHILD, &n).await?))
        .register(CHILD, async |cx: Cx, n: u32| {
            cx.sleep(secs(3600)).await;
            Ok(n)
        })
        .build()
        .unwrap();
    let handle = engine.start(PARENT, &3).await.unwrap();
    drain(&engine).await;
    let cancelled = handle.cancel("no longer wanted").await.unwrap();
    assert_eq!((cancelled.cancelled, cancelled.children_cancelled), (true, 1));
    drain(&engine).await;
    assert!(
        matches!(result(&handle).await, Err(ResultError::Cancelled(Some(record))) if record.reason.is_some())
    );
}

//! Search attributes, retention, results that are told, foreign awaits, and replays of exported histories.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Backend, ExecutionFilter, ExecutionId, ExecutionStatus, Timestamp,
    event::{EXECUTIONS, STREAMS},
};
use mainspring_engine::{Cx, Engine, ExportedHistory, Replay, Workflow, WorkflowResult};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Counter, result, row, secs, status};
use crate::{backend, builder, drain};

const ORDER: Workflow<u32, Value, String> = Workflow::new("order");

async fn order(cx: Cx, total: u32) -> WorkflowResult<Value, String> {
    cx.set_attribute("stage", "new");
    cx.set_status("checking");
    cx.step("check", async || Ok::<_, String>(total)).await?;
    cx.set_attribute("stage", "paid");
    cx.set_attribute("lines", 3);
    cx.set_event("total", total);
    cx.sleep(secs(60)).await;
    cx.set_attribute("stage", "done");
    Ok(json!(total))
}

#[tokio::test(start_paused = true)]
async fn executions_are_found_by_what_they_say_of_themselves() {
    // X7
    let backend = backend();
    let engine = builder(&backend).register(ORDER, order).build().unwrap();
    let mut handles = Vec::new();
    for total in [1, 2] {
        handles.push(engine.start(ORDER, &total).attribute("total", i64::from(total)).await.unwrap());
    }
    let found = async |filter: ExecutionFilter| backend.executions().list(filter).await.unwrap();
    let by = ExecutionFilter::default;
    assert_eq!(found(by().with("total", 2)).await[0].id, *handles[1].id());
    drain(&engine).await;
    assert_eq!(found(by().with("stage", "paid").with("lines", 3)).await.len(), 2);
    assert_eq!(found(by().with("stage", "new")).await.len(), 0);
    assert_eq!(found(ORDER.executions()).await.len(), 2);
    assert_eq!(found(ORDER.version("2").executions()).await.len(), 0);
    assert_eq!(handles[0].custom_status().await.unwrap(), "checking");
    assert_eq!(handles[0].event("total").await.unwrap(), Some(json!(1)));
    let before = row(&backend, handles[0].id()).await.revision;
    backend.advance(secs(60));
    drain(&engine).await;
    assert_eq!(found(by().with("stage", "done")).await.len(), 2);
    assert_eq!(row(&backend, handles[0].id()).await.revision, before + 1, "a replay sets nothing anew");
    let bad = engine.start(ORDER, &1).attribute("a", f64::NAN).await;
    assert!(bad.unwrap_err().is_invalid());
}

#[tokio::test(start_paused = true)]
async fn what_is_long_over_is_removed_with_all_that_belongs_to_it() {
    let backend = backend();
    let engine = builder(&backend).register(ORDER, order).retention("order", secs(3_600)).build().unwrap();
    let handle = engine.start(ORDER, &1).await.unwrap();
    drain(&engine).await;
    handle.signal("nobody asks", &1).await.unwrap();
    backend.advance(secs(60));
    drain(&engine).await;
    let waiting = engine.start(ORDER, &2).await.unwrap();
    backend.advance(secs(3_600));
    drain(&engine).await;
    assert_eq!(status(&backend, handle.id()).await, ExecutionStatus::Completed, "not longer than an hour");
    backend.advance(secs(1));
    drain(&engine).await;
    assert!(backend.executions().get(handle.id()).await.unwrap().is_none());
    for (name, partition) in [("execution", EXECUTIONS), ("inbox", STREAMS)] {
        let stream = format!("{name}-{}", handle.id());
        let events = backend.events().read_stream(partition, "", &stream, 1, 10).await.unwrap();
        assert_eq!(events.len(), 0, "{name}");
    }
    assert!(backend.executions().get(waiting.id()).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_result_is_told_and_not_looked_for() {
    // W37
    const ECHO: Workflow<Value, Value, String> = Workflow::new("echo");
    let backend = backend();
    let engine = builder(&backend)
        .register(ECHO, async |cx: Cx, value: Value| {
            cx.signal::<()>("go").await?;
            Ok(value)
        })
        .build()
        .unwrap();
    for value in [json!(0), json!(""), json!(null), json!(false), json!(1.5), json!([1, {"a": [null]}])] {
        let handle = engine.start(ECHO, &value).await.unwrap();
        drain(&engine).await;
        let waiting = tokio::spawn({
            let handle = handle.clone();
            async move { handle.result().await.unwrap() }
        });
        tokio::time::sleep(secs(60)).await; // by now it looks once a second
        handle.signal("go", &()).await.unwrap();
        let before = tokio::time::Instant::now();
        drain(&engine).await;
        assert_eq!(waiting.await.unwrap(), value);
        assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_another_process_brings_is_found() {
    let backend = backend();
    let here = builder(&backend).build().unwrap();
    let there = builder(&backend).register(ORDER, order).build().unwrap();
    let handle = here.start(ORDER, &5).await.unwrap();
    let worker = there.worker().start().unwrap();
    let moving = async {
        loop {
            tokio::time::sleep(secs(1)).await;
            backend.advance(secs(30));
        }
    };
    let value = tokio::select! {
        value = handle.result() => value.unwrap(),
        () = moving => Value::Null,
    };
    assert_eq!(value, 5);
    worker.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_result_that_a_worker_elsewhere_brings_is_told() {
    const WAIT: Workflow<u32, u32, String> = Workflow::new("wait");
    let backend = backend();
    let here = builder(&backend).build().unwrap();
    let there = builder(&backend)
        .register(WAIT, async |cx: Cx, n: u32| {
            cx.signal::<()>("go").await?;
            Ok(n)
        })
        .build()
        .unwrap();
    let handle = here.start(WAIT, &5).await.unwrap();
    let mut waiting = Box::pin(handle.result());
    assert!(tokio::time::timeout(secs(60), waiting.as_mut()).await.is_err()); // by now it looks once a second
    handle.signal("go", &()).await.unwrap();
    drain(&there).await;
    let before = tokio::time::Instant::now();
    assert_eq!(waiting.await.unwrap(), 5);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn code_that_awaits_what_is_not_recorded_is_named() {
    let backend = backend();
    let (never, mended) = (Arc::new(Notify::new()), Counter::default());
    let (bell, fixed) = (Arc::clone(&never), mended.clone());
    let engine = builder(&backend)
        .detect_foreign_awaits()
        .register(ORDER, move |cx: Cx, total: u32| {
            let (bell, fixed) = (Arc::clone(&bell), fixed.clone());
            async move {
                cx.step("check", async || Ok::<_, String>(total)).await?;
                tokio::task::yield_now().await; // which is none: it goes on by itself
                if fixed.get() == 0 {
                    bell.notified().await;
                }
                cx.map("each", &[1; 100], async |cx, n| {
                    Ok(cx.step("one", async || Ok::<_, String>(*n)).await?)
                })
                .await?;
                Ok(json!(total))
            }
        })
        .build()
        .unwrap();
    let handle = engine.start(ORDER, &5).await.unwrap();
    drain(&engine).await;
    let parked = row(&backend, handle.id()).await;
    assert_eq!((parked.status, parked.step_count), (ExecutionStatus::Waiting, 1));
    let failure = parked.error.unwrap();
    assert_eq!((failure.code.as_str(), &failure.details), ("FOREIGN_AWAIT", &json!({"after": "check"})));
    assert!(failure.message.contains("after step `check`"), "{failure}");
    mended.up();
    handle.resume().await.unwrap();
    drain(&engine).await;
    assert_eq!(result(&handle).await.unwrap(), 5);
}

/// An engine whose `order` is as the names say, one step after the other; `#` is a sleep.
fn with_steps(names: &'static [&'static str]) -> Engine {
    let run = move |cx: Cx, total: u32| async move {
        for name in names {
            match *name {
                "#" => cx.sleep(secs(60)).await,
                name => {
                    cx.step(name, async || Ok::<_, String>(total)).await?;
                }
            }
        }
        Ok(json!(names.len()))
    };
    builder(&backend()).register(ORDER, run).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_exported_history_is_replayed_against_other_code() {
    // W13
    let backend = backend();
    let names: &'static [&'static str] = &["a", "#", "b"];
    let engine = {
        let run = move |cx: Cx, total: u32| async move {
            cx.step("a", async || Ok::<_, String>(total)).await?;
            cx.sleep(secs(60)).await;
            cx.step("b", async || Ok::<_, String>(total)).await?;
            Ok(json!(names.len()))
        };
        builder(&backend).register(ORDER, run).build().unwrap()
    };
    let handle = engine.start(ORDER, &1).await.unwrap();
    drain(&engine).await;
    let parked = engine.export(handle.id()).await.unwrap();
    backend.advance(secs(60));
    drain(&engine).await;
    let over = engine.export(handle.id()).await.unwrap();
    let text = over.to_string();
    assert_eq!(text.lines().count(), over.events.len() + 1);
    assert_eq!(text.parse::<ExportedHistory>().unwrap(), over);
    assert!("".parse::<ExportedHistory>().unwrap_err().is_invalid());
    assert!(text.replace("step.waiting", "\"").parse::<ExportedHistory>().unwrap_err().is_invalid());

    let drifted = |expected: &str, got: &str| Replay::Drifted { expected: expected.into(), got: got.into() };
    let inserted = |step: &str, before: &str| Replay::Inserted { step: step.into(), before: before.into() };
    let differs = Replay::Differs { recorded: json!({"output": 3}), returned: json!({"output": 2}) };
    for (steps, of_parked, of_over) in [
        (names, Replay::Fits, Replay::Fits),
        (&["b", "#", "a"], inserted("b", "a"), drifted("a", "b")),
        (&["a", "#"], Replay::Fits, drifted("b", "the end")),
        (&["a", "#", "b", "c"], Replay::Fits, drifted("the end", "c")),
        (&["a", "x", "#", "b"], drifted("sleep", "x"), inserted("x", "sleep")),
        (&["#", "b"], drifted("a", "sleep"), drifted("a", "sleep")),
    ] {
        let other = with_steps(steps);
        assert_eq!(other.verify_replay(&parked).await.unwrap(), of_parked, "{steps:?}, parked");
        assert_eq!(other.verify_replay(&over).await.unwrap(), of_over, "{steps:?}, over");
    }
    let shorter = {
        let run = |cx: Cx, total: u32| async move {
            cx.step("a", async || Ok::<_, String>(total)).await?;
            cx.sleep(secs(60)).await;
            cx.step("b", async || Ok::<_, String>(total)).await?;
            Ok(json!(2))
        };
        builder(&crate::backend()).register(ORDER, run).build().unwrap()
    };
    assert_eq!(shorter.verify_replay(&over).await.unwrap(), differs);
    let none = builder(&crate::backend()).build().unwrap();
    assert!(none.verify_replay(&over).await.unwrap_err().is_not_found());
    assert!(engine.export(&ExecutionId::new("nobody").unwrap()).await.unwrap_err().is_not_found());
    assert!(over.execution.created_at > Timestamp::MIN);
}

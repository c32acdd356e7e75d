//! How a step may end badly: panics of every kind, and results and errors that cannot be stored.

use std::{collections::HashMap, panic::panic_any, time::Duration};

use mainspring_core::{ExecutionStatus, flow::RetryPolicy};
use mainspring_engine::{
    Cx, EngineBuilder, ResultError, Step, StepError, Workflow, WorkflowError, WorkflowResult, fail,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Counter, result, row, secs};
use crate::{backend, builder, drain};

const ODD: Workflow<String, String, String> = Workflow::new("odd");

/// Panics when it is dropped, and not a second time.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in drop");
        }
    }
}

/// What a step was given up for: its code, its message, and how often it ran.
async fn given_up<'s, T, E>(step: Step<'s, T, E>, runs: &Counter) -> WorkflowResult<String, String>
where
    T: Serialize + DeserializeOwned + Send + 's,
    E: Serialize + DeserializeOwned + Send + 's,
{
    let policy = RetryPolicy { max_attempts: 3, backoff: Duration::from_millis(1), ..RetryPolicy::default() };
    match step.retry(policy).timeout(secs(1)).await {
        Err(StepError::Halted(halt)) => {
            let failure = halt.failure();
            assert!(failure.message.len() <= 8 * 1024, "{} bytes", failure.message.len());
            let place = failure.details["location"].as_str().is_some_and(|place| place.contains("ends.rs:"));
            Ok(format!("{} {} {place}", failure.code, runs.get()))
        }
        Err(StepError::App(_)) => Err(WorkflowError::App("an error of its own".to_owned())),
        Ok(_) => Err(WorkflowError::App("it went well".to_owned())),
    }
}

async fn odd(cx: Cx, what: String, runs: Counter) -> WorkflowResult<String, String> {
    let text = |text: String| Ok::<Value, Value>(json!(text));
    let body = async || {
        runs.up();
        match what.as_str() {
            "slow" => std::future::pending().await,
            "slow with a bomb" => {
                let _bomb = Bomb;
                std::future::pending().await
            }
            "a str" => panic!("a str"),
            "a String" => panic!("a {}", "String"),
            "no text" => panic_any(7),
            "in drop" => {
                let _bomb = Bomb;
                text("done".to_owned())
            }
            "in a task" => {
                tokio::spawn(async { panic!("elsewhere") }).await.unwrap();
                text(String::new())
            }
            "large" => text("x".repeat(2_000_000)),
            "nul" => text("a\0b".to_owned()),
            "deep" => Ok((0..70).fold(json!(1), |inner, _| json!([inner]))),
            _ => Err(json!("é".repeat(1_000_000))),
        }
    };
    match what.as_str() {
        "NaN" => {
            let nan = async || {
                runs.up();
                Ok::<f64, String>(f64::NAN)
            };
            given_up(cx.step("odd", nan), &runs).await
        }
        "no JSON" => {
            let pairs = async || {
                runs.up();
                Ok::<_, String>(HashMap::from([((1, 2), 3)]))
            };
            given_up(cx.step("odd", pairs), &runs).await
        }
        _ => given_up(cx.step("odd", body), &runs).await,
    }
}

#[tokio::test(start_paused = true)]
async fn panics_are_tried_again_and_what_cannot_be_stored_is_not() {
    // faults F82, F84, F85: with where it panicked; a panic of a task is one where it is asked for
    let backend = backend();
    let runs = Counter::default();
    let theirs = runs.clone();
    let engine =
        builder(&backend).register(ODD, move |cx: Cx, what| odd(cx, what, theirs.clone())).build().unwrap();
    let mut before = 0;
    for (what, code, tried, place) in [
        ("slow", "TIMEOUT", 3, false),
        ("slow with a bomb", "TIMEOUT", 3, false),
        ("a str", "PANIC", 3, true),
        ("a String", "PANIC", 3, true),
        ("no text", "PANIC", 3, true),
        ("in drop", "PANIC", 3, true),
        ("in a task", "PANIC", 3, true),
        ("large", "UNSTORABLE", 1, false),
        ("nul", "UNSTORABLE", 1, false),
        ("deep", "UNSTORABLE", 1, false),
        ("NaN", "UNSTORABLE", 1, false),
        ("no JSON", "UNSTORABLE", 1, false),
        ("a large error", "UNSTORABLE", 3, false),
    ] {
        let handle = engine.start(ODD, &what.to_owned()).await.unwrap();
        drain(&engine).await;
        before += tried;
        assert_eq!(result(&handle).await.unwrap(), format!("{code} {before} {place}"), "{what}");
    }
}

const WHOLE: Workflow<u32, String, String> = Workflow::new("whole");

#[tokio::test(start_paused = true)]
async fn what_a_workflow_itself_returns_has_the_same_limits() {
    // fault F85
    let backend = backend();
    let engine = builder(&backend)
        .register(WHOLE, async |_: Cx, n: u32| match n {
            0 => Ok("x".repeat(2_000_000)),
            1 => fail("é".repeat(1_000_000)),
            2 => fail("é".repeat(100_000)),
            _ => Ok("fine".to_owned()),
        })
        .build()
        .unwrap();
    let mut handles = Vec::new();
    for n in 0..4 {
        handles.push(engine.start(WHOLE, &n).await.unwrap());
    }
    drain(&engine).await;
    for handle in &handles[..2] {
        let ended = result(handle).await;
        assert!(
            matches!(&ended, Err(ResultError::Failed(failure)) if failure.code == "UNSTORABLE"),
            "{ended:?}"
        );
    }
    let text = row(&backend, handles[2].id()).await.error.unwrap().message;
    assert!(!text.is_empty() && text.len() <= 8 * 1024);
    assert!(matches!(result(&handles[2]).await, Err(ResultError::App(whole)) if whole.len() == 200_000));
    assert_eq!(result(&handles[3]).await.unwrap(), "fine");
}

const HOLDS: Workflow<bool, u32, String> = Workflow::new("holds");

/// Holds a bomb while it is parked.
fn holding(builder: EngineBuilder) -> EngineBuilder {
    builder.register(HOLDS, async |cx: Cx, armed: bool| {
        let bomb = armed.then(|| Bomb);
        let word: u32 = cx.signal("word").await?;
        std::mem::forget(bomb);
        Ok(word)
    })
}

#[tokio::test(start_paused = true)]
async fn parked_code_that_panics_when_it_is_dropped_disturbs_nobody() {
    // fault F82: dropped because it was idle for long, because too many are kept, and because it was driven elsewhere
    let backend = backend();
    let engine = holding(builder(&backend).lease(secs(4)).keep_parked(secs(5), 2)).build().unwrap();
    let worker = engine.worker().start().unwrap();
    let mut handles = Vec::new();
    for n in 0..6 {
        handles.push(engine.start(HOLDS, &(n % 2 == 0)).await.unwrap());
    }
    tokio::time::sleep(secs(20)).await;
    let there = holding(builder(&backend)).build().unwrap();
    handles.push(engine.start(HOLDS, &true).await.unwrap());
    tokio::time::sleep(secs(1)).await;
    for handle in &handles {
        handle.signal("word", &7).await.unwrap();
    }
    drain(&there).await;
    while row(&backend, handles[6].id()).await.status != ExecutionStatus::Completed {
        tokio::time::sleep(secs(1)).await;
    }
    for handle in &handles {
        assert_eq!(result(handle).await.unwrap(), 7);
    }
    let late = engine.start(HOLDS, &false).await.unwrap();
    late.signal("word", &8).await.unwrap();
    while row(&backend, late.id()).await.status != ExecutionStatus::Completed {
        tokio::time::sleep(secs(1)).await;
    }
    worker.stop().await.unwrap();
}

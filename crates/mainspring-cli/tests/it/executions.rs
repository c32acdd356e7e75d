//! `mainspring executions`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use mainspring::{Engine, ExecutionId, Flow, Invocation, Outcome};
use serde_json::{Value, json};

use crate::ground::Ground;

/// A flow that waits for somebody, and one that needs nobody.
pub(crate) fn engine(ground: &Ground) -> Engine {
    let flow = |value| Flow::from_value(value).unwrap();
    let step = |kind: &str| json!({"id": "a", "type": kind, "input": {"type": "full"}, "outputKey": "out"});
    let of = |id: &str, kind: &str| {
        flow(json!({"id": id, "version": "1.0.0", "initialStepId": "a", "steps": {"a": step(kind)}}))
    };
    Engine::builder(ground.stores())
        .flow(of("copy", "transform"))
        .flow(of("park", "transform"))
        .build()
        .unwrap()
}

#[tokio::test]
async fn executions_are_listed_in_pages_and_shown() {
    let ground = Ground::new().await;
    let engine = engine(&ground);
    for n in 0..3 {
        engine.create("copy", json!({"secret": "canary"})).id(format!("c{n}")).run().await.unwrap();
    }
    engine.create("park", json!({})).id("p").await.unwrap();
    let list = |more: &[&str]| ground.json(&[&["executions", "list"], more].concat());
    let ids = |items: Vec<serde_json::Value>| -> Vec<String> {
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(list(&[]).items()), ["p", "c2", "c1", "c0"]);
    assert_eq!(ids(list(&["--status", "pending"]).items()), ["p"]);
    assert_eq!(list(&["--flow", "copy", "--count"]).json()["count"], 3);
    let first = list(&["--flow", "copy", "--limit", "2"]).json();
    let next = first["next"].as_str().unwrap();
    assert_eq!(ids(list(&["--flow", "copy", "--limit", "2", "--after", next]).items()), ["c0"]);
    ground.db.advance(std::time::Duration::from_secs(7_200)).await;
    engine.create("park", json!({})).id("late").await.unwrap();
    assert_eq!(ids(list(&["--since", "1h"]).items()), ["late"]);
    assert_eq!(list(&["--until", "1h", "--flow", "copy", "--count"]).json()["count"], 3);
    assert_eq!(list(&["--since", "2026-01-01T00:00:00Z", "--count"]).json()["count"], 5);
    list(&["--since", "yesterday"]).refused(2);
    list(&["--after", "nowhere"]).refused(2);
    list(&["--status", "ill"]).refused(2);

    let shown = ground.json(&["executions", "get", "c1"]).ok();
    assert!(!shown.out.contains("canary"), "{shown:?}");
    assert_eq!(shown.json()["status"], "completed");
    let data = ground.json(&["executions", "get", "c1", "--data"]).json();
    assert_eq!(data["context"]["secret"], "canary");
    let table = ground.run(&["executions", "list"]).ok();
    assert!(table.out.contains("completed") && !table.out.contains("canary"), "{table:?}");
    ground.run(&["executions", "get", "nobody"]).refused(4);
}

#[tokio::test]
async fn an_execution_of_a_flow_goes_on_where_it_failed() {
    let ground = Ground::new().await;
    let step = |kind: &str, next: Option<&str>| {
        json!({"id": kind, "type": kind, "input": {"type": "full"}, "outputKey": kind,
            "transitions": next.map_or(json!({}), |next| json!({"onSuccess": next}))})
    };
    let flow = json!({"id": "two", "version": "1.0.0", "initialStepId": "first",
        "steps": {"first": step("first", Some("second")), "second": step("second", None)}});
    let down = Arc::new(AtomicBool::new(true));
    let (tried, counted) = (Arc::new(AtomicU32::new(0)), Arc::clone(&down));
    let first = Arc::clone(&tried);
    let engine = Engine::builder(ground.stores())
        .handle_fn("first", move |_: Invocation, _: Value| {
            first.fetch_add(1, Ordering::SeqCst);
            async { Ok(Outcome::<Value>::success(json!(1))) }
        })
        .handle_fn("second", move |_: Invocation, _: Value| {
            let fails = counted.load(Ordering::SeqCst);
            async move {
                match fails {
                    true => Ok(Outcome::<Value>::failure("DOWN", "canary")),
                    false => Ok(Outcome::success(json!(2))),
                }
            }
        })
        .flow(Flow::from_value(flow).unwrap())
        .build()
        .unwrap();
    let failed = engine.create("two", json!({"a": 0})).id("x").run().await.unwrap();
    assert_eq!(failed.status.to_string(), "failed");
    down.store(false, Ordering::SeqCst);
    let executions = |more: &[&str]| ground.json(&[&["executions"], more].concat());
    assert_eq!(executions(&["retry", "x", "--dry-run"]).json()["count"], 1);
    assert_eq!(executions(&["retry", "x"]).json()["executions"], json!(["x-retry"]));
    assert_eq!(executions(&["retry", "x"]).json()["executions"], json!(["x-retry"]), "it was there");
    assert_eq!(executions(&["retry", "--flow", "two", "--yes"]).json()["skipped"], 1);
    engine.worker().drain().await.unwrap();
    let retried = engine.get(&ExecutionId::new("x-retry").unwrap()).await.unwrap().unwrap();
    assert_eq!((retried.status.to_string(), &retried.context["second"]), ("completed".into(), &json!(2)));
    assert_eq!(tried.load(Ordering::SeqCst), 1, "the first step was not repeated");
    executions(&["retry", "x-retry"]).refused(5);

    let fork = executions(&["fork", "x", "--before", "first", "--new-id", "y"]).json();
    assert_eq!(fork["execution"], "y");
    engine.worker().drain().await.unwrap();
    assert_eq!(tried.load(Ordering::SeqCst), 2);
    assert_eq!(executions(&["get", "y"]).json()["status"], "completed");
    executions(&["fork", "x", "--new-id", "y"]).refused(5);
    executions(&["fork", "x", "--before", "third"]).refused(2);
    executions(&["fork", "nobody"]).refused(4);
}

#[tokio::test]
async fn many_are_cancelled_when_somebody_said_so() {
    let ground = Ground::new().await;
    let engine = engine(&ground);
    for n in 0..3 {
        engine.create("park", json!({})).id(format!("p{n}")).await.unwrap();
    }
    engine.create("copy", json!({})).run().await.unwrap();
    let cancel = |more: &[&str]| ground.json(&[&["executions", "cancel"], more].concat());
    cancel(&[]).refused(2);
    cancel(&["nobody"]).refused(4);
    let dry = cancel(&["--all", "--dry-run"]).json();
    assert_eq!((&dry["count"], &dry["dry_run"]), (&json!(3), &json!(true)));
    assert!(cancel(&["--all"]).refused(7).contains("3 executions"));
    assert_eq!(cancel(&["p1", "--reason", "no more"]).json()["cancelled"], 1);
    assert_eq!(cancel(&["p1"]).json()["skipped"], 1);
    assert_eq!(cancel(&["--flow", "park", "--yes"]).json()["cancelled"], 2);
    let execution = engine.get(&ExecutionId::new("p1").unwrap()).await.unwrap().unwrap();
    assert_eq!(execution.cancellation.unwrap().reason.as_deref(), Some("no more"));
}

//! `mainspring executions`.

use mainspring::{Engine, ExecutionId, Flow};
use serde_json::json;

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

//! `mainspring events`, `consumers` and `streams`.

use bytes::Bytes;
use mainspring::{Backend, ExecutionId, OutputStream, projector_fn};
use serde_json::{Value, json};

use crate::{executions::engine, ground::Ground};

#[tokio::test]
async fn events_are_appended_read_and_followed() {
    let ground = Ground::new().await;
    let events = |arguments: &[&str]| ground.json(&[&["events"], arguments].concat());
    let append = |expect: &str| {
        events(&["append", "cart-1", "Added", "--data", r#"{"item":"canary"}"#, "--expect", expect])
    };
    assert_eq!(append("none").json()["position"], 1);
    assert_eq!(append("1").json()["position"], 2);
    append("1").refused(5);
    append("soon").refused(2);
    let read = events(&["read", "cart-1"]).ok();
    assert!(!read.out.contains("canary"), "{read:?}");
    assert_eq!(read.items().len(), 2);
    let first = events(&["read", "cart-1", "--limit", "1"]).json();
    assert_eq!(
        events(&["read", "cart-1", "--from", first["next"].as_str().unwrap()]).items()[0]["position"],
        2
    );
    assert_eq!(events(&["read", "cart-1", "--backward", "--limit", "1"]).items()[0]["position"], 2);
    events(&["read", "cart-2"]).refused(4);

    let tail =
        ground.run(&["events", "tail", "--no-follow", "--type", "Added", "--data", "-o", "jsonl"]).ok().out;
    let told: Vec<Value> = tail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((told.len(), &told[1]["data"]["item"]), (2, &json!("canary")));
    assert_eq!(ground.run(&["events", "tail", "--from", "0", "--count", "1"]).ok().out.lines().count(), 1);
    events(&["tail", "--timeout", "200ms"]).refused(6);
}

#[tokio::test]
async fn consumers_are_listed_measured_and_reset() {
    let ground = Ground::new().await;
    let consumers = |arguments: &[&str]| ground.json(&[&["consumers"], arguments].concat());
    ground.run(&["events", "append", "cart-1", "Added"]).ok();
    let nothing = projector_fn(async |_, _| Ok(()));
    ground.stores().consumer("shop").projector("totals", nothing).run_to_end().await.unwrap();
    assert_eq!(consumers(&["list"]).items()[0]["name"], "totals");
    let other = projector_fn(async |_, _| Ok(()));
    ground.stores().consumer("shop").projector("zeros", other).run_to_end().await.unwrap();
    let next = consumers(&["list", "--limit", "1"]).json()["next"].as_str().unwrap().to_owned();
    assert_eq!(consumers(&["list", "--after", &next]).items()[0]["name"], "zeros");
    consumers(&["list", "--after", "nowhere"]).refused(2);
    consumers(&["lag", "totals", "--most", "0"]).ok();
    ground.run(&["events", "append", "cart-1", "Added"]).ok();
    let late = consumers(&["lag", "--most", "0"]);
    assert_eq!(late.code, 1, "{late:?}");
    assert!(consumers(&["reset", "totals", "--position", "0"]).refused(7).contains("1 processors"));
    assert_eq!(consumers(&["reset", "totals", "--position", "0", "--yes"]).json()["reset"], 1);
    assert_eq!(consumers(&["list", "totals"]).items()[0]["position"], 0);
    assert_eq!(consumers(&["parked", "totals"]).items(), Vec::<Value>::new());
    assert_eq!(consumers(&["redrive", "totals"]).json()["redriven"], 0);
    for arguments in [&["list", "none"][..], &["lag", "none"], &["parked", "none"], &["redrive", "none"]] {
        consumers(arguments).refused(4);
    }
}

#[tokio::test]
async fn output_streams_are_listed_and_read() {
    let ground = Ground::new().await;
    let execution = engine(&ground).create("copy", json!({})).id("x").run().await.unwrap().id;
    let stream = OutputStream::of(&execution, "letters");
    let stores = ground.stores();
    stores.outputs().write_many(&stream, ["a\n", "b\n"].map(Bytes::from).to_vec()).await.unwrap();
    let streams = |arguments: &[&str]| ground.json(&[&["streams"], arguments].concat());
    assert_eq!(streams(&["list", "--execution", "x"]).items()[0]["name"], "letters");
    stores.outputs().write(&OutputStream::of(&execution, "lines"), Bytes::from("c")).await.unwrap();
    let first = streams(&["list", "--execution", "x", "--limit", "1"]).json();
    assert_eq!((first["items"].as_array().unwrap().len(), &first["next"]), (1, &json!("letters")));
    assert_eq!(streams(&["list", "--execution", "x", "--after", "letters"]).items()[0]["name"], "lines");
    let read =
        |more: &[&str]| ground.run(&[&["streams", "read", "letters", "--execution", "x"], more].concat());
    assert_eq!(read(&["--no-follow"]).ok().out, "a\nb\n");
    assert_eq!(read(&["--no-follow", "--from", "-1"]).ok().out, "b\n");
    assert_eq!(read(&["--timeout", "300ms"]).code, 6);
    stores.outputs().close(&stream).await.unwrap();
    assert_eq!(read(&[]).ok().out, "a\nb\n");
    let stands = streams(&["get", "letters", "--execution", "x"]).json();
    assert_eq!((&stands["chunks"], &stands["closed"]), (&json!(2), &json!(true)));
    streams(&["get", "none"]).refused(4);
    streams(&["delete", "letters", "--execution", "x"]).refused(7);
    assert_eq!(streams(&["delete", "letters", "--execution", "x", "--yes"]).json()["deleted"], true);
    streams(&["delete", "letters", "--execution", "x", "--yes"]).refused(4);
    assert!(ExecutionId::new("").is_err());
    streams(&["list", "--execution", ""]).refused(2);
}

//! `mainspring start`, `worker` and `dev`.

use mainspring::{Cx, Engine, Workflow, WorkflowResult};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{background::Background, flows::flow, ground::Ground};

fn with_flow(ground: &Ground) {
    std::fs::write(ground.folder.path().join("nap.json"), flow("nap", "1.0.0", 20).to_string()).unwrap();
}

#[tokio::test]
async fn a_worker_drives_what_is_started_and_stops_when_it_is_asked() {
    let ground = Ground::new().await;
    with_flow(&ground);
    let url = [("DATABASE_URL", ground.db.url())];
    let mut worker = Background::start(&ground, &["worker", "--flow", "nap.json", "-o", "json"], &url);
    assert_eq!(serde_json::from_str::<Value>(&worker.line()).unwrap()["worker"], "started");

    let input = ["--input", r#"{"n":1}"#, "--key", "k"];
    let ended = ground.json(&[&["start", "nap", "--wait"], &input[..]].concat());
    assert!(ended.err.contains("step.completed"), "{ended:?}");
    let ended = ended.json();
    assert_eq!((&ended["status"], &ended["result"]["out"]["n"]), (&json!("completed"), &json!(1)));
    let again = ground.json(&[&["start", "nap"], &input[..]].concat()).json();
    assert_eq!((&again["execution"], &again["created"]), (&ended["execution"], &json!(false)));

    let id = again["execution"].as_str().unwrap();
    let watched = ground.run(&["executions", "watch", id, "-o", "jsonl"]).ok();
    let last: Value = serde_json::from_str(watched.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "execution.completed");
    let shown = ground.run(&["executions", "get", id, "--svg", "x.svg"]).ok().out;
    assert!(shown.contains("✓ nap (delay) completed") && shown.contains("execution.completed"), "{shown}");
    assert!(ground.folder.path().join("x.svg").is_file());
    let told = ground.json(&["executions", "get", id]).json();
    assert_eq!(told["timeline"][0]["event"], "execution.created");
    assert!(told["timeline"][0].get("data").is_none());

    std::fs::write(ground.folder.path().join("in.json"), r#"{"n":2}"#).unwrap();
    let plain = ground.run(&["start", "nap", "--input", "@in.json", "--wait", "-q"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&plain.out).unwrap()["n"], 2);
    assert_eq!(worker.stop(Signal::TERM), Some(0));

    ground.run(&["start", "none"]).refused(4);
    ground.run(&["start", "nap", "--input", "{"]).refused(2);
    ground.run(&["start", "nap", "--wait", "--timeout", "100ms"]).refused(6);
    ground.run(&["worker", "--flow", "none.json"]).refused(1);
    assert_eq!(ground.run(&["worker", "--concurrency", "0"]).code, 2);
    ground.run(&["executions", "watch", "none"]).refused(4);
}

async fn pay(cx: Cx, input: Value) -> WorkflowResult<Value, String> {
    let paid = cx
        .step("charge", async || if input["broke"] == true { Err("no canary".to_owned()) } else { Ok(7) })
        .await?;
    Ok(json!({"paid": paid}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_ends_with_its_status_and_is_retried_forked_exported_and_imported() {
    let ground = Ground::new().await;
    let workflow: Workflow<Value, Value, String> = Workflow::new("pay");
    let engine = Engine::builder(ground.stores()).register(workflow, pay).build().unwrap();
    let worker = engine.worker().start().unwrap();
    let run = |arguments: &[&str]| {
        // on a thread of its own, so that the worker of this test goes on
        tokio::task::block_in_place(|| ground.json(arguments))
    };
    let good = run(&["start", "pay", "--workflow", "--id", "good", "--wait"]).json();
    assert_eq!(good["result"], json!({"paid": 7}));
    let bad = run(&["start", "pay", "--workflow", "--id", "bad", "--input", r#"{"broke":true}"#, "--wait"]);
    assert_eq!(bad.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&bad.out).unwrap()["status"], "failed");
    let shown = run(&["executions", "get", "bad"]).ok();
    assert!(!shown.out.contains("canary"), "{shown:?}");
    assert!(run(&["executions", "get", "bad", "--data"]).ok().out.contains("canary"));

    run(&["executions", "retry", "good"]).refused(5);
    run(&["executions", "retry"]).refused(2);
    assert_eq!(run(&["executions", "retry", "--flow", "pay", "--dry-run"]).json()["count"], 1);
    assert_eq!(run(&["executions", "retry", "--all", "--yes"]).json()["retried"], 1);
    let fork = run(&["executions", "fork", "good", "--before", "charge", "--new-id", "fork"]).json();
    assert_eq!(fork["execution"], "fork");
    assert_eq!(run(&["executions", "watch", "fork"]).code, 0);
    run(&["executions", "fork", "good", "--before", "nothing"]).refused(4);

    let exported = run(&["executions", "export", "good", "--file", "good.jsonl"]);
    assert_eq!((exported.code, &*exported.out), (0, ""));
    let imported = run(&["executions", "import", "@good.jsonl", "--id", "copy"]).json();
    assert_eq!(imported["execution"], "copy");
    assert_eq!(run(&["executions", "get", "copy"]).json()["status"], "completed");
    run(&["executions", "import", "@good.jsonl", "--id", "copy"]).refused(5);
    assert!(!run(&["executions", "export", "bad", "--redacted"]).ok().out.contains("canary"));
    run(&["executions", "export", "none"]).refused(4);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn dev_brings_everything_it_takes_to_try_a_flow() {
    let ground = Ground::new().await;
    with_flow(&ground);
    let path = std::env::var("PATH").unwrap_or_default();
    let mut variables = vec![("PATH", &*path)];
    let (binaries, cache, home) =
        (std::env::var("PG_BIN_DIR"), std::env::var("MAINSPRING_CACHE_DIR"), std::env::var("HOME"));
    variables.extend(binaries.iter().map(|value| ("PG_BIN_DIR", &**value)));
    variables.extend(cache.iter().map(|value| ("MAINSPRING_CACHE_DIR", &**value)));
    variables.extend(home.iter().map(|value| ("HOME", &**value)));
    let mut dev = Background::start(&ground, &["dev", "nap.json", "--throwaway"], &variables);
    let lines: Vec<String> = (0..4).map(|_| dev.line()).collect();
    let words: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["database", "flows", "next", "stop"], "{lines:?}");
    let (_, next) = lines[2].split_once("mainspring ").unwrap();
    let next: Vec<&str> = next.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    let ended = crate::ground::run_in(&ground.folder, &next, &[]).ok();
    assert!(ended.out.contains("\"out\""), "{ended:?}");
    assert_eq!(dev.stop(Signal::INT), Some(0));
    ground.run(&["dev", "none.json"]).refused(1);
}

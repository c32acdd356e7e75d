//! `mainspring retention`.

use std::{collections::BTreeSet, time::Duration};

use mainspring::{Execution, ExecutionId, ExecutionStatus, ExecutionStore};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{background::Background, executions::engine, ground::Ground};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// So many executions that ended two days ago.
async fn over(ground: &Ground, many: usize) {
    let engine = engine(ground);
    for n in 0..many {
        engine.create("copy", json!({"secret": "canary"})).id(format!("c{n}")).run().await.unwrap();
    }
    ground.db.advance(2 * DAY).await;
}

/// Ids of executions in the archive.
async fn archived(ground: &Ground) -> Vec<String> {
    let sql = "SELECT id FROM {archive} WHERE kind = 'executions' ORDER BY seq";
    let rows = ground.stores().db().all(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn what_is_over_is_counted_confirmed_and_taken_out() {
    let ground = Ground::new().await;
    over(&ground, 3).await;
    let policy = ["--policy", "executions=archive:1d, flow.other=keep"];
    let retention = |more: &[&str]| ground.json(&[&["retention"], more].concat());
    let of_copies = |items: Vec<Value>| items.into_iter().find(|item| item["kind"] == "executions");
    assert_eq!(of_copies(retention(&["plan"]).items()), None, "by default they stay");
    let planned = of_copies(retention(&[&["plan"][..], &policy].concat()).items()).unwrap();
    for (key, value) in [("name", json!("copy")), ("count", json!(3)), ("action", json!("archive"))] {
        assert_eq!(planned[key], value, "{key}");
    }
    assert_eq!(planned["after_seconds"], 86_400.0);

    let run = |more: &[&str]| retention(&[&["run"][..], &policy, more].concat());
    assert_eq!(run(&["--dry-run"]).json()["count"], 3);
    assert!(run(&[]).refused(7).contains("3 things that are over"));
    let removed = run(&["--yes"]).ok();
    assert!(removed.err.contains("archive 3 executions copy"), "{removed:?}");
    assert_eq!(removed.items()[0]["count"], 3);
    assert_eq!(run(&["--yes"]).items(), Vec::<Value>::new());
    assert_eq!(archived(&ground).await.len(), 3);
    ground.run(&["executions", "get", "c1"]).refused(4);

    assert!(retention(&["plan", "--policy", "letters=1d"]).refused(2).contains("letters=1d"));
    std::fs::write(ground.folder.path().join("mainspring.toml"), "retention = 'executions=1d'").unwrap();
    assert_eq!(retention(&["plan"]).ok().code, 0);
    std::fs::write(ground.folder.path().join("mainspring.toml"), "retention = 'executions=soon'").unwrap();
    retention(&["plan"]).refused(2);
}

#[tokio::test]
async fn it_may_be_killed_and_run_again() {
    const MANY: usize = 200;
    let ground = Ground::new().await;
    let stores = ground.stores();
    for n in 0..MANY {
        let id = ExecutionId::new(format!("e{n}")).unwrap();
        let over =
            Execution { status: ExecutionStatus::Completed, ..Execution::new(id, "copy", "1.0.0", "a") };
        stores.executions.create(over).await.unwrap();
    }
    ground.db.advance(2 * DAY).await;
    let run = ["retention", "run", "--policy", "executions=archive:1d batch=10", "--yes", "-o", "jsonl"];
    let mut killed = Background::start(&ground, &run, &[("DATABASE_URL", ground.db.url())]);
    let line: Value = serde_json::from_str(&killed.line()).unwrap();
    assert_eq!((&line["event"], &line["count"]), (&json!("progress"), &json!(1)));
    killed.stop(Signal::KILL);
    ground.run(&run).ok();
    let ids = archived(&ground).await;
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (MANY, MANY), "each once");
    assert_eq!(ground.json(&["executions", "list"]).items(), Vec::<Value>::new());
}

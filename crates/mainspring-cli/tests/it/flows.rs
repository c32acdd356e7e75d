//! `mainspring flows`.

use serde_json::{Value, json};

use crate::ground::{Ground, run_in};

/// A flow of two steps, the first of which waits `ms` milliseconds.
pub(crate) fn flow(id: &str, version: &str, ms: u64) -> Value {
    json!({"id": id, "version": version, "initialStepId": "nap", "steps": {
        "nap": {"id": "nap", "type": "delay", "config": {"ms": ms}, "input": {"type": "full"},
                "transitions": {"onSuccess": "end"}},
        "end": {"id": "end", "type": "transform", "input": {"type": "full"}, "outputKey": "out"}}})
}

#[tokio::test]
async fn definitions_are_saved_listed_compared_and_drawn() {
    let ground = Ground::new().await;
    let file = |name: &str, flow: &Value| {
        std::fs::write(ground.folder.path().join(name), serde_json::to_string_pretty(flow).unwrap()).unwrap();
    };
    file("a.json", &flow("a", "1.0.0", 5));
    file("a2.json", &flow("a", "1.1.0", 6));
    file("changed.json", &flow("a", "1.0.0", 7));
    file("b.json", &flow("b", "1.0.0", 5));
    assert_eq!(ground.json(&["flows", "save", "a.json", "--dry-run"]).json()["dry_run"], true);
    for (name, created) in [("a.json", true), ("a.json", false), ("a2.json", true), ("b.json", true)] {
        assert_eq!(ground.json(&["flows", "save", name]).json()["created"], created, "{name}");
    }
    ground.json(&["flows", "save", "changed.json"]).refused(5);
    let listed = ground.json(&["flows", "list"]).items();
    let of = |n: usize| (listed[n]["id"].clone(), listed[n]["version"].clone());
    assert_eq!((of(0), of(1)), ((json!("a"), json!("1.1.0")), (json!("b"), json!("1.0.0"))));
    let first = ground.json(&["flows", "list", "--limit", "1"]).json();
    assert_eq!(
        ground.json(&["flows", "list", "--after", first["next"].as_str().unwrap()]).items()[0]["id"],
        "b"
    );

    let mut draft = flow("a", "2.0.0", 5);
    (draft["status"], draft["tags"]) = (json!("draft"), json!(["next"]));
    file("draft.json", &draft);
    ground.run(&["flows", "save", "draft.json"]).ok();
    let found = |filter: &[&str]| -> Vec<String> {
        let listed = ground.json(&[&["flows", "list"], filter].concat()).items();
        listed
            .iter()
            .map(|it| format!("{}@{}", it["id"].as_str().unwrap(), it["version"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(found(&["--id-prefix", "b"]), ["b@1.0.0"]);
    assert_eq!(found(&["--status", "draft", "--tag", "next"]), ["a@2.0.0"]);
    assert_eq!(found(&["--tag", "next"]), [""; 0]);
    ground.json(&["flows", "list", "--status", "burnt"]).refused(2);

    let shown = ground.json(&["flows", "get", "a"]).json();
    assert_eq!(shown["versions"], json!(["2.0.0", "1.1.0", "1.0.0"]));
    let definition = ground.run(&["flows", "get", "a", "--version", "1.0.0", "--definition"]).ok().out;
    assert_eq!(serde_json::from_str::<Value>(&definition).unwrap()["steps"]["nap"]["config"]["ms"], 5);
    ground.json(&["flows", "get", "none"]).refused(4);

    let same = ground.json(&["flows", "diff", "a@1.0.0", "a.json"]);
    assert_eq!(same.json()["changes"], json!([]));
    let diff = ground.json(&["flows", "diff", "a@1.0.0", "a"]);
    assert_eq!(diff.code, 1);
    let diff: Value = serde_json::from_str(&diff.out).unwrap();
    assert_eq!(diff["changes"][0], json!({"path": "steps.nap.config.ms", "old": 5, "new": 6}));
    ground.json(&["flows", "diff", "a", "none"]).refused(4);

    let drawn = ground.run(&["flows", "graph", "a"]).ok().out;
    assert_eq!(drawn, "○ nap (delay)\n└─ success → end\n○ end (transform)\n");
    ground.run(&["flows", "graph", "a", "--svg", "a.svg"]).ok();
    assert!(std::fs::read_to_string(ground.folder.path().join("a.svg")).unwrap().contains("<rect "));
    ground.run(&["flows", "graph", "none"]).refused(4);
}

#[test]
fn what_is_wrong_with_a_definition_is_shown_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let validate = |text: &str, more: &[&str]| {
        std::fs::write(folder.path().join("f.json"), text).unwrap();
        run_in(&folder, &[&["flows", "validate", "f.json", "-o", "json"], more].concat(), &[])
    };
    let good = serde_json::to_string_pretty(&flow("f", "1.0.0", 5)).unwrap();
    assert_eq!(validate(&good, &[]).json()["valid"], true);
    validate(&good, &["--handler", "charge"]).ok();
    let line_of = |text: &str, part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    for (from, to) in [
        ("\"onSuccess\": \"end\"", "\"onSuccess\": \"nowhere\""),
        ("\"type\": \"transform\"", "\"typo\": \"transform\""),
        ("\"version\": \"1.0.0\"", "\"version\": \"1\""),
        ("\"type\": \"delay\"", "\"type\" \"delay\""),
    ] {
        let bad = good.replace(from, to);
        let said = validate(&bad, &[]).refused(2);
        assert!(said.contains(&format!("f.json:{}:", line_of(&bad, to))), "{from}:\n{said}");
        assert!(said.contains('^'), "{said}");
    }
    let said = validate(&good.replace("\"transform\"", "\"charge\""), &["--handler", "refund"]).refused(2);
    assert!(said.contains("no handler `charge`") && said.contains("f.json:"), "{said}");
    run_in(&folder, &["flows", "validate", "none.json"], &[]).refused(1);
}

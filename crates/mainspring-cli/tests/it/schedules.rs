//! `mainspring schedules`.

use serde_json::json;

use crate::ground::Ground;

#[tokio::test]
async fn a_schedule_is_added_looked_at_run_and_removed() {
    let ground = Ground::new().await;
    let schedules = |arguments: &[&str]| ground.json(&[&["schedules"], arguments].concat());
    let add = |key: &str, timing: &str| {
        schedules(&["add", "reports", key, timing, "--zone", "Europe/Berlin", "--data", r#"{"of":"canary"}"#])
    };
    let added = add("nightly", "30 2 * * *").ok();
    assert!(!added.out.contains("canary"), "{added:?}");
    assert_eq!(added.json()["timing"], "30 2 * * * Europe/Berlin");
    add("often", "@every 15m").ok();
    let said = add("bad", "30 2 61 * *").refused(2);
    assert!(
        said.contains("--> pattern:1:6") && said.lines().any(|line| line.ends_with("|      ^")),
        "{said}"
    );
    add("bad", "@every now").refused(2);
    schedules(&["add", "reports", "bad", "0 0 * * *", "--zone", "Mars/Base"]).refused(2);

    assert_eq!(schedules(&["list", "--queue", "reports"]).items().len(), 2);
    let next = schedules(&["list", "--limit", "1"]).json()["next"].as_str().unwrap().to_owned();
    assert_eq!(schedules(&["list", "--after", &next]).items()[0]["key"], "often");
    schedules(&["list", "--after", "nowhere"]).refused(2);
    let ticks = schedules(&["next", "reports", "nightly", "--count", "3"]).items();
    assert!(ticks.len() == 3 && ticks[0]["tick"].as_str().unwrap().ends_with("Z"), "{ticks:?}");
    assert_eq!(schedules(&["pause", "reports", "often"]).json()["paused"], true);
    assert_eq!(schedules(&["list", "--paused", "true"]).items()[0]["key"], "often");
    assert!(schedules(&["list", "--key", "nightly", "--paused", "true"]).items().is_empty());
    assert_eq!(schedules(&["resume", "reports", "often"]).json()["paused"], false);
    assert!(schedules(&["run", "reports", "nightly"]).json()["message"].is_string());
    assert_eq!(ground.json(&["queues", "stats", "reports"]).items()[0]["ready"], 1);
    let history = |more: &[&str]| schedules(&[&["history", "reports", "nightly"], more].concat());
    schedules(&["run", "reports", "nightly"]).ok();
    let first = history(&["--limit", "1", "--outcome", "run_now"]).json();
    let second = history(&["--limit", "1", "--after", first["next"].as_str().unwrap()]).items();
    assert!(first["items"][0]["tick"].as_str() > second[0]["tick"].as_str(), "{first} {second:?}");
    let since = first["items"][0]["tick"].as_str().unwrap();
    assert_eq!(history(&["--since", since]).items().len(), 1);
    assert_eq!(history(&["--since", "1h"]).items().len(), 2);
    ground.db.advance(std::time::Duration::from_secs(7_200)).await;
    assert!(history(&["--since", "1h"]).items().is_empty());
    assert!(history(&["--outcome", "skipped"]).items().is_empty());
    for bad in [["--since", "yesterday"], ["--outcome", "lost"], ["--after", "nowhere"], ["--limit", "10001"]]
    {
        history(&bad).refused(2);
    }
    schedules(&["history", "reports", "none"]).refused(4);
    assert_eq!(schedules(&["rm", "reports", "often", "--dry-run"]).json()["dry_run"], true);
    assert_eq!(schedules(&["rm", "reports", "often"]).json()["removed"], json!("often"));
    for verb in ["rm", "run", "next", "pause", "resume"] {
        schedules(&[verb, "reports", "often"]).refused(4);
    }
}

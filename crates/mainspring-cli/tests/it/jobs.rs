//! `mainspring jobs`, `locks` and `keygen`.

use std::time::Duration;

use mainspring::{Job, JobStore, LeaseStore, WorkerId};
use serde_json::json;

use crate::{executions::engine, ground::Ground};

#[tokio::test]
async fn jobs_are_listed_shown_and_taken_back() {
    let ground = Ground::new().await;
    let execution = engine(&ground).create("park", json!({})).id("x").await.unwrap().execution.id;
    let store = ground.stores().jobs;
    let job =
        Job { stalled_after_ms: 1_000, ..Job::new(execution, "a", "charge", json!({"card": "canary"})) };
    let job = store.create(job).await.unwrap();
    store.claim(&job.id, &WorkerId::generate()).await.unwrap().unwrap();
    let jobs = |arguments: &[&str]| ground.json(&[&["jobs"], arguments].concat());
    let listed = jobs(&["list"]).ok();
    assert!(!listed.out.contains("canary"), "{listed:?}");
    assert_eq!(listed.items()[0]["status"], "running");
    assert_eq!(jobs(&["list", "--execution", "x", "--status", "pending"]).items().len(), 0);
    let page = jobs(&["list", "--limit", "1"]).json();
    let next = page["next"].as_str().unwrap();
    assert_eq!(jobs(&["list", "--after", next]).items(), Vec::<serde_json::Value>::new());
    jobs(&["list", "--after", "nowhere"]).refused(2);
    let id = job.id.as_str();
    assert_eq!(jobs(&["get", id, "--data"]).json()["input"]["card"], "canary");
    jobs(&["retry", id]).refused(5);
    ground.db.advance(Duration::from_secs(120)).await;
    assert_eq!(jobs(&["list", "--stalled"]).items()[0]["id"], id);
    assert_eq!(jobs(&["retry", id]).json()["status"], "pending");
    jobs(&["get", "none"]).refused(4);
    jobs(&["retry", "none"]).refused(4);
    jobs(&["list", "--status", "ill"]).refused(2);
}

#[tokio::test]
async fn a_lease_is_listed_and_broken() {
    let ground = Ground::new().await;
    let leases = ground.stores().leases;
    for name in ["billing", "mail"] {
        leases.acquire(name, "host-7", Duration::from_secs(60)).await.unwrap().unwrap();
    }
    let locks = |arguments: &[&str]| ground.json(&[&["locks"], arguments].concat());
    assert_eq!(locks(&["list"]).items()[0]["holder"], "host-7");
    let next = locks(&["list", "--limit", "1"]).json()["next"].as_str().unwrap().to_owned();
    assert_eq!(locks(&["list", "--after", &next]).items()[0]["name"], "mail");
    let names = |filter: &[&str]| -> Vec<serde_json::Value> {
        locks(&[&["list"], filter].concat()).items().iter().map(|it| it["name"].clone()).collect()
    };
    leases.acquire("mail/2", "host-8", Duration::from_millis(100)).await.unwrap().unwrap();
    ground.db.advance(Duration::from_secs(1)).await;
    assert_eq!(names(&["--holder", "host-7"]), ["billing", "mail"]);
    assert_eq!(names(&["--name-prefix", "mail"]), ["mail", "mail/2"]);
    assert_eq!(names(&["--name-prefix", "mail", "--expired", "true"]), ["mail/2"]);
    assert_eq!(names(&["--name-prefix", "mail", "--expired", "false"]), ["mail"]);
    locks(&["list", "--expired", "perhaps"]).refused(2);
    assert!(locks(&["break", "billing"]).refused(7).contains("host-7"));
    assert_eq!(locks(&["break", "billing", "--yes"]).json()["holder"], "host-7");
    locks(&["break", "billing", "--yes"]).refused(4);
    locks(&["list", "--limit", "10001"]).refused(2);
}

#[test]
fn every_key_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let key = || crate::ground::run_in(&folder, &["keygen", "-o", "json"], &[]).json()["secret"].clone();
    let (one, other) = (key(), key());
    assert!(one != other && one.as_str().unwrap().starts_with("whsec_"));
    assert_eq!(crate::ground::run_in(&folder, &["keygen", "more"], &[]).code, 2);
}

//! `mainspring queues`, `messages`, `dlq` and `bench`.

use std::time::Duration;

use mainspring::{ClaimRequest, Failure, QueueDriver, Settle, Settlement, WorkerId};
use serde_json::{Value, json};

use crate::ground::{Ground, Said};

/// Gives up everything that is ready in a queue.
async fn give_up(ground: &Ground, queue: &str) {
    let queues = ground.stores().queue;
    let request = ClaimRequest::new(queue, WorkerId::generate(), Duration::from_secs(60), 100);
    let claimed = queues.claim(request).await.unwrap().deliveries;
    let settles = claimed.into_iter().map(|delivery| {
        Settle::new(delivery.lease, Settlement::DeadLetter(Failure::new("BROKEN", "canary")))
    });
    queues.settle(settles.collect()).await.unwrap().into_iter().for_each(|settled| settled.unwrap());
}

#[tokio::test]
async fn queues_are_created_counted_paused_and_deleted() {
    let ground = Ground::new().await;
    let queues = |arguments: &[&str]| ground.json(&[&["queues"], arguments].concat());
    assert_eq!(queues(&["create", "mail", "--policy", "singleton"]).json()["created"], true);
    assert_eq!(queues(&["create", "mail", "--policy", "singleton"]).json()["created"], false);
    queues(&["create", "mail"]).refused(5);
    queues(&["create", "other", "--policy", "chaotic"]).refused(2);
    queues(&["create", "other"]).ok();
    let listed = queues(&["list"]).items();
    assert_eq!((&listed[0]["name"], &listed[0]["policy"]), (&json!("mail"), &json!("singleton")));
    let next = queues(&["list", "--limit", "1"]).json()["next"].as_str().unwrap().to_owned();
    assert_eq!(queues(&["list", "--after", &next]).items()[0]["name"], "other");

    let found = |filter: &[&str]| -> Vec<Value> {
        queues(&[&["list"], filter].concat()).items().iter().map(|it| it["name"].clone()).collect()
    };
    queues(&["create", "letters", "--dead-letter", "mail"]).ok();
    assert_eq!(found(&["--policy", "singleton"]), ["mail"]);
    assert_eq!(found(&["--name-prefix", "o"]), ["other"]);
    assert_eq!(found(&["--dead-letter", "mail", "--paused", "false"]), ["letters"]);
    assert_eq!(found(&["--paused", "true"]), [""; 0]);
    queues(&["list", "--policy", "chaotic"]).refused(2);
    queues(&["list", "--paused", "perhaps"]).refused(2);
    queues(&["delete", "letters", "--yes"]).ok();

    ground.run(&["messages", "push", "mail", "hello"]).ok();
    assert_eq!(queues(&["stats", "mail"]).items()[0]["ready"], 1);
    assert_eq!(queues(&["stats"]).items(), Vec::<Value>::new());
    assert_eq!(queues(&["stats", "--count"]).items()[0]["queue"], "mail");
    assert_eq!(queues(&["pause", "mail"]).json()["paused"], true);
    queues(&["drain", "mail"]).refused(5);
    assert_eq!(queues(&["resume", "mail"]).json()["paused"], false);
    queues(&["drain", "mail", "--timeout", "300ms"]).refused(6);
    queues(&["pause", "none"]).refused(4);
    queues(&["delete", "mail", "--yes"]).refused(5);
    give_up(&ground, "mail").await;
    assert_eq!(queues(&["drain", "mail"]).json()["drained"], 0);
    queues(&["delete", "mail"]).refused(7);
    assert_eq!(queues(&["delete", "mail", "--yes"]).json()["deleted"], true);
    queues(&["delete", "mail"]).refused(4);
}

#[tokio::test]
async fn messages_are_pushed_found_and_called_off() {
    let ground = Ground::new().await;
    let messages = |arguments: &[&str]| -> Said { ground.json(&[&["messages"], arguments].concat()) };
    ground.run(&["queues", "create", "mail"]).ok();
    let push = |key: &str| {
        let data = r#"{"to":"canary"}"#;
        messages(&["push", "mail", "hello", "--key", key, "--data", data, "--delay", "1h"]).json()["message"]
            .clone()
    };
    let (a, b) = (push("a"), push("b"));
    let listed = messages(&["list", "mail"]).ok();
    assert!(!listed.out.contains("canary"), "{listed:?}");
    assert_eq!(listed.items().len(), 2);
    assert_eq!(messages(&["list", "mail", "--key", "a"]).items()[0]["id"], a);
    let shown = messages(&["get", "mail", a.as_str().unwrap(), "--data"]).json();
    assert_eq!((&shown["status"], &shown["data"]["to"]), (&json!("deferred"), &json!("canary")));
    let first = messages(&["list", "mail", "--limit", "1"]).json();
    assert_eq!(first["items"][0]["id"], b);
    let next = first["next"].as_str().unwrap();
    assert_eq!(messages(&["list", "mail", "--limit", "1", "--after", next]).items()[0]["id"], a);
    messages(&["list", "mail", "--after", "nowhere"]).refused(2);
    messages(&["get", "mail", "none"]).refused(4);
    messages(&["list", "none"]).refused(4);
    messages(&["list", "mail", "--status", "ill"]).refused(2);
    messages(&["push", "mail", "hello", "--data", "{canary"]).refused(2);

    messages(&["cancel", "mail"]).refused(2);
    messages(&["cancel", "mail", "--key", "a"]).refused(7);
    assert_eq!(messages(&["cancel", "mail", "--key", "a", "--dry-run"]).json()["count"], 1);
    assert_eq!(messages(&["cancel", "mail", "--key", "a", "--yes"]).json()["cancelled"], 1);
    assert_eq!(messages(&["list", "mail", "--status", "cancelled"]).items()[0]["id"], a);
    assert_eq!(messages(&["delete", "mail", b.as_str().unwrap()]).json()["deleted"], 1);
    messages(&["retry", "mail", b.as_str().unwrap()]).refused(4);
    assert_eq!(ground.json(&["messages", "push", "plain", "hello"]).json()["duplicate"], false);
}

#[tokio::test]
async fn dead_letters_are_listed_redriven_and_dropped() {
    let ground = Ground::new().await;
    let dlq = |arguments: &[&str]| ground.json(&[&["dlq"], arguments].concat());
    ground.run(&["queues", "create", "mail"]).ok();
    for _ in 0..2 {
        ground.run(&["messages", "push", "mail", "hello"]).ok();
    }
    give_up(&ground, "mail").await;
    let listed = dlq(&["list", "mail"]).ok();
    assert!(!listed.out.contains("canary"), "{listed:?}");
    assert_eq!((listed.json()["items"][1]["reason_code"].clone()), json!("BROKEN"));
    let next = dlq(&["list", "mail", "--limit", "1"]).json()["next"].as_str().unwrap().to_owned();
    assert_eq!(dlq(&["list", "mail", "--after", &next]).items().len(), 1);
    dlq(&["list", "mail", "--after", "nowhere"]).refused(2);
    assert!(dlq(&["list", "mail", "--data"]).ok().out.contains("canary"));
    assert_eq!(dlq(&["list", "mail", "--reason", "OTHER"]).items(), Vec::<Value>::new());
    assert_eq!(dlq(&["redrive", "mail", "--dry-run"]).json()["count"], 2);
    assert!(dlq(&["redrive", "mail"]).refused(7).contains("2 dead letters"));
    assert_eq!(dlq(&["redrive", "mail", "--yes"]).json()["redriven"], 2);
    give_up(&ground, "mail").await;
    assert_eq!(dlq(&["drop", "mail", "--reason", "BROKEN", "--yes"]).json()["dropped"], 2);
    assert_eq!(dlq(&["list", "mail"]).items(), Vec::<Value>::new());
    dlq(&["list", "mail", "--limit", "10001"]).refused(2);

    ground.run(&["queues", "create", "web", "--dead-letter", "grave"]).ok();
    ground.run(&["messages", "push", "web", "hello"]).ok();
    give_up(&ground, "web").await;
    assert_eq!(dlq(&["redrive", "grave", "--copies", "--yes"]).json()["redriven"], 1);
    assert_eq!(ground.json(&["queues", "stats", "web"]).items()[0]["ready"], 1);
}

#[tokio::test]
async fn a_bench_leaves_nothing_behind() {
    let ground = Ground::new().await;
    ground.json(&["bench", "--messages", "50"]).refused(7);
    let rates = ground.json(&["bench", "--messages", "250", "--yes"]).json();
    assert!(rates["handled_per_second"].as_f64().unwrap() > 0.0, "{rates}");
    assert_eq!(ground.json(&["queues", "stats", "mainspring_bench"]).items()[0]["ready"], 0);
    ground.run(&["messages", "push", "mainspring_bench", "other"]).ok();
    ground.json(&["bench", "--yes"]).refused(5);
}

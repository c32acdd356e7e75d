//! A worker dies, or hangs, while its message keeps others back: in a group, of a key, as the only one, under a rate (faults F01 to F05,
//! fault F07). Others go on once it is found dead, nothing is lost, every count is right, and what a zombie says changes nothing.

use std::{sync::Arc, time::Duration};

use mainspring::{
    GroupLimit, MessageQuery, MessageStatus, NewMessage, Policy, QueueDriver, QueueOptions, QueueStats,
    QueueStore, RateLimit, StoredMessage,
};
use mainspring_testing::Faults;
use mainspring_tests::{
    Lab, PATIENCE,
    chaos::{self, QUEUE},
    until,
};
use serde_json::json;

use crate::{WORKER, all, hit};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Group,
    Key,
    One,
    Only,
    Rate,
}

const ALL: [Keeps; 5] = [Keeps::Group, Keeps::Key, Keeps::One, Keeps::Only, Keeps::Rate];

impl Keeps {
    fn options(self) -> QueueOptions {
        let with = |policy| QueueOptions { policy, ..QueueOptions::default() };
        match self {
            Self::Group => QueueOptions { groups: Some(GroupLimit::new(1)), ..QueueOptions::default() },
            Self::Key => with(Policy::KeyStrictFifo),
            Self::One => with(Policy::Singleton),
            Self::Only => with(Policy::Exclusive),
            Self::Rate => {
                let rate = RateLimit { count: 1, per: Duration::from_millis(100) };
                QueueOptions { rate: Some(rate), ..QueueOptions::default() }
            }
        }
    }

    /// Messages 4 to 8 of the chaos run end as done at once.
    fn message(self, n: u64) -> NewMessage {
        let message = NewMessage::new(QUEUE, "chaos", json!({"n": n}));
        match self {
            Self::Group => NewMessage { group: Some(mainspring::Group::new("a")), ..message },
            Self::Rate => message,
            Self::Key | Self::One | Self::Only => NewMessage { key: Some("a".into()), ..message },
        }
    }
}

/// A queue with messages that keep each other back; how many were stored.
async fn filled(keeps: Keeps) -> (Lab, usize) {
    let lab = Lab::new().await;
    let queue = &lab.near().queue;
    queue.create_queue(QUEUE, keeps.options()).await.unwrap();
    let pushed = queue.push_each((4..8).map(|n| keeps.message(n)).collect()).await.unwrap();
    let stored = pushed.iter().filter(|pushed| !pushed.duplicate).count();
    assert_eq!(stored, if keeps == Keeps::Only { 1 } else { 4 });
    (lab, stored)
}

/// The messages in the order in which they were done.
async fn done(lab: &Lab) -> Vec<StoredMessage> {
    let query = MessageQuery { statuses: vec![MessageStatus::Done], ..MessageQuery::default() };
    let mut done = lab.near().queue.find_messages(QUEUE, query).await.unwrap();
    done.sort_by_key(|stored| stored.finished_at);
    done
}

async fn all_done(lab: &Lab, count: usize) -> Vec<StoredMessage> {
    until("all messages are done", async || done(lab).await.len() == count).await;
    let queue = &lab.near().queue;
    assert_eq!(queue.stats(QUEUE).await.unwrap(), QueueStats::default());
    assert!(queue.check_queues().await.unwrap().is_empty());
    done(lab).await
}

fn second(lab: &Lab) -> mainspring::Worker {
    chaos::worker(Arc::new(lab.near().queue.clone()), &lab.ledger, &Faults::none(), 4)
}

/// Kills the only worker at a point, and lets another one finish.
async fn killed(keeps: Keeps, point: &str) {
    let (lab, count) = filled(keeps).await;
    let mut child = lab.child(WORKER).queue().faults(&format!("{point}=stop")).spawn();
    hit(&mut child, point).await;
    child.kill9().unwrap();
    let second = second(&lab).start().unwrap();
    let done = all_done(&lab, count).await;
    second.stop().await.unwrap();

    let what = format!("{keeps:?} at {point}: {done:#?}");
    let lost: u32 = done.iter().map(|stored| stored.lost).sum();
    match point {
        "claim.before" => assert_eq!(lost, 0, "{what}"),
        "settle.after" => assert!(keeps == Keeps::Rate || lost == 0, "{what}"),
        _ => assert_eq!(lost, 1, "{what}"),
    }
    let twice = ["handle.after", "settle.before"].contains(&point);
    assert_eq!(lab.ledger.repeats().len(), usize::from(twice), "{what}");
    if keeps == Keeps::Key {
        let order: Vec<_> = done.iter().map(|stored| stored.message.data["n"].as_u64().unwrap()).collect();
        assert!(order.is_sorted(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_with_a_place_in_a_group_a_worker_keeps_nobody_back() {
    // faults F01 to F05
    let points =
        ["claim.before", "claim.after", "handle.before", "handle.after", "settle.before", "settle.after"];
    all(points.map(|point| killed(Keeps::Group, point))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_a_key_a_slot_or_a_token_a_worker_keeps_nobody_back() {
    // faults F03, F04
    let cases =
        ALL[1..].iter().flat_map(|keeps| ["handle.before", "settle.before"].map(|point| (*keeps, point)));
    all(cases.map(|(keeps, point)| killed(keeps, point))).await;
}

/// Stops the only worker before it settles until another one has finished, and lets it continue.
async fn revived(keeps: Keeps) {
    let (lab, count) = filled(keeps).await;
    let mut zombie = lab.child(WORKER).queue().faults("settle.before=stop").spawn();
    hit(&mut zombie, "settle.before").await;
    let second = second(&lab).start().unwrap();
    let before = all_done(&lab, count).await;
    second.stop().await.unwrap();

    zombie.cont().unwrap();
    // It works alone now: when it has done another message, it is through with what it came back to.
    lab.near().queue.push_each(vec![keeps.message(8)]).await.unwrap();
    let after = all_done(&lab, count + 1).await;
    assert_eq!(after[..count], before, "{keeps:?}: what a zombie said was stored");
    zombie.terminate().unwrap();
    assert!(zombie.exit(PATIENCE).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_zombie_says_of_a_message_that_kept_others_back_changes_nothing() {
    // fault F07, X2
    all(ALL.map(revived)).await;
}

//! The way to the database breaks, crawls, or is not there yet, under a queue and its workers (faults F13, F31, F32, F36).

use std::{sync::Arc, time::Duration};

use mainspring::{
    Available, ClaimRequest, ErrorKind, MessageOptions, MessageQuery, MessageStatus, NewMessage, QueueDriver,
    QueueOptions, QueueStats, QueueStore, Unique, WorkerId,
};
use mainspring_testing::{Cluster, ClusterOptions, Cut, Faults, Proxy};
use mainspring_tests::{
    LEASE, Lab, PATIENCE,
    chaos::{self, QUEUE, message},
    until,
};
use serde_json::json;
use tokio::task::block_in_place;

use crate::{WORKER, all};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_before_its_database_waits_for_it() {
    // fault F13
    let options = ClusterOptions::throwaway().setting("synchronous_commit", "on"); // or the last migration may be lost
    let mut cluster = block_in_place(|| Cluster::start(options)).unwrap();
    let lab = Lab::on(&cluster).await;
    block_in_place(|| cluster.kill9()).unwrap();

    let mut child = lab.child(WORKER).queue().concurrency(4).spawn();
    child.line("ready", PATIENCE).await.unwrap();
    tokio::time::sleep(LEASE).await; // it fails and tries again all the while
    block_in_place(|| cluster.restart()).unwrap();
    until("the database is back", async || {
        lab.near().queue.push((1..40).filter(|n| n % 10 != 3).map(message).collect()).await.is_ok()
    })
    .await;
    let empty =
        async || lab.near().queue.stats(QUEUE).await.is_ok_and(|stats| stats == QueueStats::default());
    until("the queue is empty", empty).await;
    child.terminate().unwrap();
    assert!(child.exit(PATIENCE).await.unwrap().success());
    assert!(lab.ledger.repeats().is_empty());
}

const CUTS: [Cut; 3] = [Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply];

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_its_commit_a_push_is_safe_to_repeat_with_its_key() {
    // faults F31, F32: of messages that are ready, put off, and held back, in one transaction
    all(CUTS.map(|cut| async move {
        let lab = Lab::new().await;
        let near = &lab.near().queue;
        near.create_queue("keys", QueueOptions::default()).await.unwrap();
        let proxy = Proxy::before(lab.db()).await.unwrap();
        let far = lab.stores_by(proxy.settings(), 2).queue;
        far.stats("keys").await.unwrap(); // connects
        let push = |n: u64| {
            let options = MessageOptions {
                unique: Some(Unique::For(Duration::from_secs(600))),
                ..MessageOptions::default()
            };
            let key = |name: &str| Some(format!("{name} {n}"));
            let now = NewMessage { key: key("now"), options, ..NewMessage::new("keys", "t", json!(1)) };
            let after = Available::After(Duration::from_secs(600));
            let later = NewMessage { key: key("later"), available: after, ..now.clone() };
            let later = NewMessage { id: mainspring::MessageId::generate(), ..later };
            let plain = NewMessage { available: after, ..NewMessage::new("plain", "t", json!(n)) };
            vec![now, later, plain]
        };
        proxy.arm(cut, 1);
        let first = far.push(push(1)).await;
        assert_eq!(proxy.cuts(), 1, "{cut:?}: a push of several statements commits");
        if let Err(error) = &first {
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::CommitUnknown), "{error:?}");
        }
        let again = far.push_each(push(1)[..2].to_vec()).await.unwrap();
        let stats = near.stats("keys").await.unwrap();
        assert_eq!((stats.ready, stats.deferred), (1, 1), "{cut:?}: once, whatever happened");
        let there = near.stats("plain").await.unwrap().deferred;
        assert_eq!(again.iter().all(|pushed| pushed.duplicate), there == 1, "{cut:?}: all of it or nothing");
        assert!(first.is_err() || there == 1, "{cut:?}: what was acknowledged is there");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_cut_at_its_commit_brought_is_found_again() {
    // faults F31, F32
    all(CUTS.map(|cut| async move {
        let lab = Lab::new().await;
        let near = &lab.near().queue;
        near.push((1..=10).map(message).collect()).await.unwrap();
        let proxy = Proxy::before(lab.db()).await.unwrap();
        let far = lab.stores_by(proxy.settings(), 2).queue;
        far.stats(QUEUE).await.unwrap();
        let holder = WorkerId::generate();
        proxy.arm(cut, 1);
        let claimed = far.claim(ClaimRequest::new(QUEUE, holder.clone(), LEASE, 10)).await;
        assert_eq!(proxy.cuts(), 1, "{cut:?}: a claim commits");
        let held = claimed.map_or(0, |claimed| claimed.deliveries.len() as u64);
        let stats = near.stats(QUEUE).await.unwrap();
        assert!(stats.ready + stats.claimed == 10 && held <= stats.claimed, "{cut:?}: {held} of {stats:?}");
        near.release(&holder).await.unwrap();
        let all = near.claim(ClaimRequest::new(QUEUE, WorkerId::generate(), LEASE, 20)).await.unwrap();
        assert_eq!(all.deliveries.len(), 10, "{cut:?}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_on_a_slow_way_does_nothing_twice() {
    // fault F36: every piece of an answer takes 40 ms, each way, beside a worker that is near
    let lab = Lab::new().await;
    let near = &lab.near().queue;
    near.create_queue(QUEUE, QueueOptions::default()).await.unwrap();
    let proxy = Proxy::before(lab.db()).await.unwrap();
    proxy.slow(Duration::from_millis(40));
    let far = lab.stores_by(proxy.settings(), 4).queue;
    let numbers: Vec<u64> = (1..60).filter(|n| n % 10 != 3 && n % 50 != 0).collect();
    near.push(numbers.iter().copied().map(message).collect()).await.unwrap();
    let workers = [far, near.clone()]
        .map(|queue| chaos::worker(Arc::new(queue), &lab.ledger, &Faults::none(), 2).start().unwrap());
    let empty = async || near.stats(QUEUE).await.is_ok_and(|stats| stats == QueueStats::default());
    until("the queue is empty", empty).await;
    for worker in workers {
        worker.stop().await.unwrap();
    }
    let query = MessageQuery { statuses: vec![MessageStatus::Done], ..MessageQuery::default() };
    let done = near.find_messages(QUEUE, query).await.unwrap();
    assert_eq!(done.len(), numbers.len());
    // Whatever ran twice had lost its lease in between.
    let lost: u32 = done.iter().map(|stored| stored.lost).sum();
    assert!(lab.ledger.repeats().len() <= lost as usize, "{:?}", lab.ledger.repeats());
}

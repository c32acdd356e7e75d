//! Handlers of a broker are killed and their connections cut; every orchestration ends once all the same (X1, X6, F01 to F06, F31,
//! F32; 1.12.2).

use std::collections::BTreeMap;

use mainspring::{Backend, Settings, broker::CloudEvent};
use mainspring_testing::{ChildWorker, Cut, Dice, History, Proxy};
use mainspring_tests::{
    LOOK, Lab,
    broker::{COMMITS, Ends, QUEUES, begin, broker, dispatch, serve},
    until,
};

use crate::{WORKER, all, hit};

/// Every one of `begun` ended once, with its average, and nothing is left over.
async fn verdict(lab: &Lab, ends: &Ends, begun: &BTreeMap<String, f64>) {
    until("all have ended", async || ends.count() >= begun.len()).await;
    let backend = lab.near();
    until("the queues are empty", async || {
        for queue in QUEUES {
            let stats = backend.queue().stats(queue).await;
            if !stats.is_ok_and(|stats| stats == Default::default()) {
                return false;
            }
        }
        true
    })
    .await;
    let wanted: BTreeMap<String, Vec<f64>> = begun.iter().map(|(id, n)| (id.clone(), vec![*n])).collect();
    assert_eq!(ends.all(), wanted);
    let history = QUEUES.iter().fold(History::new(), |history, queue| history.drained(*queue));
    let report = history.check(backend).await.unwrap().expect_clean();
    assert_eq!(report.executions, begun.len() as u64);
    assert_eq!(report.with_status(mainspring::ExecutionStatus::Completed), begun.len() as u64);
    // Created, three events handled, completed: each once.
    assert_eq!(report.events, 5 * begun.len() as u64);
    let broken = lab.broken().await;
    assert!(broken.is_empty(), "{broken:#?}");
}

fn events(count: u32) -> (Vec<CloudEvent>, BTreeMap<String, f64>) {
    let events: Vec<CloudEvent> = (0..count).map(begin).collect();
    let begun = events.iter().zip(0..count).map(|(event, n)| (event.id().to_owned(), f64::from(n))).collect();
    (events, begun)
}

async fn ready(child: &mut ChildWorker) {
    child.line("ready", mainspring_tests::PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_commit_a_handler_neither_loses_nor_repeats_what_it_says() {
    let points = (1..=COMMITS).flat_map(|nth| ["commit.before", "commit.after"].map(|point| (point, nth)));
    all(points.map(|(point, nth)| async move {
        let lab = Lab::new().await;
        let front = broker(lab.stores(4));
        let ends = Ends::of(&front).await.unwrap();
        let mut child = lab.child(WORKER).broker().faults(&format!("{point}=stop@{nth}")).spawn();
        ready(&mut child).await;
        let (events, begun) = events(1);
        dispatch(&front, &events[0]).await.unwrap();
        hit(&mut child, point).await;
        child.kill9().unwrap();
        serve(&front, 2).await.unwrap();
        verdict(&lab, &ends, &begun).await;
        front.stop().await.unwrap();
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_any_commit_a_handler_neither_loses_nor_repeats_what_it_says() {
    let cuts = [Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply];
    let cases = cuts.into_iter().flat_map(|cut| (1..=3).map(move |nth| (cut, nth)));
    all(cases.map(|(cut, nth)| async move {
        let lab = Lab::new().await;
        let front = broker(lab.stores(4));
        let ends = Ends::of(&front).await.unwrap();
        let proxy = Proxy::before(lab.db()).await.unwrap();
        let way: Settings = proxy.settings().clone();
        let far = broker(lab.stores_by(&way, 4));
        serve(&far, 2).await.unwrap();
        proxy.arm(cut, nth);
        let (events, begun) = events(3);
        for event in &events {
            dispatch(&front, event).await.unwrap();
        }
        verdict(&lab, &ends, &begun).await;
        assert_eq!(proxy.cuts(), 1, "{cut:?} {nth}");
        far.stop().await.unwrap();
        front.stop().await.unwrap();
    }))
    .await;
}

/// How many orchestrations there are; 2,000 when somebody has the time.
fn orchestrations() -> u32 {
    std::env::var("BROKER_CHAOS").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_processes_killed_at_random_every_orchestration_ends_once() {
    let lab = Lab::new().await;
    let front = broker(lab.stores(4));
    let ends = Ends::of(&front).await.unwrap();
    let spawn = || lab.child(WORKER).broker().concurrency(8).spawn();
    let mut children = [spawn(), spawn(), spawn()];
    ready(&mut children[0]).await;
    let (events, begun) = events(orchestrations());
    let dispatching = async {
        for event in &events {
            dispatch(&front, event).await.unwrap();
        }
    };
    let mut dice = Dice::new(7);
    let killing = async {
        let mut kills = 0;
        while ends.count() < begun.len() && kills < 40 {
            tokio::time::sleep(LOOK).await;
            let victim = dice.index(3);
            children[victim].kill9().unwrap();
            children[victim] = spawn();
            ready(&mut children[victim]).await;
            kills += 1;
        }
        assert!(kills > 3, "only {kills} were killed");
    };
    tokio::join!(dispatching, killing);
    verdict(&lab, &ends, &begun).await;
    front.stop().await.unwrap();
}

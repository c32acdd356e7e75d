//! Handlers of a broker are killed, their connections cut and Postgres with them; every orchestration ends once all the same (X1, X2,
//! X3, X6, faults F01 to F06, F14, F31, F32; 1.12.2).

use std::collections::BTreeMap;

use mainspring::{Backend, ExecutionStatus, Migrator, Names, Settings, broker::CloudEvent};
use mainspring_testing::{ChildWorker, Cluster, ClusterOptions, Cut, Dice, History, Proxy};
use mainspring_tests::{
    LOOK, Lab,
    broker::{COMMITS, Ends, QUEUES, begin, begin_in_vain, broker, dispatch, serve},
    until,
};

use tokio::task::block_in_place;

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
    assert_eq!(report.with_status(ExecutionStatus::Completed), begun.len() as u64);
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

/// A worker process that takes part is killed at each of the first `commits` commits of what `event` begins, before and behind it;
/// then others go on, until `verdict` has seen what it wants.
async fn killed_at_any_commit(
    commits: u64,
    event: impl Fn() -> CloudEvent,
    verdict: impl AsyncFn(&Lab, &Ends, &CloudEvent),
) {
    let points = (1..=commits).flat_map(|nth| ["commit.before", "commit.after"].map(|point| (point, nth)));
    let (event, verdict) = (&event, &verdict);
    all(points.map(|(point, nth)| async move {
        let lab = Lab::new().await;
        let front = broker(lab.stores(4));
        let ends = Ends::of(&front).await.unwrap();
        let mut child = lab.child(WORKER).broker().faults(&format!("{point}=stop@{nth}")).spawn();
        ready(&mut child).await;
        let event = event();
        dispatch(&front, &event).await.unwrap();
        hit(&mut child, point).await;
        child.kill9().unwrap();
        serve(&front, 2).await.unwrap();
        verdict(&lab, &ends, &event).await;
        front.stop().await.unwrap();
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_commit_a_handler_neither_loses_nor_repeats_what_it_says() {
    let ended = async |lab: &Lab, ends: &Ends, event: &CloudEvent| {
        verdict(lab, ends, &BTreeMap::from([(event.id().to_owned(), 0.0)])).await;
    };
    killed_at_any_commit(COMMITS, || begin(0), ended).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_postgres_loses_no_orchestration_and_ends_none_twice() {
    // X2, X3, fault F14: what was acknowledged is with the kernel, as a throwaway cluster does not do by itself
    let options = ClusterOptions::throwaway().setting("synchronous_commit", "on");
    let mut cluster = block_in_place(|| Cluster::start(options)).unwrap();
    let url = cluster.url("postgres");
    let settings = Settings::parse(&url).unwrap();
    Migrator::new(settings.clone(), Names::default()).up().await.unwrap();
    let lab = Lab::at(&url, settings);
    let (front, far) = (broker(lab.stores(4)), broker(lab.stores(4)));
    let ends = Ends::of(&front).await.unwrap();
    serve(&far, 8).await.unwrap();
    let (events, begun) = events(orchestrations());
    let dispatching = async {
        for event in &events {
            dispatch(&front, event).await.unwrap();
        }
    };
    let killing = async {
        for ended in [20, 70] {
            until("the load is there", async || ends.count() >= ended).await;
            block_in_place(|| cluster.kill9()).unwrap();
            block_in_place(|| cluster.restart()).unwrap();
        }
    };
    tokio::join!(dispatching, killing);
    verdict(&lab, &ends, &begun).await;
    for queue in QUEUES {
        assert!(lab.near().queue().dead_letters(queue, 1).await.unwrap().is_empty(), "{queue}");
    }
    far.stop().await.unwrap();
    front.stop().await.unwrap();
}

/// The orchestration failed and said so once, and its event is one dead letter.
async fn given_up(lab: &Lab, ends: &Ends, event: &CloudEvent) {
    until("the end was heard", async || ends.count() == 1).await;
    let queue = lab.near().queue();
    until("all else is done", async || {
        for name in QUEUES {
            let busy = queue.stats(name).await.map(|stats| stats.ready + stats.claimed + stats.deferred);
            if busy.is_ok_and(|busy| busy > 0) {
                return false;
            }
        }
        true
    })
    .await;
    let heard = ends.all();
    // What is no average is heard as none.
    assert!(heard[event.id()].len() == 1 && heard[event.id()][0].is_nan(), "{heard:?}");
    assert_eq!(queue.dead_letters("cmd.total.sum", 10).await.unwrap().len(), 1);
    let report = History::new().check(lab.near()).await.unwrap();
    assert_eq!(report.with_status(ExecutionStatus::Failed), 1);
    let broken = lab.broken().await;
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_commit_whoever_waits_hears_once_of_a_handler_that_always_fails() {
    // It begins, the service gives up, it fails.
    killed_at_any_commit(3, begin_in_vain, given_up).await;
}

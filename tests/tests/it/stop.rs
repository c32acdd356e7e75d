//! A graceful stop under load: nothing more is begun, what can finish does, and the rest is released at once (X11, fault F10).

use std::{pin::pin, sync::Arc, time::Duration};

use mainspring::{Backend, Engine, Flow, Invocation, Worker, flow::Step};
use mainspring_testing::Faults;
use mainspring_tests::{LOOK, Lab, order, until};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use crate::{WORKER, hit};

/// Much longer than the test: nobody can wait for it.
const LONG_LEASE: Duration = Duration::from_secs(300);

/// An engine whose `slow` steps of executions with `hang` never end on it, and whose others end when `finish` is notified.
fn slow(lab: &Lab, begun: &Arc<Semaphore>, finish: &Arc<Notify>, hangs: bool) -> Engine {
    let flow = Flow::builder("slow", "1.0.0").step(Step::new("slow", "slow"));
    let (begun, finish, ledger) = (begun.clone(), finish.clone(), lab.ledger.clone());
    let slow = move |call: Invocation, _input: Value| {
        let (begun, finish, ledger) = (begun.clone(), finish.clone(), ledger.clone());
        async move {
            let told = finish.notified();
            begun.add_permits(1);
            match call.get("hang") {
                Some(Value::Bool(true)) if hangs => call.cancel().cancelled().await,
                _ if hangs => told.await,
                _ => {}
            }
            order::note(&ledger, &call);
            Ok(json!(null))
        }
    };
    let builder = order::builder(lab.stores(4), &lab.ledger, &Faults::none()).lease(LONG_LEASE);
    builder.handle_fn("slow", slow).flow(flow.build().unwrap()).build().unwrap()
}

fn patient(engine: &Engine) -> Worker {
    engine.worker().concurrency(4).lease(LONG_LEASE).poll_interval(LOOK).maintenance_interval(LOOK)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_finishes_or_releases_and_others_take_over_at_once() {
    // X11, fault F10
    let lab = Lab::new().await;
    let (begun, finish) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let engine = slow(&lab, &begun, &finish, true);
    let mut ids = Vec::new();
    for n in 0..40 {
        // Of every four one never ends by itself.
        let create = engine.create("slow", json!({"hang": n % 4 == 3}));
        ids.push(create.await.unwrap().execution.id);
    }
    let first = patient(&engine).grace(Duration::from_millis(500)).start().unwrap();
    begun.acquire_many(4).await.unwrap().forget();

    let mut stop = pin!(first.stop());
    assert!(futures_util::poll!(&mut stop).is_pending());
    // Its slots become free while it stops, and nothing more is begun in them.
    finish.notify_waiters();
    assert_eq!(stop.await.unwrap(), 4);
    assert_eq!(begun.available_permits(), 0, "something was begun after the stop");
    assert_eq!(lab.near().queue().stats("default").await.unwrap().claimed, 0, "something was not released");
    let finished = lab.ledger.effects().iter().filter(|effect| effect.attempt == 1).count();
    assert!((3..=4).contains(&finished), "{finished} of the three that could were finished");

    let second = patient(&slow(&lab, &begun, &finish, false)).start().unwrap();
    let begin = Instant::now();
    let report = lab.verdict(&ids).await;
    assert!(begin.elapsed() < LONG_LEASE / 2);
    assert_eq!((report.recovered, report.steps_failed), (0, 0), "nobody died: {report}");
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_the_process_well_and_leaves_nothing_claimed() {
    // X11, fault F10
    let lab = Lab::new().await;
    let engine = lab.engine();
    let ids = lab.create(&engine, 60).await;
    let mut child = lab.child(WORKER).concurrency(8).faults("commit.after=error@20").spawn();
    hit(&mut child, "commit.after").await; // in full swing, and one commit is unknown to it
    child.terminate().unwrap();
    assert!(child.exit(mainspring_tests::PATIENCE).await.unwrap().success());
    assert!(!lab.are_over(&ids).await, "there was no load left");
    assert_eq!(lab.near().queue().stats("default").await.unwrap().claimed, 0);
    assert_eq!(lab.broken().await, Vec::<String>::new());
    let begun = lab.ledger.len();

    let second = patient(&engine).start().unwrap();
    let report = lab.all_completed(&ids).await;
    assert_eq!(report.recovered, 0, "nobody died: {report}");
    assert!(begun > 0);
    second.stop().await.unwrap();
    until("the queue is quiet", async || lab.broken().await.is_empty()).await;
}

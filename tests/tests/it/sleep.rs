//! A sleep of a day, over many restarts (X7).

use std::time::Duration;

use mainspring::{ExecutionStatus, Flow, Timeouts, event::kind, flow::Step};
use mainspring_testing::Faults;
use mainspring_tests::{Lab, order, worker};
use serde_json::json;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_sleep_over_many_restarts_ends_once_and_on_time() {
    // X7: half of the processes stop in good order, the others just end
    const SLEEPER: &str =
        "SELECT available_at = (SELECT wake_at FROM ms_executions WHERE id = subject), failures, lost
        FROM ms_deferred";
    let flow = Flow::builder("nap", "1.0.0")
        .step(Step::new("nap", "delay").config(json!({"ms": 24 * 3_600_000})).on_success("close"))
        .step(Step::new("close", "effect"));
    let flow = flow.build().unwrap();
    let lab = Lab::new().await;
    let restart = || {
        let builder = order::builder(lab.stores(4), &lab.ledger, &Faults::none()).flow(flow.clone());
        let engine = builder.build().unwrap();
        let worker = worker(&engine).start().unwrap();
        (engine, worker)
    };

    let (engine, first) = restart();
    let timeouts = Timeouts { execution_timeout_ms: 7 * 24 * 3_600_000, ..Timeouts::default() };
    let id = engine.create("nap", json!({})).timeouts(timeouts).await.unwrap().execution.id;
    let mut others = lab.create(&engine, 1).await;
    lab.over(&others).await;
    first.stop().await.unwrap();
    let asleep = lab.get(&id).await;
    assert_eq!(asleep.status, ExecutionStatus::Waiting);

    let client = lab.client().await;
    for n in 0..6_u32 {
        // Up to a minute before the end, however slow the machine is.
        lab.db().advance((DAY - Duration::from_secs(60)) / 6).await;
        let (engine, worker) = restart();
        // It works: it does something else, and looks for what is due on the way.
        let other = lab.create(&engine, 1).await;
        lab.over(&other).await;
        others.extend(other);
        let row = client.query_one(SLEEPER, &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2)), (true, 0, 0), "nothing was used up");
        assert_eq!(lab.get(&id).await, asleep, "restart {n}");
        if n.is_multiple_of(2) {
            worker.stop().await.unwrap();
        }
    }

    lab.db().advance(Duration::from_secs(60)).await;
    let (_, last) = restart();
    lab.over(std::slice::from_ref(&id)).await;
    last.stop().await.unwrap();
    let history = lab.near().events.clone();
    let history = mainspring::EventStore::get_by_execution(&history, &id).await.unwrap();
    let resumed: Vec<_> = history.iter().filter(|e| e.event.event_type == kind::EXECUTION_RESUMED).collect();
    assert_eq!(resumed.len(), 1, "{history:?}");
    let (due, woken) = (asleep.wake_at.unwrap(), resumed[0].created_at);
    assert!(woken >= due, "woken at {woken:?}, due at {due:?}");
    assert!(woken.since(due) < Duration::from_secs(60), "woken at {woken:?}, due at {due:?}");
    assert_eq!(lab.ledger.effects().iter().filter(|effect| effect.execution == id.as_str()).count(), 1);

    others.push(id);
    let report = lab.verdict(&others).await;
    assert_eq!((report.recovered, report.steps_failed), (0, 0), "{report}");
}

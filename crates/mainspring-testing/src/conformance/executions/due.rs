//! What an execution store finds because time has passed.

use mainspring_core::{Backend, Execution, ExecutionStatus, Expect, Timeouts};

use crate::{
    TimeTravel,
    conformance::{
        make::{execution, hours, id, ids, secs, worker},
        on_time,
    },
};

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on_time(&fresh, a_wait_is_found_when_its_time_has_come).await;
    on_time(&fresh, an_execution_times_out_after_a_day_or_its_own_time).await;
    on_time(&fresh, a_wait_times_out_after_a_week_or_its_own_time).await;
    on_time(&fresh, a_wait_with_a_time_of_its_own_has_no_timeout).await;
    on_time(&fresh, each_wait_has_its_own_timeout).await;
    on_time(&fresh, an_execution_is_an_orphan_when_its_holder_is_dead).await;
}

fn waiting(text: &str) -> Execution {
    Execution { status: ExecutionStatus::Waiting, ..execution(text) }
}

fn timeouts(execution: u64, wait: u64) -> Timeouts {
    Timeouts { execution_timeout_ms: execution * 1_000, wait_timeout_ms: wait * 1_000 }
}

/// scenario F30
pub async fn a_wait_is_found_when_its_time_has_come(backend: &dyn Backend, time: &dyn TimeTravel) {
    let store = backend.executions();
    for (text, after) in [("c", 3), ("a", 1), ("b", 2), ("late", 50)] {
        let wake_at = Some(backend.now() + hours(after));
        store.create(Execution { wake_at, ..waiting(text) }).await.unwrap();
    }
    store.create(waiting("for nobody")).await.unwrap();
    assert!(store.find_waiting(10).await.unwrap().is_empty());
    time.advance(hours(4)).await;
    assert_eq!(ids(&store.find_waiting(10).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(ids(&store.find_waiting(2).await.unwrap()), ["a", "b"]);
    let woken = store.get(&id("a")).await.unwrap().unwrap();
    let woken = Execution { status: ExecutionStatus::Running, wake_at: None, ..woken };
    store.update(woken, Expect::Revision(1)).await.unwrap();
    assert_eq!(ids(&store.find_waiting(10).await.unwrap()), ["b", "c"]);
}

/// scenario F34
pub async fn an_execution_times_out_after_a_day_or_its_own_time(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    let store = backend.executions();
    let ended =
        Execution { status: ExecutionStatus::Completed, timeouts: timeouts(60, 60), ..execution("ended") };
    let short = Execution { timeouts: timeouts(3600, 60), ..execution("short") };
    let long = Execution { timeouts: timeouts(48 * 3600, 60), ..execution("long") };
    for one in [ended, short, long, execution("default")] {
        store.create(one).await.unwrap();
    }
    assert!(store.find_timed_out_executions(10).await.unwrap().is_empty());
    time.advance(hours(2)).await;
    assert_eq!(ids(&store.find_timed_out_executions(10).await.unwrap()), ["short"]);
    time.advance(hours(23)).await;
    assert_eq!(ids(&store.find_timed_out_executions(10).await.unwrap()), ["short", "default"]);
    assert_eq!(ids(&store.find_timed_out_executions(1).await.unwrap()), ["short"]);
}

/// scenario F35
pub async fn a_wait_times_out_after_a_week_or_its_own_time(backend: &dyn Backend, time: &dyn TimeTravel) {
    let store = backend.executions();
    let since = |one: Execution| Execution { wait_started_at: Some(backend.now()), ..one };
    let short = Execution { timeouts: timeouts(1, 3600), ..waiting("short") };
    for one in [short, waiting("default"), execution("not waiting")] {
        store.create(since(one)).await.unwrap();
    }
    assert!(store.find_timed_out_waits(10).await.unwrap().is_empty());
    time.advance(hours(2)).await;
    assert_eq!(ids(&store.find_timed_out_waits(10).await.unwrap()), ["short"]);
    time.advance(hours(7 * 24)).await;
    assert_eq!(ids(&store.find_timed_out_waits(10).await.unwrap()), ["short", "default"]);
    assert_eq!(ids(&store.find_timed_out_waits(1).await.unwrap()), ["short"]);
}

/// Its time will come by itself.
pub async fn a_wait_with_a_time_of_its_own_has_no_timeout(backend: &dyn Backend, time: &dyn TimeTravel) {
    let now = backend.now();
    let timed = Execution { wake_at: Some(now + hours(900)), wait_started_at: Some(now), ..waiting("timed") };
    backend.executions().create(timed).await.unwrap();
    time.advance(hours(800)).await;
    assert!(backend.executions().find_timed_out_waits(10).await.unwrap().is_empty());
}

/// A second wait begins anew, and an execution that runs waits no longer.
pub async fn each_wait_has_its_own_timeout(backend: &dyn Backend, time: &dyn TimeTravel) {
    let store = backend.executions();
    let wait =
        Execution { timeouts: timeouts(999, 3600), wait_started_at: Some(backend.now()), ..waiting("e") };
    let wait = store.create(wait).await.unwrap();
    time.advance(hours(2)).await;
    assert_eq!(store.find_timed_out_waits(10).await.unwrap().len(), 1);
    let runs = Execution { status: ExecutionStatus::Running, wait_started_at: None, ..wait };
    let runs = store.update(runs, Expect::Revision(1)).await.unwrap();
    assert!(store.find_timed_out_waits(10).await.unwrap().is_empty());
    let since = Some(runs.updated_at);
    let again = Execution { status: ExecutionStatus::Waiting, wait_started_at: since, ..runs };
    store.update(again, Expect::Revision(2)).await.unwrap();
    assert!(store.find_timed_out_waits(10).await.unwrap().is_empty());
    time.advance(hours(2)).await;
    assert_eq!(store.find_timed_out_waits(10).await.unwrap().len(), 1);
}

/// Alive is who has a liveness row that is not out of date.
pub async fn an_execution_is_an_orphan_when_its_holder_is_dead(backend: &dyn Backend, time: &dyn TimeTravel) {
    let store = backend.executions();
    backend.queue().register(&worker("w"), secs(600)).await.unwrap();
    let held = |text, by| Execution {
        status: ExecutionStatus::Running,
        holder: Some(worker(by)),
        ..execution(text)
    };
    for one in [held("alive", "w"), held("orphan", "never seen"), execution("free")] {
        store.create(one).await.unwrap();
    }
    assert_eq!(ids(&store.find_orphans(10).await.unwrap()), ["orphan"]);
    time.advance(secs(500)).await;
    backend.queue().extend(&worker("w"), secs(600)).await.unwrap();
    time.advance(secs(500)).await;
    assert_eq!(ids(&store.find_orphans(10).await.unwrap()), ["orphan"]);
    time.advance(secs(200)).await;
    assert_eq!(store.find_orphans(10).await.unwrap().len(), 2);
    backend.queue().maintain().await.unwrap();
    assert_eq!(store.find_orphans(10).await.unwrap().len(), 2);
}

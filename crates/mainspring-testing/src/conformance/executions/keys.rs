//! Idempotency keys: one execution for one key, as long as its window is open.

use futures_util::future::join_all;
use mainspring_core::{Backend, Execution, ExecutionStatus, Expect};

use crate::{
    TimeTravel,
    conformance::{
        make::{execution, hours, id, keyed, secs},
        on, on_time,
    },
};

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_key_finds_its_execution).await;
    on(&fresh, a_taken_key_is_refused).await;
    on(&fresh, a_key_is_of_one_tenant_and_flow).await;
    on(&fresh, sixteen_creates_with_one_key_make_one).await;
    on(&fresh, a_key_stays_taken_when_its_execution_ends).await;
    on(&fresh, a_deleted_execution_frees_its_key).await;
    on_time(&fresh, a_key_is_free_after_its_window).await;
    on_time(&fresh, an_execution_that_lost_its_key_can_still_be_written).await;
}

/// scenarios F11, F32
pub async fn a_key_finds_its_execution(backend: &dyn Backend) {
    let stored = backend.executions().create(keyed("e", "k", hours(1), backend)).await.unwrap();
    let found = backend.executions().find_by_idempotency_key("", "order", "k").await.unwrap();
    assert_eq!(found, Some(stored));
    backend.executions().create(execution("without")).await.unwrap();
    assert!(backend.executions().find_by_idempotency_key("", "order", "other").await.unwrap().is_none());
}

/// scenario F11, fault F49: whatever else the second one is.
pub async fn a_taken_key_is_refused(backend: &dyn Backend) {
    backend.executions().create(keyed("first", "k", hours(1), backend)).await.unwrap();
    let second = Execution { flow_version: "2.0.0".into(), ..keyed("second", "k", hours(1), backend) };
    let error = backend.executions().create(second).await.unwrap_err();
    assert!(error.is_conflict());
    assert!(backend.executions().get(&id("second")).await.unwrap().is_none());
}

/// scenarios F12, F32
pub async fn a_key_is_of_one_tenant_and_flow(backend: &dyn Backend) {
    let store = backend.executions();
    store.create(keyed("a", "k", hours(1), backend)).await.unwrap();
    store.create(keyed("b", "other", hours(1), backend)).await.unwrap();
    store.create(Execution { flow_id: "other".into(), ..keyed("c", "k", hours(1), backend) }).await.unwrap();
    store.create(Execution { tenant: "acme".into(), ..keyed("d", "k", hours(1), backend) }).await.unwrap();
    for (tenant, flow, key, expected) in [
        ("", "order", "k", "a"),
        ("", "order", "other", "b"),
        ("", "other", "k", "c"),
        ("acme", "order", "k", "d"),
    ] {
        let found = store.find_by_idempotency_key(tenant, flow, key).await.unwrap().unwrap();
        assert_eq!(found.id, id(expected));
    }
}

/// scenario F11, at once
pub async fn sixteen_creates_with_one_key_make_one(backend: &dyn Backend) {
    let create = |n| backend.executions().create(keyed(&format!("e{n}"), "k", hours(1), backend));
    let results = join_all((0..16).map(create)).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    assert!(lost.into_iter().all(|result| result.unwrap_err().is_conflict()));
    let winner = won.into_iter().next().unwrap().unwrap();
    let found = backend.executions().find_by_idempotency_key("", "order", "k").await.unwrap();
    assert_eq!(found, Some(winner));
}

/// A second call within the window finds the result of the first.
pub async fn a_key_stays_taken_when_its_execution_ends(backend: &dyn Backend) {
    let stored = backend.executions().create(keyed("e", "k", hours(1), backend)).await.unwrap();
    let ended = Execution { status: ExecutionStatus::Completed, ..stored };
    let ended = backend.executions().update(ended, Expect::Revision(1)).await.unwrap();
    assert!(backend.executions().create(keyed("f", "k", hours(1), backend)).await.unwrap_err().is_conflict());
    let found = backend.executions().find_by_idempotency_key("", "order", "k").await.unwrap();
    assert_eq!(found, Some(ended));
}

/// Nothing is left to find.
pub async fn a_deleted_execution_frees_its_key(backend: &dyn Backend) {
    backend.executions().create(keyed("e", "k", hours(1), backend)).await.unwrap();
    assert!(backend.executions().delete(&id("e")).await.unwrap());
    backend.executions().create(keyed("e", "other", hours(1), backend)).await.unwrap();
    assert!(backend.executions().find_by_idempotency_key("", "order", "k").await.unwrap().is_none());
    backend.executions().create(keyed("f", "k", hours(1), backend)).await.unwrap();
}

/// scenarios F13, F32, fault F49
pub async fn a_key_is_free_after_its_window(backend: &dyn Backend, time: &dyn TimeTravel) {
    let store = backend.executions();
    let first = store.create(keyed("first", "k", hours(1), backend)).await.unwrap();
    assert_eq!(first.idempotency_key.as_deref(), Some("k"));
    time.advance(hours(1) + secs(1)).await;
    assert!(store.find_by_idempotency_key("", "order", "k").await.unwrap().is_none());
    let second = Execution {
        idempotency_expires_at: Some(first.created_at + hours(9)),
        ..keyed("second", "k", hours(1), backend)
    };
    store.create(second).await.unwrap();
    let found = store.find_by_idempotency_key("", "order", "k").await.unwrap().unwrap();
    assert_eq!(found.id, id("second"));
    assert!(store.get(&id("first")).await.unwrap().is_some());
}

/// The write that builds on what was read before wins as ever, and does not take the key back.
pub async fn an_execution_that_lost_its_key_can_still_be_written(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    let store = backend.executions();
    let first = store.create(keyed("first", "k", hours(1), backend)).await.unwrap();
    time.advance(hours(2)).await;
    let until = Some(first.created_at + hours(9));
    store
        .create(Execution { idempotency_expires_at: until, ..keyed("second", "k", hours(1), backend) })
        .await
        .unwrap();
    store.update(Execution { step_count: 1, ..first }, Expect::Revision(1)).await.unwrap();
    let found = store.find_by_idempotency_key("", "order", "k").await.unwrap().unwrap();
    assert_eq!(found.id, id("second"));
}

//! The memory backend passes every suite, bare and inside a decorator that breaks nothing.

use std::time::Duration;

use mainspring_core::{Backend, Execution, ExecutionId, NewMessage};
use mainspring_testing::{Faults, FaultyBackend, MemoryBackend, conformance};

async fn fresh() -> (MemoryBackend, MemoryBackend) {
    let backend = MemoryBackend::new();
    (backend.clone(), backend)
}

#[tokio::test]
async fn executions() {
    conformance::executions::suite(fresh).await;
}

#[tokio::test]
async fn flows() {
    conformance::flows::suite(fresh).await;
}

#[tokio::test]
async fn jobs() {
    conformance::jobs::suite(fresh).await;
}

#[tokio::test]
async fn events() {
    conformance::events::suite(fresh).await;
}

#[tokio::test]
async fn streams() {
    conformance::streams::suite(fresh).await;
}

#[tokio::test]
async fn tokens() {
    conformance::tokens::suite(fresh).await;
}

#[tokio::test]
async fn traces() {
    conformance::traces::suite(fresh).await;
}

#[tokio::test]
async fn context() {
    conformance::context::suite(fresh).await;
}

#[tokio::test]
async fn queue() {
    conformance::queue::suite(fresh).await;
}

#[tokio::test]
async fn queue_policies() {
    conformance::queue::policies::suite(fresh).await;
}

#[tokio::test]
async fn queue_keys() {
    conformance::queue::keys::suite(fresh).await;
}

#[tokio::test]
async fn queue_parents() {
    conformance::queue::parents::suite(fresh).await;
}

#[tokio::test]
async fn queue_beats() {
    conformance::queue::beats::suite(fresh).await;
}

#[tokio::test]
async fn queue_ends() {
    conformance::queue::ends::suite(fresh).await;
}

#[tokio::test]
async fn queue_admin() {
    conformance::queue::admin::suite(fresh).await;
}

#[tokio::test]
async fn queue_deaths() {
    conformance::queue::deaths::suite(fresh).await;
}

#[tokio::test]
async fn commit() {
    conformance::commit::suite(fresh).await;
}

#[tokio::test]
async fn a_decorator_without_faults_changes_nothing() {
    let fresh = async || {
        let backend = MemoryBackend::new();
        (FaultyBackend::new(backend.clone(), Faults::none()), backend)
    };
    conformance::all(fresh).await;
}

#[tokio::test]
async fn time_stands_still_until_it_is_moved() {
    let backend = MemoryBackend::new();
    let start = backend.now();
    assert_eq!(start.to_string(), "2026-01-01T00:00:00Z");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(backend.now(), start);
    backend.advance(Duration::from_secs(5));
    assert_eq!(backend.now(), start + Duration::from_secs(5));
    let real = MemoryBackend::realtime();
    let start = real.now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(real.now() > start);
}

#[tokio::test]
async fn moving_time_wakes_who_waits() {
    let backend = MemoryBackend::new();
    let wait = backend.queue().wait("work", Duration::from_secs(60));
    let later = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        backend.advance(Duration::from_secs(1));
    };
    let both = futures_util::future::join(wait, later);
    tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
}

#[tokio::test]
async fn what_a_constraint_would_refuse_is_refused_at_the_door() {
    let backend = MemoryBackend::new();
    let id = ExecutionId::new("e").unwrap();
    let mut execution = Execution::new(id.clone(), "order", "1.0.0", "charge");
    execution.wake_at = Some(backend.now());
    let error = backend.executions().create(execution.clone()).await.unwrap_err();
    assert_eq!(error.code(), "invalid");
    execution.wake_at = None;
    execution.idempotency_key = Some("k".into());
    assert_eq!(backend.executions().create(execution).await.unwrap_err().code(), "invalid");
    assert!(backend.executions().get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_clone_is_the_same_backend() {
    let backend = MemoryBackend::new();
    let message = NewMessage::new("work", "note", serde_json::json!(1));
    backend.clone().queue().push(vec![message]).await.unwrap();
    assert_eq!(backend.queue().stats("work").await.unwrap().ready, 1);
}

#[tokio::test]
async fn random_histories_of_queues() {
    conformance::queue::random::suite(fresh, 300).await;
}

//! The memory backend passes every suite.

use mainspring_testing::{MemoryBackend, conformance};

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
async fn tokens() {
    conformance::tokens::suite(fresh).await;
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
async fn commit() {
    conformance::commit::suite(fresh).await;
}

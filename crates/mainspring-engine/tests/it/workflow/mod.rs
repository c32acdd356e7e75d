//! Durable functions on the memory backend: what W13 to W21 and W44 ask of replays, and what holds when code changes,
//! processes die and messages come at the wrong moment.

mod abuse;
mod back;
mod basics;
mod cleanup;
mod crashes;
mod drift;
mod emits;
mod ends;
mod keeping;
mod kept;
mod parallel;
mod races;
mod remote;
mod repeat;
mod waits;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_core::{
    Backend, ClaimRequest, Execution, ExecutionId, ExecutionStatus, MessageId, NewMessage, WorkerId,
};
use mainspring_engine::{ResultError, WorkflowHandle};
use mainspring_testing::MemoryBackend;
use serde::de::DeserializeOwned;

/// Counts calls.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU32>);

impl Counter {
    pub(crate) fn up(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) async fn row(backend: &MemoryBackend, id: &ExecutionId) -> Execution {
    backend.executions().get(id).await.unwrap().unwrap()
}

pub(crate) async fn status(backend: &MemoryBackend, id: &ExecutionId) -> ExecutionStatus {
    row(backend, id).await.status
}

/// Its result; it has to be over.
pub(crate) async fn result<O, E>(handle: &WorkflowHandle<O, E>) -> Result<O, ResultError<E>>
where
    O: DeserializeOwned,
    E: DeserializeOwned,
{
    let execution = handle.execution().await.unwrap();
    assert!(execution.status.is_terminal(), "{execution:#?}");
    handle.result().await
}

/// The recorded steps, `kind key`, in order.
pub(crate) async fn journal(backend: &MemoryBackend, id: &ExecutionId) -> Vec<String> {
    let events = crate::history(backend, id).await;
    let steps = events.into_iter().filter_map(|recorded| {
        let key = recorded.event.subject?;
        Some(format!("{} {key}", recorded.event.event_type))
    });
    steps.collect()
}

/// Puts a copy of every message beside it.
pub(crate) async fn repeat_messages(backend: &MemoryBackend, queue: &str) {
    let me = WorkerId::generate();
    let request = ClaimRequest::new(queue, me.clone(), secs(30), 1_000);
    let claimed = backend.queue().claim(request).await.unwrap().deliveries;
    let copies =
        claimed.into_iter().map(|delivery| NewMessage { id: MessageId::generate(), ..delivery.message });
    backend.queue().push(copies.collect()).await.unwrap();
    backend.queue().release(&me).await.unwrap();
}

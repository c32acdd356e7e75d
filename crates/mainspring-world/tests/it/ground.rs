//! One ground for both backends.

use std::sync::Arc;

use mainspring::{PgStoreOptions, create_pg_stores};
use mainspring_core::{Backend, Error, ExecutionId, Result};
use mainspring_testing::{MemoryBackend, TestDb};
use mainspring_world::{
    Created, EventType, Fact, NewRun, NewStep, Order, Paging, Resolve, RunEvent, Storage, new_run_id,
};
use serde_json::{Value, json};

/// Runs each of these cases on memory and on Postgres, and as what an application does that is called, over both ways.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::ground::memory()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::ground::postgres().await).await;
            })*
        }
        mod called {
            use crate::way::{Way, played};

            $(#[tokio::test]
            async fn $case() {
                played(Way::Function, super::$case).await;
                played(Way::Http, super::$case).await;
            })*
        }
    };
}
pub(crate) use on_both;

#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) storage: Storage,
    _db: Option<TestDb>,
}

pub(crate) fn memory() -> Ground {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    Ground { storage: Storage::new(Arc::clone(&backend)), backend, _db: None }
}

pub(crate) async fn postgres() -> Ground {
    let db = TestDb::new().await;
    let options = PgStoreOptions {
        table_prefix: db.names().prefix().to_owned(),
        schema: db.names().schema().to_owned(),
        ..PgStoreOptions::default()
    };
    let backend: Arc<dyn Backend> = Arc::new(create_pg_stores(db.pool(), options).unwrap());
    Ground { storage: Storage::new(Arc::clone(&backend)), backend, _db: Some(db) }
}

impl Ground {
    /// Another process on the same database.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { storage: Storage::new(Arc::clone(&self.backend)), ..self.clone() }
    }

    pub(crate) fn run_id(&self) -> ExecutionId {
        new_run_id(self.backend.now())
    }

    pub(crate) async fn attempt(&self, run: &ExecutionId, event: impl Into<RunEvent>) -> Result<Created> {
        self.storage.events().create(Some(run), event).await
    }

    pub(crate) async fn does(&self, run: &ExecutionId, event: impl Into<RunEvent>) -> Created {
        self.attempt(run, event).await.unwrap()
    }

    pub(crate) async fn refuses(&self, run: &ExecutionId, event: impl Into<RunEvent>) -> Error {
        self.attempt(run, event).await.unwrap_err()
    }

    pub(crate) async fn created(&self) -> ExecutionId {
        self.storage.runs().create(NewRun::new("add", json!([1, 2]))).await.unwrap().run_id
    }

    pub(crate) async fn running(&self) -> ExecutionId {
        let run = self.created().await;
        self.does(&run, start()).await;
        run
    }

    /// The types of a run's events, in order.
    pub(crate) async fn log(&self, run: &ExecutionId) -> Vec<EventType> {
        let page = Paging::limit(1_000).order(Order::Ascending);
        let events = self.storage.events().list(run, &page, Resolve::All).await.unwrap();
        events.data.into_iter().map(|event| event.event_type).collect()
    }
}

pub(crate) fn id(text: &str) -> ExecutionId {
    ExecutionId::new(text).unwrap()
}

pub(crate) fn start() -> Fact {
    Fact::RunStarted { run_input: None }
}

pub(crate) fn complete(output: impl Into<Option<Value>>) -> Fact {
    Fact::RunCompleted { output: output.into() }
}

pub(crate) fn cancel() -> Fact {
    Fact::RunCancelled { reason: None }
}

pub(crate) fn create_step(step: &str) -> RunEvent {
    RunEvent::about(step, Fact::StepCreated(new_step(json!([1, 2]))))
}

pub(crate) fn new_step(input: Value) -> NewStep {
    NewStep { step_name: "plus".to_owned(), input: Some(input) }
}

pub(crate) fn start_step(step: &str) -> RunEvent {
    RunEvent::about(step, Fact::StepStarted { create: None })
}

pub(crate) fn claim_step(step: &str) -> RunEvent {
    RunEvent::about(step, Fact::StepStarted { create: Some(new_step(json!(1))) })
}

pub(crate) fn complete_step(step: &str, result: impl Into<Option<Value>>) -> RunEvent {
    RunEvent::about(step, Fact::StepCompleted { result: result.into() })
}

pub(crate) fn create_hook(hook: &str, token: &str) -> RunEvent {
    let fact =
        Fact::HookCreated { token: token.to_owned(), metadata: Some(json!({"m": 1})), is_webhook: false };
    RunEvent::about(hook, fact)
}

pub(crate) fn receive(hook: &str, payload: Value) -> RunEvent {
    RunEvent::about(hook, Fact::HookReceived { payload: Some(payload) })
}

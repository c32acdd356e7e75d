//! One ground for memory, for Postgres, and for Postgres with Redis beside it.

use std::{ops::Deref, sync::Arc, time::Duration};

use mainspring::{
    PgStoreOptions, create_pg_stores,
    redis::{HybridOptions, RedisOptions, create_world_from},
};
use mainspring_core::{Backend, ClaimRequest, Error, ExecutionId, Result, WorkerId};
use mainspring_embedded::RedisServer;
use mainspring_testing::{MemoryBackend, TestDb, TimeTravel, redis_server};
use mainspring_world::{
    Created, EventType, Fact, NewRun, NewStep, Order, Paging, Resolve, RunEvent, Storage, new_run_id,
};
use serde_json::{Value, json};

/// Runs each of these cases on memory, on Postgres, and there with Redis beside it (R01), and as what an application does that is called, over both ways.
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
        mod hybrid {
            $(#[tokio::test]
            async fn $case() {
                let Some(redis) = crate::ground::redis() else { return };
                super::$case(crate::ground::hybrid(redis).await).await;
            })*
        }
        mod called {
            use crate::way::{Way, played};

            $(#[tokio::test]
            async fn $case() {
                played(Way::FUNCTION, super::$case).await;
                played(Way::HTTP, super::$case).await;
            })*
        }
    };
}
pub(crate) use on_both;

#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) storage: Storage,
    /// Keeps its database, too.
    clock: Arc<dyn TimeTravel>,
    _redis: Option<Arc<RedisServer>>,
}

pub(crate) fn memory() -> Ground {
    let backend = MemoryBackend::new();
    Ground::new(Arc::new(backend.clone()), backend, None)
}

pub(crate) async fn postgres() -> Ground {
    let db = TestDb::new().await;
    let options = PgStoreOptions {
        table_prefix: db.names().prefix().to_owned(),
        schema: db.names().schema().to_owned(),
        ..PgStoreOptions::default()
    };
    Ground::new(Arc::new(create_pg_stores(db.pool(), options).unwrap()), db, None)
}

/// A Redis that several grounds share.
pub(crate) fn redis() -> Option<Arc<RedisServer>> {
    redis_server(&[]).map(Arc::new)
}

pub(crate) async fn hybrid(redis: Arc<RedisServer>) -> Ground {
    let db = TestDb::new().await;
    let own = RedisOptions { prefix: format!("{}:", db.name()), ..RedisOptions::parse(redis.url()).unwrap() };
    let options = HybridOptions { redis: Some(own), ..HybridOptions::default() };
    let variable = |name: &str| (name == "WORKFLOW_POSTGRES_URL").then(|| db.url().to_owned());
    let stores = create_world_from(options, variable).unwrap().stores;
    Ground::new(Arc::new(stores), db, Some(redis))
}

impl Deref for Ground {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.backend
    }
}

impl From<Ground> for Arc<dyn Backend> {
    fn from(ground: Ground) -> Self {
        ground.backend
    }
}

impl Ground {
    fn new(
        backend: Arc<dyn Backend>,
        clock: impl TimeTravel + 'static,
        redis: Option<Arc<RedisServer>>,
    ) -> Self {
        Self { storage: Storage::new(Arc::clone(&backend)), backend, clock: Arc::new(clock), _redis: redis }
    }

    pub(crate) async fn advance(&self, by: Duration) {
        self.clock.advance(by).await;
        // Stores know the time from what they were answered.
        let look = ClaimRequest::new("nothing", WorkerId::generate(), Duration::from_secs(1), 1);
        self.queue().claim(look).await.unwrap();
    }

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

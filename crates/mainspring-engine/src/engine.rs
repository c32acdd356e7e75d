//! The engine as a value: cheap to clone, without a type parameter.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use mainspring_core::{Backend, ContextLimits, Execution, ExecutionId, Flow, QueueDriver, Result};
use mainspring_worker::{BackendQueue, Worker};
use serde_json::Value;

use crate::{
    Create, EngineBuilder, HandlerRegistry, Lifecycle, Subscription, cancel::CancelHook,
    deliver::EngineDeliver, ends::Ends, flows::Flows, left::Left, listener::Listeners, local::Local,
    running::Running, workflow::Workflows,
};

/// Runs flows on any [`Backend`]; see the crate. A clone is the same engine.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) handlers: Arc<HandlerRegistry>,
    pub(crate) flows: Flows,
    pub(crate) workflows: Workflows,
    pub(crate) hooks: HashMap<String, CancelHook>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) ends: Arc<Ends>,
    pub(crate) options: Options,
    pub(crate) running: Arc<Running>,
    pub(crate) left: Arc<Left>,
    pub(crate) local: Local,
}

pub(crate) struct Options {
    pub(crate) queue: String,
    pub(crate) step_queue: Option<String>,
    pub(crate) max_steps: u32,
    pub(crate) step_timeout: Duration,
    pub(crate) limits: ContextLimits,
    pub(crate) lease: Duration,
    pub(crate) detect_foreign_awaits: bool,
    /// How long finished executions are kept, by flow or workflow.
    pub(crate) retention: HashMap<String, Duration>,
}

impl Engine {
    /// An engine on this backend, to be put together.
    pub fn builder(backend: impl Into<Arc<dyn Backend>>) -> EngineBuilder {
        EngineBuilder::new(backend.into())
    }

    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        handlers: HandlerRegistry,
        flows: Vec<Flow>,
        workflows: Workflows,
        hooks: HashMap<String, CancelHook>,
        listeners: Arc<Listeners>,
        options: Options,
    ) -> Self {
        Self(Arc::new_cyclic(|engine| Inner {
            handlers: Arc::new(handlers),
            flows: Flows::new(flows),
            workflows,
            hooks,
            listeners,
            ends: Arc::default(),
            running: Arc::default(),
            left: Arc::default(),
            local: Local::new(Arc::clone(&backend), engine.clone(), options.lease),
            backend,
            options,
        }))
    }

    /// The handlers it knows.
    pub fn handlers(&self) -> &HandlerRegistry {
        &self.0.handlers
    }

    /// What it runs on.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.0.backend
    }

    /// Saves the engine's own flows. The first create and the first round of a worker do this by themselves; calling it is
    /// for finding out early.
    ///
    /// # Errors
    /// Conflict when one of their versions was saved before with another content.
    pub async fn publish(&self) -> Result<()> {
        self.0.flows.publish(&*self.0.backend).await
    }

    /// A new execution of a flow, to be awaited: `engine.create("order", json!({"total": 42})).await?`.
    pub fn create(&self, flow_id: impl Into<String>, context: impl Into<Value>) -> Create {
        Create::new(self.clone(), flow_id.into(), context.into())
    }

    /// An execution by id.
    ///
    /// # Errors
    /// Only those of the backend.
    pub async fn get(&self, id: &ExecutionId) -> Result<Option<Execution>> {
        self.0.backend.executions().get(id).await
    }

    /// A worker for the engine's queue, to be configured and run.
    pub fn worker(&self) -> Worker {
        let backend = Arc::clone(&self.0.backend);
        Worker::new(self.queue_driver(), Arc::new(EngineDeliver(Arc::clone(&self.0))))
            .queue(self.0.options.queue.clone())
            .lease(self.0.options.lease)
            .clock(move || backend.now())
    }

    /// The queue of the backend, for workers of other messages.
    pub fn queue_driver(&self) -> Arc<dyn QueueDriver> {
        Arc::new(BackendQueue(Arc::clone(&self.0.backend)))
    }

    /// Tells `listener` of what this engine commits, for as long as the subscription lives: `*` is everything, `step.*` is
    /// every type that begins so, anything else is one type. It is called after the commit, on the task that committed, so it
    /// should be quick.
    pub fn subscribe(
        &self,
        pattern: &str,
        listener: impl Fn(&Lifecycle) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.listeners.subscribe(pattern, listener)
    }

    /// Gives back what this process drives without a queue, so that others take over at once. Workers are stopped by
    /// themselves.
    ///
    /// # Errors
    /// Only those of the backend; the leases expire then.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.local.release().await
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.0.handlers.all().count();
        f.debug_struct("Engine").field("handlers", &handlers).finish_non_exhaustive()
    }
}

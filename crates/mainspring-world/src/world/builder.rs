//! Putting a world together.

use std::{sync::Arc, time::Duration};

use mainspring_core::{Backend, Error, Result, limits};
use mainspring_engine::{Cx, Engine, EngineBuilder, Workflow, WorkflowResult};
use mainspring_http::Invoker;
use serde::{Serialize, de::DeserializeOwned};

use super::{Inner, Names, Transport, World, calls::Calls, circuit::Circuit, recovery::Recovery, steps};
use crate::{Storage, handlers::StepHandlers};

/// The prefix of the seed.
const PREFIX: &str = "workflow_";
/// Handlers at the same time, of each queue. Parents that wait for children hold none.
const CONCURRENCY: usize = 10;
const RECOVERY: Duration = Duration::from_secs(60);

/// A [`World`] being put together; see [`World::builder`].
#[must_use = "a builder does nothing until it builds"]
pub struct WorldBuilder {
    backend: Arc<dyn Backend>,
    engine: EngineBuilder,
    steps: StepHandlers,
    invoker: Option<Arc<dyn Invoker>>,
    transport: Option<Arc<dyn Transport>>,
    prefix: String,
    concurrency: usize,
    grace: Duration,
    lease: Duration,
    recovery: Option<Duration>,
    upkeep: bool,
}

impl WorldBuilder {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            engine: Engine::builder(Arc::clone(&backend)),
            backend,
            steps: StepHandlers::new(),
            invoker: None,
            transport: None,
            prefix: PREFIX.to_owned(),
            concurrency: CONCURRENCY,
            grace: Duration::from_secs(30),
            lease: Duration::from_secs(30),
            recovery: Some(RECOVERY),
            upkeep: true,
        }
    }

    /// Adds the code of a workflow.
    pub fn workflow<I, O, E, F, Fut>(mut self, workflow: Workflow<I, O, E>, function: F) -> Self
    where
        F: Fn(Cx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = WorkflowResult<O, E>> + Send + 'static,
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        E: Serialize + 'static,
    {
        self.engine = self.engine.register(workflow, function);
        self
    }

    /// Steps that are done in this process.
    pub fn steps(mut self, steps: StepHandlers) -> Self {
        self.steps = steps;
        self
    }

    /// How steps that are not here, and messages, reach whoever does them: a function of this process or HTTP.
    pub fn invoker(mut self, invoker: Arc<dyn Invoker>) -> Self {
        self.invoker = Some(invoker);
        self
    }

    /// A queue of one's own for messages. Defaults to none: they are delivered from the database.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// In front of the names of the queues. Defaults to `workflow_`.
    pub fn queue_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Most handlers called at the same time, of each queue. Defaults to 10.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// How long a close waits for what is in flight. Defaults to 30 seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long this process counts as alive after a sign of life. Defaults to 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often runs whose code is called are looked for that would never be called again, and how long nothing has happened
    /// to such a run; `None` for never. One process does it at a time. Not with a [`transport`](Self::transport), whose messages
    /// are not seen here. Defaults to a minute.
    pub fn recovery(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.recovery = every.into();
        self
    }

    /// Whether a started world does the [upkeep](Backend::start_upkeep) of its backend, beside all other processes that would:
    /// one of them does it at a time. For where it is done elsewhere, or with options of one's own. Defaults to yes.
    pub fn upkeep(mut self, does: bool) -> Self {
        self.upkeep = does;
        self
    }

    /// The world. Nothing runs until it is [started](World::start).
    ///
    /// # Errors
    /// Invalid, naming the option; conflict when two workflows or steps have one name.
    pub fn build(self) -> Result<World> {
        if self.transport.is_some() && self.invoker.is_none() {
            return Err(Error::invalid("transport", "brings messages to an invoker, and there is none"));
        }
        let name = |what: &str| format!("{}{what}", self.prefix);
        let names =
            Names { flows: name("flows"), steps: name("steps"), calls: Calls { queue: name("calls") } };
        let every = self.recovery.unwrap_or(RECOVERY);
        limits::check_duration("recovery", every)?;
        limits::check_name("queue_prefix", &names.flows)?;
        let mut engine = self.engine.queue(&names.flows).step_queue(&names.steps).lease(self.lease);
        let (local, circuit) = (Arc::new(self.steps), Arc::new(Circuit::new()));
        for step in local.names() {
            engine = steps::here(engine, step, Arc::clone(&local));
        }
        if let Some(invoker) = &self.invoker {
            engine = steps::elsewhere(engine, Arc::clone(invoker), Arc::clone(&circuit));
        }
        let storage = Storage::of_queue(self.backend, &names.calls.queue);
        Ok(World(Arc::new(Inner {
            recovery: Arc::new(Recovery::new(storage.clone(), names.calls.clone(), every)),
            recovers: self.recovery.is_some(),
            storage,
            engine: engine.build()?,
            invoker: self.invoker,
            transport: self.transport,
            names,
            concurrency: self.concurrency,
            grace: self.grace,
            lease: self.lease,
            upkeep: self.upkeep,
            started: tokio::sync::Mutex::default(),
            circuit,
            ready: tokio::sync::OnceCell::new(),
        })))
    }
}

//! Creating an execution: one commit with its row, its first event and the message that drives it.

use std::{future::IntoFuture, time::Duration};

use mainspring_core::{
    BoxFuture, Changes, Error, Execution, ExecutionId, NewEvent, Result, Timeouts, WorkerId,
    event::kind,
    flow::{Drive, created},
};
use serde_json::{Map, Value, json};
use tracing::Instrument;

use crate::{
    Engine,
    drive::{Driven, Standing},
    engine::Inner,
    left::Leaving,
    spans,
};

const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);
const LONGEST_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// A new execution to be created; see [`Engine::create`]. Await it, or [`run`](Self::run) it.
#[must_use = "nothing is created until this is awaited"]
#[derive(Debug, Clone)]
pub struct Create {
    engine: Engine,
    flow_id: String,
    version: Option<String>,
    context: Value,
    id: Option<String>,
    tenant: String,
    queue: Option<String>,
    idempotency_key: Option<String>,
    idempotency_window: Duration,
    metadata: Map<String, Value>,
    timeouts: Timeouts,
    parent: Option<ExecutionId>,
}

/// What a create brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// The new execution, or the one that was created with the same key before.
    pub execution: Execution,
    /// Whether this call created it.
    pub created: bool,
    /// Whether the idempotency key found it.
    pub idempotency_hit: bool,
}

impl Create {
    pub(crate) fn new(engine: Engine, flow_id: String, context: Value) -> Self {
        Self {
            engine,
            flow_id,
            version: None,
            context,
            id: None,
            tenant: String::new(),
            queue: None,
            idempotency_key: None,
            idempotency_window: DEFAULT_WINDOW,
            metadata: Map::new(),
            timeouts: Timeouts::default(),
            parent: None,
        }
    }

    /// An id of one's own. Defaults to a generated one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The isolation key. Defaults to none.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// This version of the flow. Defaults to the latest published one; either way it stays for the whole execution.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The queue of its wake-ups. Defaults to the engine's.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// A key under which a second create of the same flow within the window finds the first one.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// How long the key holds. Defaults to 24 hours; more than 7 days is 7 days.
    pub fn idempotency_window(mut self, window: Duration) -> Self {
        self.idempotency_window = window.min(LONGEST_WINDOW);
        self
    }

    /// Labels of one's own.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// How long it and its waits may last. Defaults to 24 hours and 7 days.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The execution that this one belongs to: it is cancelled with it.
    pub fn parent(mut self, parent: ExecutionId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Creates it and drives it in this process until it is over, or waits for someone outside; see [`Engine::run`]. Nothing
    /// goes through the queue: a flow of n steps is n + 1 commits.
    ///
    /// # Errors
    /// As awaiting it, and as [`Engine::run`].
    pub async fn run(self) -> Result<Execution> {
        let engine = self.engine.clone();
        let holder = engine.0.local.holder().await?;
        let (created, leaving) = self.make(Some(holder)).await?;
        let id = created.execution.id.clone();
        if created.created
            && let Some(driving) = engine.0.running.drive(&id)
        {
            let standing = Standing::new(created.execution, Vec::new());
            if let Driven::Rests(execution) = engine.0.drive_here(standing, u32::MAX, driving).await?
                && (execution.status.is_terminal() || execution.driver.is_none())
            {
                if let Some(leaving) = leaving {
                    leaving.rest();
                }
                return Ok(execution); // over, or waiting for someone outside
            }
        }
        let done = engine.run(&id).await?;
        if let Some(leaving) = leaving {
            leaving.rest();
        }
        Ok(done)
    }

    async fn make(self, here: Option<WorkerId>) -> Result<(Created, Option<Leaving>)> {
        let span = spans::start(&self.flow_id);
        let made = self.make_it(here).instrument(span.clone()).await;
        match &made {
            Ok((created, _)) => drop(span.record("execution", created.execution.id.as_str())),
            Err(error) => spans::failed(&span, error.code()),
        }
        made
    }

    /// Creates it; for `here` with what happens when nobody drives it here.
    async fn make_it(self, here: Option<WorkerId>) -> Result<(Created, Option<Leaving>)> {
        let engine = self.engine.clone();
        let inner = &*engine.0;
        // Before the flow: a key that was used is answered even when its flow is gone.
        if let Some(hit) = self.lookup(inner).await? {
            return Ok((hit, None));
        }
        let execution = self.execution(inner).await?;
        let generated = self.id.is_none();
        let leaving = here.as_ref().map(|_| inner.leaving(&execution.id));
        let drive = here.map_or(Drive::Queue, Drive::Here);
        let changes = created(execution, drive);
        match inner.commit(&changes).await {
            Ok(committed) => Ok((new(applied(changes, committed.at)?), leaving)),
            // Someone with the same key was first.
            Err(error) if error.is_conflict() => match self.lookup(inner).await? {
                Some(hit) => Ok((hit, None)),
                None => Err(error),
            },
            // An id that was made here can only be there by this commit.
            Err(error) if error.is_commit_unknown() && generated => {
                let id = changes.executions.first().map(|write| write.execution.id.clone());
                match id {
                    Some(id) => match inner.load(&id).await? {
                        Some(execution) => Ok((new(execution), leaving)),
                        None => Err(error),
                    },
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn lookup(&self, inner: &Inner) -> Result<Option<Created>> {
        let Some(key) = &self.idempotency_key else { return Ok(None) };
        let executions = inner.backend.executions();
        let found =
            inner.patiently(|| executions.find_by_idempotency_key(&self.tenant, &self.flow_id, key)).await?;
        Ok(found.map(|execution| {
            let event = NewEvent::new(kind::IDEMPOTENCY_HIT, json!({"key": key}));
            inner.listeners.tell(&execution, &[event], inner.backend.now());
            Created { execution, created: false, idempotency_hit: true }
        }))
    }

    async fn execution(&self, inner: &Inner) -> Result<Execution> {
        let Value::Object(context) = &self.context else {
            return Err(Error::invalid("context", "is not a JSON object"));
        };
        inner.options.limits.check(context)?;
        let flow = match &self.version {
            Some(version) => {
                let found =
                    inner.patiently(|| inner.flows.get(&*inner.backend, &self.flow_id, version)).await?;
                found.ok_or_else(|| Error::not_found("flow", format_args!("{}@{version}", self.flow_id)))?
            }
            None => {
                let found = inner.patiently(|| inner.flows.latest(&*inner.backend, &self.flow_id)).await?;
                found.ok_or_else(|| Error::not_found("flow", &self.flow_id))?
            }
        };
        let id = match &self.id {
            Some(id) => ExecutionId::new(id.as_str())?,
            None => ExecutionId::generate(),
        };
        let mut execution = Execution::new(id, &flow.id, &flow.version, &flow.initial_step_id);
        if let Some(parent) = &self.parent {
            let found =
                inner.load(parent).await?.ok_or_else(|| Error::not_found("parent execution", parent))?;
            execution.parent = Some(found.id);
            execution.root = found.root;
        }
        execution.tenant.clone_from(&self.tenant);
        execution.context.clone_from(context);
        execution.metadata.clone_from(&self.metadata);
        execution.queue = self.queue.clone().unwrap_or_else(|| inner.options.queue.clone());
        execution.timeouts = self.timeouts;
        if let Some(key) = &self.idempotency_key {
            execution.idempotency_key = Some(key.clone());
            execution.idempotency_expires_at = Some(inner.backend.now() + self.idempotency_window);
        }
        execution.check()?;
        Ok(execution)
    }
}

fn new(execution: Execution) -> Created {
    Created { execution, created: true, idempotency_hit: false }
}

fn applied(mut changes: Changes, at: mainspring_core::Timestamp) -> Result<Execution> {
    match changes.executions.pop() {
        Some(write) => Ok(write.applied(at)),
        None => Err(Error::internal("a create wrote nothing")),
    }
}

impl IntoFuture for Create {
    type Output = Result<Created>;
    type IntoFuture = BoxFuture<'static, Result<Created>>;

    /// Creates it, to be driven by a worker.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { Ok(self.make(None).await?.0) })
    }
}

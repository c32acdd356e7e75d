//! Starting a workflow: one commit with its row, its first event and the message that drives it.

use std::{future::IntoFuture, marker::PhantomData, time::Duration};

use mainspring_core::{
    Attribute, Attributes, Available, Backend, BoxFuture, Changes, Error, Execution, ExecutionId, Result,
    Timeouts,
    event::EXECUTIONS,
    flow::{Drive, created},
    limits,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tracing::Instrument;

use super::{
    INPUT, ResultError, Workflow, WorkflowHandle, child::continued, handle::version_in_row,
    start_deadline::set_start_deadline, started::result_of,
};
use crate::{
    Engine,
    drive::{Driven, Standing},
    spans,
};

/// Inputs up to so many bytes are in the row until the first commit, which saves the first drive a read.
const SMALL_INPUT: usize = 4 * 1024;
const KEY_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a start does when there is an execution of the same id or idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// It answers with that one.
    #[default]
    Attach,
    /// It is a conflict.
    Reject,
    /// It answers with that one when it was started with the same input, otherwise it is a conflict.
    SameInput,
}

/// An execution about to be started; await it. See [`Engine::start`].
#[must_use = "nothing is started until this is awaited"]
pub struct Start<O, E> {
    engine: Engine,
    name: String,
    version: String,
    input: Result<Value>,
    id: Option<String>,
    key: Option<String>,
    on_conflict: OnConflict,
    queue: Option<String>,
    priority: i16,
    delay: Duration,
    timeouts: Timeouts,
    start_within: Option<Duration>,
    tenant: String,
    metadata: Map<String, Value>,
    attributes: Attributes,
    parent: Option<ExecutionId>,
    types: PhantomData<fn() -> (O, E)>,
}

impl Engine {
    /// Starts a workflow: `engine.start(CHECKOUT, &order).id("order-42").await?`. The engine need not have its code, but some
    /// worker of the queue must.
    pub fn start<I: Serialize, O, E>(&self, workflow: Workflow<I, O, E>, input: &I) -> Start<O, E> {
        let input = serde_json::to_value(input)
            .map_err(|error| Error::invalid("input", "cannot be written as JSON").with_source(error));
        Start::new(self.clone(), workflow.name().to_owned(), workflow.version_in_row(), input)
    }

    /// Starts a workflow by its name, version 1 unless another is asked for, with JSON.
    pub fn start_by_name(&self, name: impl Into<String>, input: impl Into<Value>) -> Start<Value, Value> {
        Start::new(self.clone(), name.into(), version_in_row("1"), Ok(input.into()))
    }
}

/// A new execution with its input, its first event and what drives it.
pub(crate) fn first_changes(mut execution: Execution, input: Value, drive: Drive) -> Changes {
    if limits::json_size(&input) <= SMALL_INPUT {
        execution.context.insert(INPUT.to_owned(), input.clone());
    }
    let mut changes = created(execution, drive);
    if let Some(event) = changes.executions.first_mut().and_then(|write| write.events.first_mut()) {
        event.data[INPUT] = input;
    }
    changes
}

impl<O, E> Start<O, E> {
    fn new(engine: Engine, name: String, version: String, input: Result<Value>) -> Self {
        Self {
            engine,
            name,
            version,
            input,
            id: None,
            key: None,
            on_conflict: OnConflict::Attach,
            queue: None,
            priority: 0,
            delay: Duration::ZERO,
            timeouts: super::no_timeouts(),
            start_within: None,
            tenant: String::new(),
            metadata: Map::new(),
            attributes: Attributes::new(),
            parent: None,
            types: PhantomData,
        }
    }

    /// Another version, for a start by name.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version_in_row(version);
        self
    }

    /// An id of one's own. Defaults to a generated one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// A key under which a second start of the same workflow within 7 days finds the first one.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What happens when there is one of the same id or key. Defaults to [`OnConflict::Attach`].
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }

    /// The queue of its wake-ups. Defaults to the engine's.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Its place among what is ready to be started: higher goes first. Defaults to 0.
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// How long to wait before it begins. Defaults to not at all.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How long it may last from now on; it is cancelled then. Defaults to 100 years.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeouts.execution_timeout_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// How long each of its waits that has no time of its own may last; it is cancelled then. Defaults to 100 years.
    pub fn wait_timeout(mut self, longest: Duration) -> Self {
        self.timeouts.wait_timeout_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// How long it may wait for a worker to begin with it, from now on and with its delay; it is cancelled then, by the next
    /// free worker of its queue. Costs a message and a commit. Defaults to for ever.
    pub fn start_within(mut self, longest: Duration) -> Self {
        self.start_within = Some(longest);
        self
    }

    /// The isolation key. Defaults to none.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Labels of one's own.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// A search attribute: [`ExecutionFilter::with`](mainspring_core::ExecutionFilter::with) finds executions by it. At most 32.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The execution this one belongs to: it is cancelled with it.
    pub fn parent(mut self, parent: ExecutionId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Starts it and drives it in this process: nothing goes through the queue, so a workflow of n steps is n + 1 commits. Once
    /// it is parked, it is the workers'; its result is waited for all the same.
    ///
    /// # Errors
    /// As awaiting it, and as [`WorkflowHandle::result`].
    pub async fn run(mut self) -> std::result::Result<O, ResultError<E>>
    where
        O: DeserializeOwned,
        E: DeserializeOwned,
    {
        let engine = self.engine.clone();
        let inner = &engine.0;
        let holder = inner.local.holder().await?;
        let input = std::mem::replace(&mut self.input, Ok(Value::Null))?;
        let backend = engine.backend();
        let execution = self.execution(&**backend).await?;
        let leaving = inner.leaving(&execution.id);
        let mut changes = first_changes(execution, input.clone(), Drive::Here(holder));
        let committed = match inner.commit(&changes).await {
            Ok(committed) => committed,
            Err(error) if error.is_conflict() => match self.lookup(&**backend).await? {
                Some(found) => {
                    leaving.rest();
                    return self.attach(&**backend, found, &input).await?.result().await;
                }
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let execution = changes.executions.swap_remove(0).applied(committed.at);
        let handle = WorkflowHandle::new(engine.clone(), execution.id.clone(), true);
        if let Some(driving) = inner.running.drive(&execution.id) {
            let standing = Standing::new(execution, Vec::new());
            if let Driven::Rests(execution) = inner.drive_here(standing, u32::MAX, driving).await? {
                leaving.rest();
                if execution.status.is_terminal() && continued(&execution).is_none() {
                    return result_of(&execution);
                }
                return handle.result().await;
            }
        }
        // Someone changed it, or looked after it before us: what is left to do is done here too.
        engine.run(handle.id()).await?;
        leaving.rest();
        handle.result().await
    }

    /// Starts it within a transaction of the caller's: `engine.start(W, &input).within(&stores.on(&tx)).await?`. It becomes
    /// durable with the caller's commit.
    ///
    /// # Errors
    /// As awaiting it.
    pub async fn within(self, backend: &dyn Backend) -> Result<WorkflowHandle<O, E>> {
        Box::pin(self.make(backend, false)).await
    }

    async fn make(self, backend: &dyn Backend, tell: bool) -> Result<WorkflowHandle<O, E>> {
        let span = spans::start(&self.name);
        let made = self.make_it(backend, tell).instrument(span.clone()).await;
        match &made {
            Ok(handle) => drop(span.record("execution", handle.id().as_str())),
            Err(error) => spans::failed(&span, error.code()),
        }
        made
    }

    /// `tell` the listeners: not of what is not durable yet.
    async fn make_it(mut self, backend: &dyn Backend, tell: bool) -> Result<WorkflowHandle<O, E>> {
        let input = std::mem::replace(&mut self.input, Ok(Value::Null))?;
        limits::check_json("input", &input)?;
        limits::check_duration("delay", self.delay)?;
        let mut execution = self.execution(backend).await?;
        let id = execution.id.clone();
        let deadline = match self.start_within {
            Some(longest) => Some(set_start_deadline(&mut execution, longest, backend.now())?),
            None => None,
        };
        let mut changes = first_changes(execution, input.clone(), Drive::Queue);
        for message in &mut changes.messages {
            message.priority = Some(self.priority);
            if !self.delay.is_zero() {
                message.available = Available::After(self.delay);
            }
        }
        changes.messages.extend(deadline);
        changes.check()?;
        let inner = &self.engine.0;
        match inner.patiently(|| backend.commit(changes.clone())).await {
            Ok(committed) => {
                for write in changes.executions.iter().filter(|_| tell) {
                    inner.listeners.tell(&write.execution, &write.events, committed.at);
                }
                Ok(WorkflowHandle::new(self.engine.clone(), id, true))
            }
            // Someone with the same key or id was first; or it was this call.
            Err(error) if error.is_conflict() => match self.lookup(backend).await? {
                Some(found) => self.attach(backend, found, &input).await,
                None => Err(error),
            },
            Err(error) if error.is_commit_unknown() && self.id.is_none() => {
                match backend.executions().get(&id).await? {
                    Some(_) => Ok(WorkflowHandle::new(self.engine.clone(), id, true)),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn lookup(&self, backend: &dyn Backend) -> Result<Option<Execution>> {
        if let Some(key) = &self.key {
            let found = backend.executions().find_by_idempotency_key(&self.tenant, &self.name, key).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        match &self.id {
            Some(id) => backend.executions().get(&ExecutionId::new(id.as_str())?).await,
            None => Ok(None),
        }
    }

    async fn attach(
        &self,
        backend: &dyn Backend,
        found: Execution,
        input: &Value,
    ) -> Result<WorkflowHandle<O, E>> {
        let attached = || WorkflowHandle::new(self.engine.clone(), found.id.clone(), false);
        if found.flow_id != self.name || found.tenant != self.tenant {
            let problem = format!("execution `{}` exists and is one of `{}`", found.id, found.flow_id);
            return Err(Error::conflict(problem));
        }
        match self.on_conflict {
            OnConflict::Attach => Ok(attached()),
            OnConflict::Reject => Err(Error::conflict(format!("execution `{}` exists", found.id))),
            OnConflict::SameInput => {
                let stream = found.stream();
                let first = backend.events().read_stream(EXECUTIONS, &found.tenant, &stream, 1, 1).await?;
                let same = first.first().is_some_and(|first| first.event.data.get(INPUT) == Some(input));
                if same {
                    return Ok(attached());
                }
                let problem = format!("execution `{}` exists and was started with another input", found.id);
                Err(Error::conflict(problem))
            }
        }
    }

    async fn execution(&self, backend: &dyn Backend) -> Result<Execution> {
        let id = match &self.id {
            Some(id) => ExecutionId::new(id.as_str())?,
            None => ExecutionId::generate(),
        };
        let mut execution = Execution::new(id, &self.name, &self.version, &self.name);
        if let Some(parent) = &self.parent {
            let found = backend.executions().get(parent).await?;
            let found = found.ok_or_else(|| Error::not_found("parent execution", parent))?;
            execution.parent = Some(found.id);
            execution.root = found.root;
        }
        let options = &self.engine.0.options;
        execution.tenant.clone_from(&self.tenant);
        execution.queue = self.queue.clone().unwrap_or_else(|| options.queue.clone());
        execution.metadata.clone_from(&self.metadata);
        execution.attributes.clone_from(&self.attributes);
        execution.timeouts = self.timeouts;
        if let Some(key) = &self.key {
            execution.idempotency_key = Some(key.clone());
            execution.idempotency_expires_at = Some(backend.now() + KEY_WINDOW);
        }
        execution.check()?;
        Ok(execution)
    }
}

impl<O: Send + 'static, E: Send + 'static> IntoFuture for Start<O, E> {
    type Output = Result<WorkflowHandle<O, E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// Starts it, to be driven by a worker.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit; conflict as [`OnConflict`] says; otherwise those of the backend.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let backend = std::sync::Arc::clone(self.engine.backend());
            self.make(&*backend, true).await
        })
    }
}

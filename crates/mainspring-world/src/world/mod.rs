//! The world: storage, workflows and steps with their workers, and whoever is called from here.

mod app;
mod builder;
mod called;
mod calls;
mod circuit;
mod given_up;
mod health;
mod hooks;
mod recovery;
#[cfg(feature = "server")]
mod router;
mod run;
mod spans;
mod steps;
mod streamer;
mod webhook;

use std::{fmt, sync::Arc, time::Duration};

use mainspring_core::{Backend, Error, ExecutionId, MessageId, Result};
use mainspring_engine::{CancelRequest, Engine};
use mainspring_http::{Invoker, MessageData, Reply};

use crate::{NewRun, Resolve, Run, Storage, ids::is_world};

pub use builder::WorldBuilder;
use calls::Calls;
pub use calls::{CallOptions, Transport};
use circuit::Circuit;
pub use recovery::Recovered;
use recovery::Recovery;

/// Runs and what runs them, on any [`Backend`]. A clone is the same world.
///
/// ```text
/// <prefix>flows   workflows with code here      engine
/// <prefix>steps   steps that they call          a handler here, or the invoker
/// <prefix>calls   messages of queue()           the invoker, or a transport of the user's own
/// ```
///
/// ```
/// use mainspring_engine::{Cx, Workflow, WorkflowResult};
/// use mainspring_testing::MemoryBackend;
/// use mainspring_world::{StepHandlers, World};
///
/// const ADD: Workflow<(i64, i64), i64, String> = Workflow::new("add");
/// async fn add(cx: Cx, numbers: (i64, i64)) -> WorkflowResult<i64, String> {
///     Ok(cx.call("plus", &numbers).await?)
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
/// let steps = StepHandlers::new().step("plus", |(a, b): (i64, i64), _call| async move { Ok(a + b) })?;
/// let world = World::builder(MemoryBackend::new()).workflow(ADD, add).steps(steps).build()?;
/// world.start().await?;
/// let handle = world.engine().start(ADD, &(1, 2)).await?;
/// assert_eq!(handle.result().await.unwrap(), 3);
/// world.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct World(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    storage: Storage,
    engine: Engine,
    invoker: Option<Arc<dyn Invoker>>,
    transport: Option<Arc<dyn Transport>>,
    names: Names,
    concurrency: usize,
    grace: Duration,
    lease: Duration,
    recovery: Arc<Recovery>,
    /// Whether it goes on by itself.
    recovers: bool,
    /// Whether a start does the upkeep of the backend.
    upkeep: bool,
    started: tokio::sync::Mutex<Option<run::Started>>,
    /// Of the steps that are done elsewhere.
    circuit: Arc<Circuit>,
    /// Whether the queue of messages is there.
    ready: tokio::sync::OnceCell<()>,
}

/// The queues of a world.
#[derive(Debug, Clone)]
struct Names {
    flows: String,
    steps: String,
    calls: Calls,
}

impl World {
    /// A world on this backend, to be put together.
    pub fn builder(backend: impl Into<Arc<dyn Backend>>) -> WorldBuilder {
        WorldBuilder::new(backend.into())
    }

    /// The storage, which works without [`start`](Self::start).
    pub fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// The queue of the messages.
    fn calls_queue(&self) -> &str {
        &self.0.names.calls.queue
    }

    /// What runs the workflows that have code here, and starts those that have it elsewhere.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Creates a run whose code is called, and the message that calls it, in one commit.
    ///
    /// # Errors
    /// As [`Events::create`](crate::Events::create).
    pub async fn start_run(&self, run: NewRun) -> Result<Run> {
        let id = crate::new_run_id(self.0.storage.backend().now());
        let message = self.flow_message(&run.workflow_name, &id)?;
        let events = self.0.storage.events();
        let created = events.create_with(Some(&id), crate::Fact::RunCreated(run), vec![message]).await?;
        created.run.ok_or_else(|| Error::internal("a new run was not answered"))
    }

    /// Cancels a run, with its family when it has code of the engine. One that is cancelled already stays so.
    ///
    /// # Errors
    /// Not found; conflict when it ended otherwise.
    pub async fn cancel(&self, id: &ExecutionId, reason: impl Into<String>) -> Result<Run> {
        let row = self.0.storage.backend().executions().get(id).await?;
        let row = row.ok_or_else(|| Error::not_found("run", id))?;
        let reason = reason.into();
        if is_world(&row) {
            let cancel = crate::Fact::RunCancelled { reason: Some(reason) };
            self.0.storage.events().create(Some(id), cancel).await?;
        } else {
            self.0.engine.cancel(id, CancelRequest::from(reason)).await?;
        }
        let run = self.0.storage.runs().get(id, Resolve::None).await?;
        match run.status {
            crate::RunStatus::Cancelled => Ok(run),
            status => Err(Error::conflict(format!("run `{id}` is {}", status.as_str()))),
        }
    }

    /// Whether the secret of this process was refused by whoever does its steps elsewhere, so that none is called but one every
    /// 30 seconds, until an answer shows that the secret is taken.
    pub fn is_refused(&self) -> bool {
        self.0.circuit.is_open()
    }

    /// Delivers a message that came by other ways, such as a queue of the user's own, and says what became of it: for serverless
    /// environments, and for [`Transport`]s.
    ///
    /// # Errors
    /// Invalid when there is no invoker.
    pub async fn handle_message(&self, message: MessageData) -> Result<Reply> {
        let invoker = self.0.invoker.as_ref();
        let invoker = invoker.ok_or_else(|| Error::invalid("invoker", "this world has none"))?;
        Ok(spans::invoke(&**invoker, message).await)
    }

    /// Pushes a message to the workflow or step that `queue_name` names; the id of it, or of the one with the same key.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub async fn queue(
        &self,
        queue_name: &str,
        payload: impl Into<serde_json::Value>,
        options: CallOptions,
    ) -> Result<MessageId> {
        let message = self.0.names.calls.message(queue_name.parse()?, payload.into(), &options)?;
        self.ready().await?;
        let pushed = self.0.storage.backend().queues().push_each(vec![message]).await?.pop();
        pushed.map(|pushed| pushed.id).ok_or_else(|| Error::internal("a push was not answered"))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("queues", &self.0.names).finish_non_exhaustive()
    }
}

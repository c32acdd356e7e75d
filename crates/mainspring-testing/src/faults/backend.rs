//! A backend that breaks where it is told to.

use std::sync::Arc;

use mainspring_core::{
    Backend, BoxFuture, Changes, Committed, ContextStore, EventStore, ExecutionStore, FlowStore, JobStore,
    LeaseStore, OutputStore, QueueDriver, QueueStore, Result, Timestamp, TokenStore, UpkeepTask,
};

use super::{Faults, flows::FaultyFlows, queue::FaultyQueue};

/// A backend whose commits, queue and flows break at the armed points of its [`Faults`]. Other single stores pass through.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use mainspring_core::{Backend, Changes};
/// use mainspring_testing::{Action, Faults, FaultyBackend, MemoryBackend};
///
/// let faults = Faults::parse("commit.after=error@2")?;
/// let backend = FaultyBackend::new(MemoryBackend::new(), faults.clone());
/// backend.commit(Changes::default()).await?;
/// assert!(backend.commit(Changes::default()).await.unwrap_err().is_commit_unknown());
/// assert_eq!((faults.hits("commit.before"), faults.fired("commit.after")), (2, 1));
/// # Ok::<(), mainspring_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct FaultyBackend<B> {
    inner: Arc<B>,
    queue: FaultyQueue<B>,
    flows: FaultyFlows<B>,
    faults: Faults,
}

impl<B: Backend> FaultyBackend<B> {
    /// A backend that does as `inner` does, but for `faults`.
    pub fn new(inner: B, faults: Faults) -> Self {
        let inner = Arc::new(inner);
        let queue = FaultyQueue { inner: inner.clone(), faults: faults.clone() };
        let flows = FaultyFlows { inner: inner.clone(), faults: faults.clone() };
        Self { inner, queue, flows, faults }
    }

    /// The backend within, which never breaks.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Its queue alone, for a worker without an engine.
    pub fn driver(&self) -> Arc<dyn QueueDriver>
    where
        B: 'static,
    {
        Arc::new(FaultyQueue { inner: self.inner.clone(), faults: self.faults.clone() })
    }

    /// What breaks it.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend> Backend for FaultyBackend<B> {
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<Committed>> {
        Box::pin(self.faults.around("commit", self.inner.commit(changes)))
    }

    fn as_any(&self) -> Option<&(dyn std::any::Any + Send + Sync)> {
        self.inner.as_any()
    }

    fn start_upkeep(&self) -> Result<Option<Box<dyn UpkeepTask>>> {
        self.inner.start_upkeep()
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn executions(&self) -> &dyn ExecutionStore {
        self.inner.executions()
    }

    fn flows(&self) -> &dyn FlowStore {
        &self.flows
    }

    fn jobs(&self) -> &dyn JobStore {
        self.inner.jobs()
    }

    fn events(&self) -> &dyn EventStore {
        self.inner.events()
    }

    fn tokens(&self) -> &dyn TokenStore {
        self.inner.tokens()
    }

    fn context(&self) -> &dyn ContextStore {
        self.inner.context()
    }

    fn queue(&self) -> &dyn QueueDriver {
        &self.queue
    }

    fn queues(&self) -> &dyn QueueStore {
        self.inner.queues()
    }

    fn outputs(&self) -> &dyn OutputStore {
        self.inner.outputs()
    }

    fn leases(&self) -> &dyn LeaseStore {
        self.inner.leases()
    }
}

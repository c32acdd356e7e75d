//! A whole backend in memory: a second implementation of core's traits, held to the same suites as Postgres.
//!
//! Everything is behind one lock, so a commit is atomic because nobody looks while it checks and then applies. What
//! Postgres refuses by a constraint is refused here too, and every call gives way to other tasks once before it looks, so
//! that two tasks interleave between a read and the commit that builds on it.
//!
//! Time stands still until [`advance`](MemoryBackend::advance) moves it; a [`realtime`](MemoryBackend::realtime) backend
//! also follows the machine. Deferred messages become ready in `maintain`, and in a claim that would else come
//! back short, as in Postgres.

mod clock;
mod commit;
mod context;
mod events;
mod executions;
mod flows;
mod jobs;
mod leases;
mod outputs;
mod queue;
mod tokens;
mod upkeep;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::{
    Backend, BoxFuture, Changes, Committed, ContextStore, EventStore, ExecutionStore, FlowStore, JobStore,
    LeaseStore, OutputStore, QueueDriver, QueueStore, Result, Timestamp, TokenStore,
};

use clock::Clock;

/// All stores in memory. A clone is the same backend.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use mainspring_core::{Backend, Execution, ExecutionId};
/// use mainspring_testing::MemoryBackend;
///
/// let backend = MemoryBackend::new();
/// let execution = Execution::new(ExecutionId::new("order-42")?, "order", "1.0.0", "charge");
/// backend.executions().create(execution).await?;
///
/// backend.advance(Duration::from_secs(25 * 3600)); // past the default timeout of an execution
/// assert_eq!(backend.executions().find_timed_out_executions(10).await?.len(), 1);
/// # Ok::<(), mainspring_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryBackend(Arc<Inner>);

struct Inner {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    executions: executions::Executions,
    flows: flows::Flows,
    jobs: jobs::Jobs,
    log: events::Log,
    tokens: tokens::Tokens,
    values: context::Values,
    queue: queue::Queue,
    outputs: outputs::Outputs,
    leases: leases::Leases,
}

impl MemoryBackend {
    /// An empty backend at 2026-01-01T00:00:00Z, where time stands still until it is moved.
    pub fn new() -> Self {
        Self(Arc::new(Inner { clock: Clock::manual(), state: Mutex::default() }))
    }

    /// An empty backend whose time passes as the machine's does, and can be moved forward besides.
    pub fn realtime() -> Self {
        Self(Arc::new(Inner { clock: Clock::realtime(), state: Mutex::default() }))
    }

    /// Moves time forward, and lets everyone who waits for a queue look again.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
        self.lock().queue.ring_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One atomic look at or change of everything, at one time.
    fn run<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut State, Timestamp) -> T + Send + 'a,
    ) -> BoxFuture<'a, T> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut state = self.lock();
            work(&mut state, self.0.clock.now())
        })
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBackend(at {})", self.0.clock.now())
    }
}

impl From<MemoryBackend> for Arc<dyn Backend> {
    fn from(backend: MemoryBackend) -> Self {
        Arc::new(backend)
    }
}

impl Backend for MemoryBackend {
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<Committed>> {
        self.run(move |state, at| commit::commit(state, changes, at))
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn executions(&self) -> &dyn ExecutionStore {
        self
    }

    fn flows(&self) -> &dyn FlowStore {
        self
    }

    fn jobs(&self) -> &dyn JobStore {
        self
    }

    fn events(&self) -> &dyn EventStore {
        self
    }

    fn tokens(&self) -> &dyn TokenStore {
        self
    }

    fn context(&self) -> &dyn ContextStore {
        self
    }

    fn queue(&self) -> &dyn QueueDriver {
        self
    }

    fn queues(&self) -> &dyn QueueStore {
        self
    }

    fn outputs(&self) -> &dyn OutputStore {
        self
    }

    fn leases(&self) -> &dyn LeaseStore {
        self
    }
}

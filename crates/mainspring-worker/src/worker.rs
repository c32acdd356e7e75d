//! The worker as a user sees it: a builder, three ways to run it, and the handle of one that runs in the background.

use std::{sync::Arc, time::Duration};

use mainspring_core::{Error, QueueDriver, Result, Timestamp, WorkerId};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Deliver,
    flight::Flights,
    options::Options,
    run::run,
    shared::{Clock, Finished, Shared},
    term::Terms,
};

/// Claims deliveries from one queue and drives one [`Deliver`]; see the crate.
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    queue: Arc<dyn QueueDriver>,
    deliver: Arc<dyn Deliver>,
    options: Options,
    clock: Option<Clock>,
}

impl Worker {
    /// A worker for the default queue.
    pub fn new(queue: Arc<dyn QueueDriver>, deliver: Arc<dyn Deliver>) -> Self {
        Self { queue, deliver, options: Options::default(), clock: None }
    }

    /// The queue to claim from. Defaults to `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.options.queue = name.into();
        self
    }

    /// Most deliveries in flight at once, 1 to 10,000. Defaults to 16.
    pub fn concurrency(mut self, deliveries: usize) -> Self {
        self.options.concurrency = deliveries;
        self
    }

    /// How long this worker counts as alive after a sign of life, 100 ms to 1 day: others take over what a dead worker held
    /// after this time. Defaults to 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// Longest pause between two looks into an empty queue; the first is 20 ms, and hints cut every pause short. Defaults to
    /// 1 second.
    pub fn poll_interval(mut self, longest: Duration) -> Self {
        self.options.poll_interval = longest;
        self
    }

    /// How often due messages are made ready and dead workers are looked for. Defaults to 1 second.
    pub fn maintenance_interval(mut self, every: Duration) -> Self {
        self.options.maintenance_interval = every;
        self
    }

    /// How long a stop waits for what is in flight before it is cancelled. Defaults to 30 seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How many workers one message may cost: from then on it goes to [`Deliver::lost`]. 1 to 1,000, defaults to 10.
    pub fn max_lost(mut self, workers: u32) -> Self {
        self.options.max_lost = workers;
        self
    }

    /// After which time a delivery is given up: cancelled, settled as failed with the code `STUCK`, and its slot used for
    /// another one even if it never ends. Defaults to never.
    pub fn stuck_after(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.options.stuck_after = longest.into();
        self
    }

    /// The database's time as far as this process knows it, so that an idle worker wakes when the next message is due
    /// instead of at the next poll. Defaults to none.
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(now));
        self
    }

    fn ready(self) -> Result<(Arc<Shared>, mpsc::UnboundedReceiver<Finished>)> {
        self.options.check()?;
        let (finished, inbox) = mpsc::unbounded_channel();
        let shared = Shared {
            slots: Arc::new(Semaphore::new(self.options.concurrency)),
            suspects: Arc::new(Semaphore::new(1)),
            queue: self.queue,
            deliver: self.deliver,
            options: self.options,
            clock: self.clock,
            terms: Terms::new(),
            flights: Flights::default(),
            poke: Notify::new(),
            finished,
        };
        Ok((Arc::new(shared), inbox))
    }

    /// Works until `shutdown` is ready, then stops gracefully. Dropping the future aborts everything at once.
    ///
    /// # Errors
    /// Invalid, naming the option that is out of range. A database that is away is no error: the worker waits for it.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let (shared, inbox) = self.ready()?;
        let stop = CancellationToken::new();
        let running = run(shared, inbox, stop.clone(), false);
        tokio::pin!(running, shutdown);
        tokio::select! {
            result = &mut running => return result.map(drop),
            () = &mut shutdown => stop.cancel(),
        }
        running.await.map(drop)
    }

    /// Works in the background until the handle is stopped or dropped.
    ///
    /// # Errors
    /// Invalid, naming the option that is out of range.
    pub fn start(self) -> Result<WorkerHandle> {
        let (shared, inbox) = self.ready()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(Arc::clone(&shared), inbox, stop.clone(), false));
        Ok(WorkerHandle { shared, stop, task: Some(task) })
    }

    /// Works until the queue has nothing ready and nothing due, and everything delivered is settled; how many deliveries
    /// there were. For tests and for batch processes.
    ///
    /// # Errors
    /// Invalid, naming the option that is out of range.
    pub async fn drain(self) -> Result<u64> {
        let (shared, inbox) = self.ready()?;
        run(shared, inbox, CancellationToken::new(), true).await
    }
}

/// A worker in the background. Dropping it aborts the worker; its leases then expire.
#[must_use = "dropping the handle aborts the worker"]
pub struct WorkerHandle {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<u64>>>,
}

impl WorkerHandle {
    /// The name under which it claims at present.
    pub fn id(&self) -> WorkerId {
        self.shared.terms.current().holder.clone()
    }

    /// Stops it gracefully and waits for its end; how many deliveries it had.
    ///
    /// # Errors
    /// Internal, when the worker itself panicked.
    pub async fn stop(mut self) -> Result<u64> {
        self.stop.cancel();
        match self.task.take() {
            // Put back while waiting, so that dropping this future aborts the worker too.
            Some(task) => match self.task.insert(task).await {
                Ok(result) => result,
                Err(error) => {
                    Err(Error::internal("the worker ended without being stopped").with_source(error))
                }
            },
            None => Ok(0),
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

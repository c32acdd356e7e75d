//! The worker as a user sees it: a builder, three ways to run it, and the handle of one that runs in the background.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use mainspring_core::{QueueDriver, Result, Timestamp};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::{
    Deliver, Event, Spy, WorkerHandle,
    crew::Crew,
    event::{Counts, Listeners},
    flight::Flights,
    meter::Meter,
    options::Options,
    run::{Stop, run},
    seat::Seats,
    shared::{Clock, Finished, Shared},
    term::Terms,
};

/// Claims deliveries from one queue and drives one [`Deliver`]; see the crate. A clone is a worker of its own with the same
/// settings.
#[derive(Clone)]
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    queue: Arc<dyn QueueDriver>,
    deliver: Arc<dyn Deliver>,
    options: Options,
    clock: Option<Clock>,
    listeners: Listeners,
}

impl Worker {
    /// A worker for the default queue.
    pub fn new(queue: Arc<dyn QueueDriver>, deliver: Arc<dyn Deliver>) -> Self {
        Self { queue, deliver, options: Options::default(), clock: None, listeners: Listeners::default() }
    }

    /// The queue to claim from. Defaults to `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.options.queue = name.into();
        self
    }

    /// Most handlers called at the same time, 1 to 10,000. Defaults to 16.
    pub fn concurrency(mut self, deliveries: usize) -> Self {
        self.options.concurrency = deliveries;
        self
    }

    /// Most deliveries in one call of [`Deliver::deliver_batch`], 1 to 1,000; a batch is what is there, it never waits to be
    /// full. Defaults to 1: [`Deliver::deliver`] is called.
    pub fn batch_size(mut self, deliveries: usize) -> Self {
        self.options.batch_size = deliveries;
        self
    }

    /// How many deliveries may be claimed ahead of the handlers, 0 to 100,000. More of them means fewer and larger claims; as
    /// long as they wait here no other worker has them, and a stop gives them back at once. For quick handlers 1,000 to 4,000
    /// is right, for slow ones 0. Defaults to 0.
    pub fn prefetch(mut self, deliveries: usize) -> Self {
        self.options.prefetch = deliveries;
        self
    }

    /// Most messages of one group that this worker holds at the same time, 1 to 10,000, whatever others hold; messages without a
    /// group are not counted. For a limit over all workers see [`QueueOptions::groups`](mainspring_core::QueueOptions::groups);
    /// where there are both, both hold. What a claim brings beyond it is put back uncounted. Defaults to any number.
    pub fn group_concurrency(mut self, messages: impl Into<Option<usize>>) -> Self {
        self.options.group_concurrency = messages.into();
        self
    }

    /// How long a call of the handler may take. Then its cancel token fires, a second later it is dropped, and its deliveries
    /// have failed with the code `TIMEOUT` whatever it still says. Defaults to any length.
    pub fn timeout(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.options.timeout = longest.into();
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

    /// After which time a delivery that still runs is reported as [`Event::Stuck`], once. Defaults to 5 minutes.
    pub fn report_after(mut self, longest: Duration) -> Self {
        self.options.report_after = longest;
        self
    }

    /// Tells `listener` of everything this worker does; for several, call it for each. It is called in the middle of the
    /// worker's own work, so it should be quick. With a listener every delivery is cloned once.
    pub fn on_event(mut self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.listeners.add(listener);
        self
    }

    /// Lets `spy` remember everything this worker does, for tests that wait for it.
    pub fn spy(self, spy: &Spy) -> Self {
        let spy = spy.clone();
        self.on_event(move |event| spy.note(event))
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
        let meter = Meter::of(&self.options.queue);
        let shared = Shared {
            room: Arc::new(Semaphore::new(self.options.room())),
            suspects: Arc::new(Semaphore::new(1)),
            seats: Seats::new(self.options.group_concurrency),
            queue: self.queue,
            deliver: self.deliver,
            options: self.options,
            clock: self.clock,
            listeners: self.listeners,
            counts: Counts::default(),
            meter,
            terms: Terms::new(),
            flights: Flights::default(),
            touches: Arc::default(),
            crew: Crew::default(),
            tasks: Mutex::default(),
            stopping: AtomicBool::new(false),
            unsettled: AtomicUsize::new(0),
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
        let stop = Stop::default();
        let running = run(shared, inbox, stop.clone(), false);
        tokio::pin!(running, shutdown);
        tokio::select! {
            result = &mut running => return result.map(drop),
            () = &mut shutdown => stop.gracefully.cancel(),
        }
        running.await.map(drop)
    }

    /// Works in the background until the handle is stopped or dropped.
    ///
    /// # Errors
    /// Invalid, naming the option that is out of range.
    pub fn start(self) -> Result<WorkerHandle> {
        let (shared, inbox) = self.ready()?;
        let stop = Stop::default();
        Ok(WorkerHandle::spawn(Arc::clone(&shared), run(shared, inbox, stop.clone(), false), stop))
    }

    /// Works until the queue has nothing ready and nothing due, and everything delivered is settled; how many deliveries
    /// there were. For tests and for batch processes.
    ///
    /// # Errors
    /// Invalid, naming the option that is out of range; unavailable when nothing is left to claim and the upkeep failed nine
    /// times in a row.
    pub async fn drain(self) -> Result<u64> {
        let (shared, inbox) = self.ready()?;
        run(shared, inbox, Stop::default(), true).await
    }
}

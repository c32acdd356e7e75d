//! The consumer as a user sees it: a builder, ways to run it, and the handle of one that runs.

use std::{collections::HashSet, sync::Arc, sync::atomic::AtomicBool, time::Duration};

use mainspring_core::{Error, ErrorKind, Result, limits, message::check_lease};
use mainspring_events::{GlobalFilter, GlobalReader};
use mainspring_pg::{Db, Hints};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    commits::{AppendsOnly, Commits},
    feed::Feed,
    handler::{Projector, Reactor},
    lease::Key,
    processor::{Processor, Work},
    progress::{Activity, ProcessorProgress, Teller},
    run::{Runner, Shared, run_hook},
};

/// When a consumer stops by itself. Each processor does so on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopWhen {
    /// When it is told to.
    #[default]
    Never,
    /// When everything is handled that had a position at the start. It waits for transactions that were open then.
    CaughtUp,
    /// When nothing more is settled.
    NothingLeft,
}

/// Reads the log once for several processors; see the crate.
#[must_use = "a consumer does nothing until it is started"]
pub struct Consumer {
    pub(crate) db: Db<'static>,
    name: String,
    processors: Vec<Processor>,
    filter: GlobalFilter,
    commits: Arc<dyn Commits>,
    hints: Option<Hints>,
    batch: usize,
    poll: Duration,
    lease: Duration,
    instance: Option<String>,
    shard: (u32, u32),
    stop_when: StopWhen,
    grace: Duration,
}

impl Consumer {
    /// A consumer of everything in the log, without a processor yet. `name` is only for people.
    pub fn new(db: &Db<'static>, name: impl Into<String>) -> Self {
        Self {
            db: db.clone(),
            name: name.into(),
            processors: Vec::new(),
            filter: GlobalFilter::default(),
            commits: Arc::new(AppendsOnly),
            hints: None,
            batch: 100,
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(30),
            instance: None,
            shard: (0, 1),
            stop_when: StopWhen::default(),
            grace: Duration::from_secs(30),
        }
    }

    /// One more processor.
    pub fn processor(mut self, processor: Processor) -> Self {
        self.processors.push(processor);
        self
    }

    /// One more processor that changes tables.
    pub fn projector(self, name: impl Into<String>, projector: impl Projector) -> Self {
        self.processor(Processor::projector(name, projector))
    }

    /// One more processor that does something.
    pub fn reactor(self, name: impl Into<String>, reactor: impl Reactor) -> Self {
        self.processor(Processor::reactor(name, reactor))
    }

    /// Only events of these partitions and this tenant. Processors have a checkpoint for each such choice. Types are the
    /// processors' business: those given here are ignored. Defaults to all.
    pub fn only(mut self, filter: GlobalFilter) -> Self {
        self.filter = filter;
        self
    }

    /// How decisions of reactors are written. Defaults to [`AppendsOnly`]; the facade sets what can write everything.
    pub fn commits(mut self, commits: Arc<dyn Commits>) -> Self {
        self.commits = commits;
        self
    }

    /// Hints that there are new events, so that it need not wait for its next look. Defaults to none.
    pub fn hints(mut self, hints: Hints) -> Self {
        self.hints = Some(hints);
        self
    }

    /// Most events of one transaction, 1 to 1,000. Defaults to 100.
    pub fn batch_size(mut self, events: usize) -> Self {
        self.batch = events;
        self
    }

    /// Longest pause between two looks for new events, 1 ms to 1 hour; the first is 20 ms. Defaults to 1 second.
    pub fn poll_interval(mut self, longest: Duration) -> Self {
        self.poll = longest;
        self
    }

    /// How long the leases of its processors last after a sign of life, 100 ms to 1 day. Defaults to 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Names this instance, so that it gets its own leases back at once after a crash. Two that run at the same time must
    /// not have the same name. Defaults to a new one at each start.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Handles only the streams of shard `index` (from 0) of `of`, 1 to 1,000, with a checkpoint of its own. Other instances
    /// handle the others.
    pub fn shard(mut self, index: u32, of: u32) -> Self {
        self.shard = (index, of);
        self
    }

    /// When to stop by itself. Defaults to never.
    pub fn stop_when(mut self, when: StopWhen) -> Self {
        self.stop_when = when;
        self
    }

    /// How long a stop waits for batches under way before it drops them. Defaults to 30 seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    fn check(&self) -> Result<()> {
        limits::check_name("consumer.name", &self.name)?;
        if let Some(instance) = &self.instance {
            limits::check_id("consumer.instance", instance)?;
        }
        if self.processors.is_empty() {
            return Err(Error::invalid("consumer.processors", "it cannot start without a processor"));
        }
        let mut seen = HashSet::new();
        for processor in &self.processors {
            processor.check()?;
            if !seen.insert((&processor.name, processor.version)) {
                let problem = format!("`{}` is there twice", processor.name);
                return Err(Error::invalid("consumer.processors", problem));
            }
        }
        let range = |field: &str, value: u64, most: u64| match value {
            n if (1..=most).contains(&n) => Ok(()),
            n => Err(Error::invalid(field, format!("{n} is not within 1 to {most}"))),
        };
        range("consumer.batch_size", self.batch as u64, 1_000)?;
        range("consumer.shards", self.shard.1.into(), 1_000)?;
        range("consumer.shard", u64::from(self.shard.0) + 1, self.shard.1.into())?;
        let poll = u64::try_from(self.poll.as_millis()).unwrap_or(u64::MAX);
        range("consumer.poll_interval (ms)", poll, 3_600_000)?;
        check_lease(self.lease)
    }

    /// Starts all processors and answers when each has its lease, or stands by for it.
    ///
    /// # Errors
    /// Invalid, naming what is out of range; conflict when a processor runs elsewhere and its policy is not to wait; the
    /// error of a hook, and those of the database. Nothing runs then.
    pub async fn start(self) -> Result<Running> {
        self.check()?;
        // Types that nobody wants need not be read.
        let mut types: Vec<String> = Vec::new();
        if self.processors.iter().all(|processor| !processor.event_types.is_empty()) {
            types.extend(self.processors.iter().flat_map(|processor| processor.event_types.iter().cloned()));
        }
        let filter = GlobalFilter { event_types: types, ..self.filter };
        let reader = GlobalReader::new(&self.db)?.only(filter.clone())?;
        reader.last().await?;
        for processor in &self.processors {
            run_hook(processor.hooks.init.as_ref()).await?;
            if let Work::Project(projector) = &processor.work {
                init(&self.db, &**projector).await?;
            }
        }
        let holder = self.instance.unwrap_or_else(|| format!("{}-{}", self.name, ulid::Ulid::generate()));
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            feed: Feed::new(reader, self.batch, self.poll, self.hints),
            db: self.db,
            commits: self.commits,
            stop: stop.clone(),
            stop_when: self.stop_when,
            batch: self.batch,
            lease: self.lease,
            holder,
            shard: self.shard,
        });
        let mut running = Running {
            shared: shared.clone(),
            stop,
            processors: Vec::new(),
            watcher: None,
            grace: self.grace,
        };
        for processor in self.processors {
            let (teller, progress) = Teller::new();
            let key = Key::new(&processor.name, processor.version, &filter, self.shard.0, self.shard.1);
            let name = processor.name.clone();
            let runner = Runner {
                shared: shared.clone(),
                processor,
                key,
                teller,
                in_transaction: AtomicBool::new(false),
            };
            let task = Some(tokio::spawn(runner.run()));
            running.processors.push(One { name, progress, task });
        }
        running.watcher = Some(tokio::spawn(async move { shared.feed.watch().await }));
        for one in &mut running.processors {
            let mut progress = one.progress.clone();
            // An end of the task is an end of the wait.
            let _ = progress.wait_for(|progress| progress.activity != Activity::Starting).await;
        }
        // One that has failed at an event by now has started all the same.
        let never_ran = |now: ProcessorProgress| now.activity == Activity::Failed && !now.has_run;
        if running.processors.iter().any(|one| never_ran(one.now())) {
            return match running.stop().await {
                Err(error) => Err(error),
                Ok(()) => Err(Error::internal("a processor failed without an error")),
            };
        }
        Ok(running)
    }

    /// Runs until `shutdown` is ready, then stops gracefully; or until every processor has stopped.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`Running::stop`].
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let mut running = self.start().await?;
        tokio::select! {
            result = running.ended() => return result,
            () = shutdown => {}
        }
        running.stop().await
    }

    /// Runs until nothing is left to handle: for tests, rebuilds and batch processes.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`Running::ended`].
    pub async fn run_to_end(self) -> Result<()> {
        self.stop_when(StopWhen::NothingLeft).start().await?.ended().await
    }
}

async fn init(db: &Db<'static>, projector: &dyn Projector) -> Result<()> {
    let (flight, _) = db.begin_plain(Vec::new()).await?;
    let done = projector.init(&flight.db()?).await;
    if let Err(error) = done {
        flight.rollback().await?;
        return Err(Error::internal("the projector could not be initialized").with_source(error));
    }
    flight.commit(vec![mainspring_pg::Query::new("SELECT 1")]).await.map(drop)
}

struct One {
    name: String,
    progress: watch::Receiver<ProcessorProgress>,
    task: Option<JoinHandle<Result<()>>>,
}

impl One {
    fn now(&self) -> ProcessorProgress {
        *self.progress.borrow()
    }
}

/// A consumer that runs. Dropping it aborts everything; the leases then run out.
#[must_use = "dropping the handle aborts the consumer"]
pub struct Running {
    shared: Arc<Shared>,
    stop: CancellationToken,
    processors: Vec<One>,
    watcher: Option<JoinHandle<()>>,
    grace: Duration,
}

impl Running {
    /// What this instance calls itself.
    pub fn instance(&self) -> &str {
        &self.shared.holder
    }

    /// How far a processor is.
    ///
    /// # Errors
    /// Not found.
    pub fn progress(&self, processor: &str) -> Result<ProcessorProgress> {
        self.one(processor).map(One::now)
    }

    fn one(&self, name: &str) -> Result<&One> {
        self.processors.iter().find(|one| one.name == name).ok_or_else(|| Error::not_found("processor", name))
    }

    /// Waits until every processor has its lease.
    ///
    /// # Errors
    /// Busy when `limit` is over first; conflict when one of them has stopped.
    pub async fn when_started(&self, limit: Duration) -> Result<()> {
        let is_started =
            |progress: &ProcessorProgress| matches!(progress.activity, Activity::Running | Activity::Stopped);
        self.all(limit, "has not started", is_started).await
    }

    /// Waits until every processor has handled what had a position when this was called.
    ///
    /// # Errors
    /// As [`when_started`](Self::when_started).
    pub async fn when_caught_up(&self, limit: Duration) -> Result<()> {
        let last = self.shared.feed.last().await?;
        self.all(limit, "has not caught up", |progress| progress.position >= last).await
    }

    /// Waits until one processor has handled everything up to this global position.
    ///
    /// # Errors
    /// As [`when_started`](Self::when_started); not found.
    pub async fn when_processed(&self, processor: &str, position: i64, limit: Duration) -> Result<()> {
        let what = format!("has not handled position {position}");
        self.one(processor)?.until(Instant::now() + limit, &what, |p| p.position >= position).await
    }

    async fn all(
        &self,
        limit: Duration,
        what: &str,
        is_so: impl Fn(&ProcessorProgress) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        for one in &self.processors {
            one.until(until, what, &is_so).await?;
        }
        Ok(())
    }

    /// Waits until every processor has stopped by itself.
    ///
    /// # Errors
    /// The first error a processor stopped with, when all have stopped.
    pub async fn ended(&mut self) -> Result<()> {
        let mut first = Ok(());
        for one in &mut self.processors {
            // Put back while waiting, so that dropping this future does not lose the task.
            let Some(task) = one.task.as_mut() else { continue };
            let result = match task.await {
                Ok(result) => result,
                Err(error) => Err(Error::internal("a processor's task ended").with_source(error)),
            };
            one.task = None;
            first = first.and(result);
        }
        first
    }

    /// Stops gracefully: batches under way are finished, leases given back.
    ///
    /// # Errors
    /// The first error a processor had stopped with; busy when one does not end in time.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        let until = Instant::now() + self.grace;
        let late = || Error::new(ErrorKind::Busy, "a processor did not stop in time; its lease will run out");
        timeout_at(until, self.ended()).await.unwrap_or_else(|_| Err(late()))
    }
}

impl One {
    async fn until(
        &self,
        until: Instant,
        what: &str,
        is_so: impl Fn(&ProcessorProgress) -> bool,
    ) -> Result<()> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| is_so(progress) || progress.activity.is_over());
        let name = &self.name;
        match timeout_at(until, reached).await {
            Ok(Ok(progress)) if is_so(&progress) => Ok(()),
            Ok(_) => Err(Error::conflict(format!("processor `{name}` stopped and {what}"))),
            Err(_) => {
                let at = self.now();
                let activity = format!("{:?} at position {}", at.activity, at.position);
                Err(Error::new(
                    ErrorKind::Busy,
                    format!("processor `{name}` {what} in time: it is {activity}"),
                ))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in self.processors.iter().filter_map(|one| one.task.as_ref()) {
            task.abort();
        }
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

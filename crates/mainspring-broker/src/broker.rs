//! The broker as its users see it.

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use mainspring_core::{Backend, Error, MessageId, QueueOptions, QueueStats, Result, Retry, limits};
use mainspring_worker::{BackendQueue, Deliver, Worker, WorkerHandle};
use tokio::sync::Mutex;

use crate::{
    CloudEvent, Emission, Handler, HandlerError, HandlerOptions, KeyBy, Sending,
    backlog::Backlog,
    core::{Core, Names},
    deliver::HandlerDeliver,
    directory::{Directory, Entry, Kind},
    listener::Listener,
    parked::ParkedDeliver,
};

/// Routes events to handlers, wherever they are. A clone is the same broker.
///
/// ```
/// use mainspring_broker::{Broker, Contract, Draft, Schema, Service, Terms};
/// use mainspring_testing::MemoryBackend;
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
/// let sum = Contract::new("#/services/sum", "cmd.total.sum")
///     .version("1.0.0", Terms::default().emitting("evt.total.summed", Schema::any()));
/// let service = Service::new(sum.clone(), |event, _call| async move {
///     let numbers: Vec<i64> = serde_json::from_value(event.data()["numbers"].clone())?;
///     Ok(vec![Draft::new("evt.total.summed", json!({"total": numbers.iter().sum::<i64>()}))])
/// });
///
/// let broker = Broker::builder(MemoryBackend::realtime()).build()?;
/// let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
/// broker.on_workflow_complete("my.workflow", Default::default(), move |event| {
///     let _ = tell.send(event);
///     async { Ok(()) }
/// }).await?;
/// broker.register(service, Default::default()).await?;
///
/// let event = sum.accept("1.0.0", "my.workflow")?.data(json!({"numbers": [1, 2]})).build()?;
/// broker.dispatch(event).await?;
/// assert_eq!(told.recv().await.unwrap().data()["total"], 3);
/// broker.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    lease: Duration,
    grace: Duration,
    max_lost: u32,
    local: Mutex<Local>,
}

/// What runs in this process.
#[derive(Default)]
struct Local {
    sources: HashSet<String>,
    workers: Vec<WorkerHandle>,
    stopped: bool,
}

/// A [`Broker`] being put together.
#[must_use = "a builder does nothing until it builds"]
pub struct BrokerBuilder {
    backend: Arc<dyn Backend>,
    name: String,
    max_hops: u32,
    lease: Duration,
    grace: Duration,
    max_lost: u32,
}

impl BrokerBuilder {
    /// In front of the names of the broker's own queues, and of the stream that says who is where. Brokers of one name are one,
    /// in however many processes. Defaults to `broker`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Through how many handlers an event and what follows from it may come before it counts as going round: it is then
    /// dead-lettered with the code `HOP_LIMIT`. Defaults to 1,000.
    pub fn max_hops(mut self, hops: u32) -> Self {
        self.max_hops = hops;
        self
    }

    /// How long this process counts as alive after a sign of life. Defaults to 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long a stop waits for what is being handled. Defaults to 30 seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How many workers one event may cost before it is dead-lettered. Defaults to 10.
    pub fn max_lost(mut self, workers: u32) -> Self {
        self.max_lost = workers;
        self
    }

    /// The broker. Nothing runs until something is registered.
    ///
    /// # Errors
    /// Invalid, naming the option.
    pub fn build(self) -> Result<Broker> {
        let Self { backend, name, max_hops, lease, grace, max_lost } = self;
        let named = |what: &str| format!("{name}.{what}");
        let names =
            Names { parked: named("parked"), unrouted: named("unrouted"), domained: named("domained") };
        limits::check_name("broker.name", &names.unrouted)?;
        let directory = Directory::new(Arc::clone(&backend), named("handlers"));
        let core = Arc::new(Core { backend, directory, names, max_hops });
        Ok(Broker(Arc::new(Inner { core, lease, grace, max_lost, local: Mutex::default() })))
    }
}

/// Kept until somebody deals with it, tried for as long as it takes.
fn patient() -> QueueOptions {
    QueueOptions {
        max_attempts: limits::MAX_ATTEMPTS,
        keep_queued: limits::MAX_DURATION,
        keep_finished: Duration::ZERO,
        retry: Retry { longest: Duration::from_secs(300), ..Retry::default() },
        ..QueueOptions::default()
    }
}

impl Broker {
    /// A broker on this backend, to be put together.
    pub fn builder(backend: impl Into<Arc<dyn Backend>>) -> BrokerBuilder {
        let seconds = Duration::from_secs;
        BrokerBuilder {
            backend: backend.into(),
            name: "broker".to_owned(),
            max_hops: 1_000,
            lease: seconds(30),
            grace: seconds(30),
            max_lost: 10,
        }
    }

    /// Where everything is stored.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.0.core.backend
    }

    fn queues(&self) -> &dyn mainspring_core::QueueStore {
        self.0.core.backend.queues()
    }

    /// Gives a handler its queue, makes it known to every process, and begins to serve it here. What was sent to it before it
    /// was there is routed to it now.
    ///
    /// # Errors
    /// Conflict when this broker has a handler of that source; invalid, naming the option; Conflict of the queue when its
    /// policy would change.
    pub async fn register(&self, handler: impl Handler, options: HandlerOptions) -> Result<()> {
        self.serve(Arc::new(handler), Kind::Handler, options).await
    }

    /// Calls `listener` with every event that is for `source`: the ends of processes that were begun from there. Only events
    /// from such a source can be [dispatched](Self::dispatch). An error of the listener brings the event again.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub async fn on_workflow_complete<F, Fut>(
        &self,
        source: impl Into<String>,
        options: HandlerOptions,
        listener: F,
    ) -> Result<()>
    where
        F: Fn(CloudEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let listener = Listener::new(&source.into(), listener);
        self.serve(Arc::new(listener), Kind::Completion, options).await
    }

    /// Calls `listener` with every event that has a domain. They wait until some process listens, and an error of the listener
    /// brings the event again.
    ///
    /// # Errors
    /// Conflict when this broker listens already.
    pub async fn on_domained_event<F, Fut>(&self, listener: F) -> Result<()>
    where
        F: Fn(CloudEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.listen(&self.0.core.names.domained, listener).await
    }

    /// Calls `listener` with every event that no handler was registered for when it was sent. The event itself waits for its
    /// handler, whatever the listener does; one with no `to` is only told of here.
    ///
    /// # Errors
    /// Conflict when this broker listens already.
    pub async fn on_handler_not_found<F, Fut>(&self, listener: F) -> Result<()>
    where
        F: Fn(CloudEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.listen(&self.0.core.names.unrouted, listener).await
    }

    async fn listen<F, Fut>(&self, queue: &str, listener: F) -> Result<()>
    where
        F: Fn(CloudEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let mut local = self.local().await?;
        let deliver = self.deliver_to(Arc::new(Listener::new(queue, listener)), &HandlerOptions::default());
        self.begin(
            &mut local,
            queue,
            deliver,
            &HandlerOptions { concurrency: 8, ..HandlerOptions::default() },
        )
    }

    async fn serve(&self, handler: Arc<dyn Handler>, kind: Kind, mut options: HandlerOptions) -> Result<()> {
        let source = handler.source().to_owned();
        options.check(&source)?;
        if options.queue.policy == mainspring_core::Policy::KeyStrictFifo && options.key == KeyBy::Nothing {
            options.key = KeyBy::Subject; // it needs one, and what belongs together is a process
        }
        let mut local = self.local().await?;
        if local.sources.contains(&source) {
            let problem =
                format!("handler registration failed: a handler with source `{source}` is registered");
            return Err(Error::conflict(problem));
        }
        self.prepare_queue(&source, &options).await?;
        let entry = Entry { kind, address: options.addressing() };
        self.0.core.directory.add(&source, &entry).await?;
        let deliver = self.deliver_to(handler, &options);
        self.begin(&mut local, &source, deliver, &options)?;
        self.0.core.wake_parked(&source).await.map(drop)
    }

    async fn prepare_queue(&self, source: &str, options: &HandlerOptions) -> Result<()> {
        let created = self.queues().create_queue(source, options.queue.clone()).await?;
        if options.recreate_queue && !created.created {
            self.queues().recreate_queue(source, options.queue.clone()).await?;
        } else if !created.differences.is_empty() {
            let differences = format!("{:?}", created.differences);
            tracing::warn!(queue = source, differences, "a queue gets other options");
            self.queues().update_queue(source, options.queue.clone()).await?;
        }
        Ok(())
    }

    /// What runs here; the broker's own queues are there when it is answered.
    async fn local(&self) -> Result<tokio::sync::MutexGuard<'_, Local>> {
        let mut local = self.0.local.lock().await;
        if local.stopped {
            return Err(Error::conflict("the broker was stopped"));
        }
        if local.workers.is_empty() {
            let names = &self.0.core.names;
            for queue in [&names.parked, &names.unrouted, &names.domained] {
                self.queues().create_queue(queue, patient()).await?;
            }
            let parked = Arc::new(ParkedDeliver(Arc::clone(&self.0.core)));
            let options = HandlerOptions { concurrency: 8, ..HandlerOptions::default() };
            self.begin(&mut local, &names.parked, parked, &options)?;
        }
        Ok(local)
    }

    fn deliver_to(&self, handler: Arc<dyn Handler>, options: &HandlerOptions) -> Arc<dyn Deliver> {
        let queue = handler.source().to_owned();
        let backlog = options.warn_above.map(|most| Backlog::new(&self.0.core.backend, &queue, most));
        Arc::new(HandlerDeliver {
            core: Arc::clone(&self.0.core),
            handler,
            queue,
            keep_receipts: options.keep_receipts,
            classify: options.classify.clone(),
            backlog,
        })
    }

    fn begin(
        &self,
        local: &mut Local,
        queue: &str,
        deliver: Arc<dyn Deliver>,
        options: &HandlerOptions,
    ) -> Result<()> {
        if local.sources.contains(queue) {
            return Err(Error::conflict(format!("`{queue}` is served by this broker already")));
        }
        let backend = Arc::clone(&self.0.core.backend);
        let clock = Arc::clone(&backend);
        let worker = Worker::new(Arc::new(BackendQueue(backend)), deliver)
            .queue(queue)
            .concurrency(options.concurrency)
            .prefetch(options.prefetch)
            .poll_interval(options.poll_interval)
            .lease(self.0.lease)
            .grace(self.0.grace)
            .max_lost(self.0.max_lost)
            .clock(move || clock.now());
        local.workers.push(worker.start()?);
        local.sources.insert(queue.to_owned());
        Ok(())
    }

    /// Sends an event into the system. Sent again, by whatever process, it is handled once.
    ///
    /// # Errors
    /// In this order: invalid when no completion listener was ever registered; invalid when the event's source is not that of
    /// one; not found when no handler was registered for it.
    pub async fn dispatch(&self, event: CloudEvent) -> Result<MessageId> {
        self.dispatch_with(event, Sending::default()).await
    }

    /// The same with what its message asks for.
    ///
    /// # Errors
    /// As [`dispatch`](Self::dispatch), and invalid, naming what is asked for.
    pub async fn dispatch_with(&self, event: CloudEvent, sending: Sending) -> Result<MessageId> {
        let core = &self.0.core;
        let source = core.directory.find(event.source()).await?;
        if source.is_none_or(|entry| entry.kind != Kind::Completion) {
            let all = core.directory.all().await?;
            let problem = match all.values().any(|entry| entry.kind == Kind::Completion) {
                false => Error::invalid(
                    "broker",
                    "workflow completion handler not configured: call `on_workflow_complete` first",
                ),
                true => Error::invalid(
                    "event.source",
                    format!(
                        "event source mismatch: `{}` is not that of a completion handler",
                        event.source()
                    ),
                ),
            };
            return Err(problem);
        }
        let to = event.to().unwrap_or_default();
        let entry = core.directory.find(to).await?;
        if event.domain().is_none() && entry.is_none() {
            return Err(Error::not_found("handler", to));
        }
        let selects = |entry: &Entry| entry.address.selective || entry.address.unique.is_some();
        let may_be_left_out = sending.options.unique.is_some() || entry.is_some_and(|entry| selects(&entry));
        let messages = core.route(&Emission { event, sending }, 0).await?;
        let id = messages.first().map(|message| message.id.clone());
        let id = match may_be_left_out {
            true => self.queues().push_each(messages).await?.into_iter().next().map(|pushed| pushed.id),
            false => {
                core.backend.queue().push(messages).await?; // together with what others push
                id
            }
        };
        id.ok_or_else(|| Error::internal("a push was not answered"))
    }

    /// The queues of all handlers and completion listeners, whichever process they are in.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn queue_names(&self) -> Result<Vec<String>> {
        Ok(self.0.core.directory.all().await?.into_keys().collect())
    }

    /// How full the queues of all handlers and completion listeners are.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stats(&self) -> Result<Vec<(String, QueueStats)>> {
        let mut all = Vec::new();
        for queue in self.queue_names().await? {
            let stats = self.0.core.backend.queue().stats(&queue).await?;
            all.push((queue, stats));
        }
        Ok(all)
    }

    /// Stops gracefully: what was claimed and not begun is given back at once, what is being handled has the grace period.
    /// Nothing can be registered after; events can still be dispatched. Any number may call it, and again.
    ///
    /// # Errors
    /// Internal, when a worker panicked.
    pub async fn stop(&self) -> Result<()> {
        let workers = {
            let mut local = self.0.local.lock().await;
            local.stopped = true;
            std::mem::take(&mut local.workers)
        };
        let ends = workers.iter().map(WorkerHandle::stop);
        futures_util::future::join_all(ends).await.into_iter().collect::<Result<Vec<u64>>>().map(drop)
    }
}

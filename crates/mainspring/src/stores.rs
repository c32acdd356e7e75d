//! All stores on one Postgres, and the factory that makes them.

use std::sync::Arc;

use mainspring_consumer::Consumer;
use mainspring_context::PgContextStore;
use mainspring_core::{
    Backend, BoxFuture, Changes, Committed, ContextStore, EventStore, ExecutionStore, FlowStore, JobStore,
    LeaseStore, OutputStore, QueueDriver, QueueStore, Result, Timestamp, TokenStore, UpkeepTask,
};
use mainspring_events::{InlineProjection, PgEventStore};
use mainspring_executions::PgExecutionStore;
use mainspring_flows::PgFlowStore;
use mainspring_jobs::PgJobStore;
use mainspring_leases::PgLeaseStore;
use mainspring_output::PgOutputStore;
use mainspring_pg::{
    AfterCommit, AsyncFunc, Carrier, Db, Deadlines, Hints, Names, Pool, Prefix, Schema, Settings, Statements,
    TxRef,
};
use mainspring_queue::{
    PgQueue,
    upkeep::{QueueUpkeep, UpkeepOptions},
};
use mainspring_retention::{Retention, RetentionPolicy};
use mainspring_tokens::PgTokenStore;

use crate::{
    commit::{Appends, GroupCommit, commit_within, hint},
    reactions::CommitsAll,
};

/// What the tables are called and how commits run.
#[derive(Debug, Clone)]
pub struct PgStoreOptions {
    /// In front of every table's name: lower-case letters, digits and `_`, at most 24 bytes. Defaults to `ms_`.
    pub table_prefix: String,
    /// The schema of the tables. Defaults to `public`.
    pub schema: String,
    /// Group commits under way at the same time, each on a connection of its own; 1 to 16. Defaults to 2.
    pub commit_lanes: usize,
    /// How to reach the server beside the pool, for the one connection that listens for hints. Defaults to `None`: workers
    /// of other processes are then found by polling.
    pub listen: Option<Settings>,
    /// What carries hints between processes in the place of NOTIFY, such as Redis. Every process on the same tables should have
    /// the same. Defaults to none.
    pub carrier: Option<Arc<dyn Carrier>>,
    /// How statements reach the server. Behind a pooler in transaction mode it must be as the pooler can pass them on.
    /// Defaults to [`Statements::Named`].
    pub statements: Statements,
    /// How long each kind of waiting may last. Defaults to those of [`Deadlines`].
    pub deadlines: Deadlines,
    /// What the upkeep that engines and worlds start keeps for how long.
    pub retention: RetentionPolicy,
}

impl Default for PgStoreOptions {
    fn default() -> Self {
        Self {
            table_prefix: "ms_".to_owned(),
            schema: "public".to_owned(),
            commit_lanes: 2,
            listen: None,
            carrier: None,
            statements: Statements::default(),
            deadlines: Deadlines::default(),
            retention: RetentionPolicy::default(),
        }
    }
}

impl PgStoreOptions {
    /// The validated names.
    ///
    /// # Errors
    /// Invalid, naming `table_prefix` or `schema` and the rule it broke.
    pub fn names(&self) -> Result<Names> {
        Ok(Names::new(Schema::new(&self.schema)?, Prefix::new(&self.table_prefix)?))
    }
}

/// Every store of the library on one Postgres: the [`Backend`] of an engine, and each store by itself.
#[derive(Clone)]
pub struct PgStores<'t> {
    /// One row per running instance.
    pub executions: PgExecutionStore<'t>,
    /// Flow definitions.
    pub flows: PgFlowStore<'t>,
    /// Work done out of line.
    pub jobs: PgJobStore<'t>,
    /// The log.
    pub events: PgEventStore<'t>,
    /// Large values.
    pub context: PgContextStore<'t>,
    /// What wakes a waiting execution.
    pub resume_tokens: PgTokenStore<'t>,
    /// Messages.
    pub queue: PgQueue<'t>,
    /// What steps publish for readers.
    pub outputs: PgOutputStore<'t>,
    /// Who may act on a name.
    pub leases: PgLeaseStore<'t>,
    db: Db<'t>,
    group: Option<Arc<GroupCommit>>,
    hints: Option<Hints>,
    retention: Option<Arc<RetentionPolicy>>,
}

/// All stores on `pool`. Nothing is connected yet, and no table is touched: see [`Migrator`](mainspring_pg::Migrator).
///
/// # Errors
/// Invalid, naming the option and the rule it broke.
pub fn create_pg_stores(pool: Pool, options: PgStoreOptions) -> Result<PgStores<'static>> {
    stores_on(pool, None, options)
}

/// With the settings that the pool was made from, where they are known.
fn stores_on(pool: Pool, settings: Option<&Settings>, options: PgStoreOptions) -> Result<PgStores<'static>> {
    let names = options.names()?;
    if !(1..=16).contains(&options.commit_lanes) {
        let problem = format!("{} is not within 1 to 16", options.commit_lanes);
        return Err(mainspring_core::Error::invalid("commit_lanes", problem));
    }
    let mut db = Db::with_statements(pool, names.clone(), options.deadlines, options.statements);
    if let Some(settings) = settings {
        db = db.at_hosts_of(settings);
    }
    let mut hints = Hints::new(Some(db.clone()), options.listen, names);
    if let Some(carrier) = options.carrier {
        hints = hints.with_carrier(carrier);
    }
    let group = Arc::new(GroupCommit::new(db.clone(), hints.clone(), options.commit_lanes));
    options.retention.check()?;
    let mut stores = PgStores::at(db);
    stores.retention = Some(Arc::new(options.retention));
    stores.queue = stores.queue.with_hints(hints.clone()).with_shared_pushes();
    stores.outputs = stores.outputs.with_hints(hints.clone()).with_shared_writes();
    stores.events = stores.events.with_group(Arc::new(Appends(Arc::clone(&group))));
    stores.hints = Some(hints);
    stores.group = Some(group);
    Ok(stores)
}

impl PgStores<'static> {
    /// All stores on a pool of their own: `url` is `postgres://…` or libpq's key=value form. With `pooler=transaction` in it
    /// the address is that of a pooler, and hints are heard only where `options.listen` leads.
    ///
    /// # Errors
    /// Invalid, when the URL or an option is. Nothing is connected yet.
    pub fn connect(url: &str, options: PgStoreOptions) -> Result<Self> {
        Self::connect_with(Settings::parse(url)?, options)
    }

    /// [`connect`](Self::connect) where the address is read already.
    ///
    /// # Errors
    /// As there.
    pub fn connect_with(settings: Settings, options: PgStoreOptions) -> Result<Self> {
        let pool = mainspring_pg::pool(&settings, DEFAULT_POOL_SIZE)?;
        let statements = settings.statements();
        let listen = if settings.is_pooled() { options.listen } else { Some(settings.clone()) };
        stores_on(pool, Some(&settings), PgStoreOptions { listen, statements, ..options })
    }
}

impl PgStores<'static> {
    /// A consumer of the log of these stores: its reactors may decide everything [`Changes`] can hold, and it hears of what
    /// is committed here at once. `name` is for people.
    ///
    /// ```
    /// use mainspring::{Backend, Changes, Engine, NewMessage, Outcome, PgStoreOptions, Processor, QueueDriver, create_pg_stores};
    /// use mainspring::{Flow, GlobalFilter, event::{EXECUTIONS, kind}, flow::Step, reactor_fn};
    /// use serde_json::{Value, json};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let test = mainspring_testing::TestDb::with_prefix("fm_").await; let pool = test.pool();
    /// # let stores = create_pg_stores(pool, PgStoreOptions { table_prefix: "fm_".into(), ..Default::default() })?;
    /// # let flow = Flow::builder("order", "1.0.0").step(Step::new("charge", "charge")).build()?;
    /// # let engine = Engine::builder(stores.clone())
    /// #     .handle_fn("charge", async |_call, _: Value| Ok(Outcome::success(json!(1)))).flow(flow).build()?;
    /// // The history of executions is in the log: when one has completed, somebody is written to.
    /// let thank = reactor_fn(|event| async move {
    ///     let mail = NewMessage::new("mail", "thanks", json!({"for": event.stream}));
    ///     Ok(Changes { messages: vec![mail], ..Changes::default() })
    /// });
    /// let thank = Processor::reactor("thank", thank).event_types([kind::EXECUTION_COMPLETED]);
    /// let histories = GlobalFilter { partitions: vec![EXECUTIONS.into()], ..GlobalFilter::default() };
    ///
    /// engine.create("order", json!({})).run().await?;
    /// stores.consumer("mails").only(histories).processor(thank).run_to_end().await?;
    /// assert_eq!(stores.queue.stats("mail").await?.ready, 1);
    /// # Ok(()) }
    /// ```
    pub fn consumer(&self, name: impl Into<String>) -> Consumer {
        let commits = CommitsAll { events: self.events.clone(), hints: self.hints.clone() };
        let consumer = Consumer::new(&self.db, name).commits(Arc::new(commits));
        match &self.hints {
            Some(hints) => consumer.hints(hints.clone()),
            None => consumer,
        }
    }
}

impl PgStores<'static> {
    /// The upkeep of everything here, not done yet. See [`upkeep`](mod@mainspring_queue::upkeep).
    ///
    /// # Errors
    /// Invalid, naming the option and its limit.
    pub fn upkeep(&self, options: UpkeepOptions) -> Result<QueueUpkeep> {
        self.queue.upkeep(options)
    }

    /// What takes out what is over, as a policy says, beside the upkeep: once, with counts first and progress.
    ///
    /// # Errors
    /// Invalid, naming the rule and its limit.
    pub fn retention(&self, policy: RetentionPolicy) -> Result<Retention> {
        Retention::new(&self.db, policy)
    }
}

/// Connections of a pool of our own.
const DEFAULT_POOL_SIZE: usize = 10;

impl<'t> PgStores<'t> {
    fn at(db: Db<'t>) -> Self {
        Self {
            executions: PgExecutionStore::new(&db),
            flows: PgFlowStore::new(&db),
            jobs: PgJobStore::new(&db),
            events: PgEventStore::new(&db),
            context: PgContextStore::new(&db),
            resume_tokens: PgTokenStore::new(&db),
            queue: PgQueue::new(&db),
            outputs: PgOutputStore::new(&db),
            leases: PgLeaseStore::new(&db),
            db,
            group: None,
            hints: None,
            retention: None,
        }
    }

    /// The same stores, standing on your transaction: what they write becomes durable with your commit, or not at all. Whoever
    /// waits for it finds it by polling, unless told: see [`after_commit`](Self::after_commit).
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgStores<'u> {
        let mut here = PgStores::at(self.db.on(tx));
        here.events = self.events.on(&here.db);
        if let Some(hints) = self.hints.as_ref().map(Hints::kept_back) {
            here.queue = here.queue.with_hints(hints.clone());
            here.outputs = here.outputs.with_hints(hints.clone());
            here.hints = Some(hints);
        }
        here
    }

    /// What wakes those who wait for what was written here, once your transaction is committed: take it before, and send it
    /// after. [`session`](Self::session) does so by itself.
    ///
    /// ```
    /// # use mainspring::{NewMessage, QueueDriver};
    /// # use serde_json::json;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let test = mainspring_testing::TestDb::new().await;
    /// # let stores = mainspring::create_pg_stores(test.pool(), Default::default())?;
    /// # let mut client = test.pool().get().await?;
    /// let tx = client.transaction().await?;
    /// let here = stores.on(&*tx);
    /// here.queue.push(vec![NewMessage::new("mail", "welcome", json!({}))]).await?;
    /// let hints = here.after_commit();
    /// tx.commit().await?;
    /// hints.send(); // a worker begins at once, and not at its next look
    /// # Ok(()) }
    /// ```
    pub fn after_commit(&self) -> AfterCommit {
        AfterCommit::of(self.hints.as_ref())
    }

    /// The same stores with a projection that is kept in the transaction of every append, those of [`Changes`] too.
    #[must_use]
    pub fn with_inline(mut self, projection: Arc<dyn InlineProjection>) -> Self {
        self.events = self.events.with_inline(projection);
        self
    }

    /// Runs `f` with all stores in one transaction: appends, inline projections, pushes, executions and SQL of the
    /// application become durable together, or not at all.
    ///
    /// `f` runs again, at most five times in all, after a serialization failure, a deadlock or a lost connection, so what it
    /// does outside of the stores it is given may happen more than once. Inside a transaction already it joins that one, and
    /// nothing is committed or retried here.
    ///
    /// ```
    /// # use mainspring::{Append, EventStore, NewEvent, NewMessage, QueueDriver};
    /// # use serde_json::json;
    /// # #[tokio::main] async fn main() -> mainspring::Result<()> {
    /// # let test = mainspring_testing::TestDb::new().await;
    /// # let stores = mainspring::create_pg_stores(test.pool(), Default::default())?;
    /// stores.session(async |here| {
    ///     here.events.append(Append::to("cart-1", vec![NewEvent::new("Confirmed", json!({}))])).await?;
    ///     here.queue.push(vec![NewMessage::new("mail", "confirmation", json!({"cart": 1}))]).await
    /// }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `f` answered; Internal when it swallowed the failure of a statement (nothing is committed then);
    /// [commit unknown](mainspring_core::Error::is_commit_unknown) when COMMIT was sent and nobody can say what became of it.
    pub async fn session<T, F>(&self, f: F) -> Result<T>
    where
        for<'r, 'c> F: AsyncFn(&'r PgStores<'c>) -> Result<T>
            + AsyncFunc<&'r PgStores<'c>, Result<T>, Fut: Send>
            + Send
            + Sync,
        T: Send,
    {
        let done = self.db.with_tx(async |db| {
            let here = self.on(db);
            Ok((f(&here).await?, here.after_commit()))
        });
        let (answer, hints) = done.await?;
        hints.send();
        Ok(answer)
    }

    /// Where the stores stand.
    pub fn db(&self) -> &Db<'t> {
        &self.db
    }
}

impl From<PgStores<'static>> for Arc<dyn Backend> {
    fn from(stores: PgStores<'static>) -> Self {
        Arc::new(stores)
    }
}

impl Backend for PgStores<'_> {
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<Committed>> {
        Box::pin(async move {
            match &self.group {
                Some(group) if changes.appends.is_empty() || self.events.inline().is_empty() => {
                    group.commit(changes).await
                }
                Some(group) => group.commit_alone(&self.events, changes).await,
                None => {
                    changes.check()?;
                    let changes = changes.traced();
                    let committed = commit_within(&self.db, &self.events, &changes).await?;
                    if let Some(hints) = &self.hints {
                        hint(hints, [&changes]);
                    }
                    Ok(committed)
                }
            }
        })
    }

    fn as_any(&self) -> Option<&(dyn std::any::Any + Send + Sync)> {
        self.group.as_deref().map(|group| group as &(dyn std::any::Any + Send + Sync))
    }

    fn start_upkeep(&self) -> Result<Option<Box<dyn UpkeepTask>>> {
        let Some(group) = &self.group else { return Ok(None) };
        let retention = self.retention.as_deref().cloned().unwrap_or_default();
        let options = UpkeepOptions { retention, ..UpkeepOptions::default() };
        let mut upkeep = QueueUpkeep::new(group.db(), options)?;
        if let Some(hints) = &self.hints {
            upkeep = upkeep.with_hints(hints.clone());
        }
        Ok(Some(Box::new(Arc::new(upkeep).start())))
    }

    fn now(&self) -> Timestamp {
        self.db.clock().now()
    }

    fn executions(&self) -> &dyn ExecutionStore {
        &self.executions
    }

    fn flows(&self) -> &dyn FlowStore {
        &self.flows
    }

    fn jobs(&self) -> &dyn JobStore {
        &self.jobs
    }

    fn events(&self) -> &dyn EventStore {
        &self.events
    }

    fn tokens(&self) -> &dyn TokenStore {
        &self.resume_tokens
    }

    fn context(&self) -> &dyn ContextStore {
        &self.context
    }

    fn queue(&self) -> &dyn QueueDriver {
        &self.queue
    }

    fn queues(&self) -> &dyn QueueStore {
        &self.queue
    }

    fn outputs(&self) -> &dyn OutputStore {
        &self.outputs
    }

    fn leases(&self) -> &dyn LeaseStore {
        &self.leases
    }
}

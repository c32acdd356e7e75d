//! A database, a ledger, and workers on both.

use std::{fmt, sync::Arc, time::Duration};

use mainspring::{
    Backend, Engine, Execution, ExecutionId, Migrator, Names, PgStoreOptions, PgStores, QueueStats, Settings,
    Worker, create_pg_stores, pool,
    redis::{Redis, RedisOptions},
};
use mainspring_pg::{Carrier, Session};
use mainspring_testing::{Cluster, Faults, History, Report, TestDb};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{ChildPlan, LEASE, LOOK, Ledger, PATIENCE, broken_invariants, order, until};

/// Connections of one process.
pub(crate) const CONNECTIONS: usize = 4;

/// A database, a ledger, and everything that works on them.
pub struct Lab {
    /// What handlers did.
    pub ledger: Ledger,
    settings: Settings,
    url: String,
    names: Names,
    near: PgStores<'static>,
    redis: Option<String>,
    db: Option<TestDb>,
    _folder: TempDir,
}

impl Lab {
    /// One with a database of its own.
    pub async fn new() -> Self {
        let db = TestDb::new().await;
        let mut lab = Self::at(db.url(), db.settings().clone());
        lab.db = Some(db);
        lab
    }

    /// One with a database of its own and this Redis beside it, which is nobody else's; also for its children.
    pub async fn beside(redis: &str) -> Self {
        let mut lab = Self::new().await;
        lab.redis = Some(redis.to_owned());
        lab.near = lab.stores(CONNECTIONS);
        lab
    }

    /// One on a migrated database that belongs to someone else.
    ///
    /// # Panics
    /// When there is no room for the ledger.
    pub fn at(url: &str, settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the ledger");
        let ledger = Ledger::open(folder.path().join("effects")).expect("a ledger");
        let near = stores(&settings, CONNECTIONS, None);
        let names = Names::default();
        Self { ledger, settings, url: url.to_owned(), names, near, redis: None, db: None, _folder: folder }
    }

    /// One on a server of the test's own, which is migrated for it.
    ///
    /// # Panics
    /// When it cannot be migrated.
    pub async fn on(server: &Cluster) -> Self {
        let url = server.url("postgres");
        let settings = Settings::parse(&url).expect("an address");
        Migrator::new(settings.clone(), Names::default()).up().await.expect("migrated");
        Self::at(&url, settings)
    }

    /// The database.
    ///
    /// # Panics
    /// When it belongs to someone else.
    pub fn db(&self) -> &TestDb {
        self.db.as_ref().expect("a database of our own")
    }

    /// Stores that nothing breaks, for looking and for creating.
    pub fn near(&self) -> &PgStores<'static> {
        &self.near
    }

    /// Stores of their own with `connections`, as another process has them.
    pub fn stores(&self, connections: usize) -> PgStores<'static> {
        stores(&self.settings, connections, self.redis.as_deref())
    }

    /// Stores that reach the database by another way.
    pub fn stores_by(&self, way: &Settings, connections: usize) -> PgStores<'static> {
        stores(way, connections, self.redis.as_deref())
    }

    /// An engine with stores of its own that runs `order`.
    ///
    /// # Panics
    /// Never: what it is built of is valid.
    pub fn engine(&self) -> Engine {
        self.engine_on(self.stores(CONNECTIONS))
    }

    /// An engine on `backend` that runs `order`.
    ///
    /// # Panics
    /// Never: what it is built of is valid.
    pub fn engine_on(&self, backend: impl Backend + 'static) -> Engine {
        order::builder(backend, &self.ledger, &Faults::none()).build().unwrap()
    }

    /// A worker in a process of its own.
    pub fn child(&self, program: &str) -> ChildPlan {
        ChildPlan::new(program, &self.url, &self.ledger, self.redis.as_deref())
    }

    /// How to reach the database.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A connection of its own.
    ///
    /// # Panics
    /// When there is none.
    pub async fn client(&self) -> Session {
        self.settings.connect().await.expect("a connection")
    }

    /// Creates `count` executions of `order`, acknowledged.
    ///
    /// # Panics
    /// When one was not.
    pub async fn create(&self, engine: &Engine, count: usize) -> Vec<ExecutionId> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(engine.create("order", json!({})).await.expect("created").execution.id);
        }
        ids
    }

    /// One execution as it stands.
    ///
    /// # Panics
    /// When it is not there.
    pub async fn get(&self, id: &ExecutionId) -> Execution {
        self.near.executions().get(id).await.expect("read").unwrap_or_else(|| panic!("{id} is lost"))
    }

    /// Whether all of these are over.
    pub async fn are_over(&self, ids: &[ExecutionId]) -> bool {
        let Ok(found) = self.near.executions().get_many(ids).await else { return false };
        found.len() == ids.len() && found.iter().all(|execution| execution.status.is_terminal())
    }

    /// Waits until all of these are over.
    ///
    /// # Panics
    /// When they are not after a minute, with what they wait for.
    pub async fn over(&self, ids: &[ExecutionId]) {
        let begin = Instant::now();
        while !self.are_over(ids).await {
            if begin.elapsed() > PATIENCE {
                let found = self.near.executions().get_many(ids).await.expect("read");
                let open: Vec<_> = found.iter().filter(|execution| !execution.status.is_terminal()).collect();
                let broken = self.broken().await;
                let stats = self.near.queue().stats(mainspring::DEFAULT_QUEUE).await;
                panic!(
                    "{} of {} are there; not over: {open:#?}; {broken:#?}; {stats:?}",
                    found.len(),
                    ids.len()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the default queue is empty.
    pub async fn drained(&self) {
        let empty = async || {
            let stats = self.near.queue().stats(mainspring::DEFAULT_QUEUE).await;
            stats.is_ok_and(|stats| stats == QueueStats::default())
        };
        until("the queue is empty", empty).await;
    }

    /// What must hold and does not, right now.
    pub async fn broken(&self) -> Vec<String> {
        broken_invariants(&self.client().await, &self.names).await
    }

    /// Waits until `ids` are over and the queue is empty, then checks everything: nothing lost, nothing unasked for, nothing
    /// recorded twice, every invariant.
    ///
    /// # Panics
    /// When anything is not as it should be.
    pub async fn verdict(&self, ids: &[ExecutionId]) -> Report {
        self.over(ids).await;
        self.drained().await;
        let broken = self.broken().await;
        assert!(broken.is_empty(), "{broken:#?}");
        let history = History::new().accepted(ids.iter().cloned()).nothing_else().drained("default");
        history.check(&self.near).await.expect("the history is read").expect_clean()
    }

    /// [`verdict`](Self::verdict) for executions of `order`, all of which completed, with every effect and every step.
    ///
    /// # Panics
    /// When anything is not as it should be.
    pub async fn all_completed(&self, ids: &[ExecutionId]) -> Report {
        self.over(ids).await;
        let failed = self.near.executions().find_by_status(mainspring::ExecutionStatus::Failed, 10).await;
        let failed: Vec<_> =
            failed.expect("read").into_iter().map(|e| (e.id, e.current_step, e.error)).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        let report = self.verdict(ids).await;
        let count = ids.len() as u64;
        // each with its child
        assert_eq!(report.with_status(mainspring::ExecutionStatus::Completed), 2 * count, "{report}");
        assert_eq!(report.steps_started, order::STEPS * count, "{report}");
        assert_eq!(report.steps_retried, count, "{report}");
        assert_eq!(self.ledger.counts().len(), order::EFFECTS * ids.len(), "{:#?}", self.ledger.counts());
        report
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lab({:?})", self.settings)
    }
}

fn stores(settings: &Settings, connections: usize, redis: Option<&str>) -> PgStores<'static> {
    let options = PgStoreOptions {
        carrier: redis.map(carrier),
        listen: (!settings.is_pooled()).then(|| settings.clone()),
        statements: settings.statements(),
        ..PgStoreOptions::default()
    };
    create_pg_stores(pool(settings, connections).expect("a pool"), options).expect("stores")
}

/// The Redis at this address.
pub(crate) fn carrier(redis: &str) -> Arc<dyn Carrier> {
    let options = RedisOptions::parse(redis).expect("an address of a Redis");
    Arc::new(Redis::new(options).expect("a Redis"))
}

/// A worker with the timings of the tests.
pub fn worker(engine: &Engine) -> Worker {
    engine.worker().concurrency(8).lease(LEASE).poll_interval(LOOK).maintenance_interval(LOOK)
}

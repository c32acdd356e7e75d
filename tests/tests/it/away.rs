//! One store is away for longer than a lease while the others work (F16): no execution may fail of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use mainspring::{
    Backend, BoxFuture, Changes, Committed, ContextStore, Error, ErrorKind, EventStore, ExecutionStore, Flow,
    FlowStore, JobStore, PgStores, QueueDriver, Result, Saved, Timestamp, TokenStore,
};
use mainspring_tests::{LEASE, Lab, until, worker};
use tokio::time::sleep;

/// Stores whose flows cannot be looked up while they are away.
#[derive(Clone)]
struct Flowless {
    inner: PgStores<'static>,
    away: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl FlowStore for Flowless {
    fn save<'a>(&'a self, flow: &'a Flow) -> BoxFuture<'a, Result<Saved>> {
        self.inner.flows().save(flow)
    }

    fn get<'a>(&'a self, id: &'a str, version: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        self.inner.flows().get(id, version)
    }

    fn latest<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Flow>>> {
        if self.away.load(SeqCst) {
            self.asked.fetch_add(1, SeqCst);
            return Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "away")) });
        }
        self.inner.flows().latest(id)
    }

    fn versions<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.inner.flows().versions(id)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Flow>>> {
        self.inner.flows().list()
    }
}

impl Backend for Flowless {
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<Committed>> {
        self.inner.commit(changes)
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn executions(&self) -> &dyn ExecutionStore {
        self.inner.executions()
    }

    fn flows(&self) -> &dyn FlowStore {
        self
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
        self.inner.queue()
    }

    fn queues(&self) -> &dyn mainspring::QueueStore {
        self.inner.queues()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_flow_cannot_be_looked_up_waits_for_the_database() {
    // F16: no attempt is used up because the database is away
    let lab = Lab::new().await;
    let (away, asked) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicU64>::default());
    let stores = Flowless { inner: lab.stores(4), away: away.clone(), asked: asked.clone() };
    let ids = lab.create(&lab.engine(), 1).await;
    let worker = worker(&lab.engine_on(stores)).start().unwrap();
    until("the flow is looked up", async || asked.load(SeqCst) > 0).await;
    sleep(LEASE * 3 + Duration::from_millis(500)).await; // the outage
    away.store(false, SeqCst);
    lab.all_completed(&ids).await;
    worker.stop().await.unwrap();
}

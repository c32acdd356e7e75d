//! What the tests of the broker stand on: a backend of either kind, a network of small handlers, and a way to wait.

use std::{sync::Arc, time::Duration};

use mainspring::{PgStoreOptions, create_pg_stores};
use mainspring_broker::{
    Broker, CloudEvent, Contract, Draft, HandlerError, HandlerOptions, Machine, Next, Orchestrator, Schema,
    Service, Terms,
};
use mainspring_core::{Backend, Result};
use mainspring_testing::{MemoryBackend, TestDb};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};

/// The longest anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A backend, and what has to live as long.
pub(crate) struct Ground {
    pub(crate) backend: Arc<dyn Backend>,
    _db: Option<TestDb>,
}

pub(crate) async fn postgres() -> Ground {
    let db = TestDb::new().await;
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default()).unwrap();
    Ground { backend: Arc::new(stores), _db: Some(db) }
}

pub(crate) async fn memory() -> Ground {
    Ground { backend: Arc::new(MemoryBackend::realtime()), _db: None }
}

/// Each test on both backends.
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        mod on_postgres { $($(#[$doc])* #[tokio::test(flavor = "multi_thread")] async fn $name() {
            super::$name(crate::ground::postgres().await).await;
        })* }
        mod in_memory { $($(#[$doc])* #[tokio::test(flavor = "multi_thread")] async fn $name() {
            super::$name(crate::ground::memory().await).await;
        })* }
    };
}
pub(crate) use on_both;

impl Ground {
    pub(crate) fn on(backend: impl Backend + 'static) -> Self {
        Self { backend: Arc::new(backend), _db: None }
    }

    pub(crate) fn broker(&self) -> Broker {
        Broker::builder(Arc::clone(&self.backend)).build().unwrap()
    }

    /// A broker with a listener for `my.workflow`, and what it hears.
    pub(crate) async fn listening(&self) -> (Broker, Heard) {
        let broker = self.broker();
        let heard = hear(&broker, "my.workflow").await;
        (broker, heard)
    }
}

/// Events in the order in which a listener heard them.
pub(crate) struct Heard(Mutex<mpsc::UnboundedReceiver<CloudEvent>>);

impl Heard {
    pub(crate) fn pipe() -> (impl Fn(CloudEvent) + Send + Sync + Clone + 'static, Self) {
        let (tell, told) = mpsc::unbounded_channel();
        (move |event| drop(tell.send(event)), Self(Mutex::new(told)))
    }

    pub(crate) async fn next(&self) -> CloudEvent {
        let next = async { self.0.lock().await.recv().await };
        tokio::time::timeout(PATIENCE, next).await.expect("nothing was heard").unwrap()
    }

    pub(crate) async fn nothing_more(&self) {
        assert!(self.0.lock().await.try_recv().is_err());
    }
}

pub(crate) async fn hear(broker: &Broker, source: &str) -> Heard {
    let (tell, heard) = Heard::pipe();
    let listener = move |event| {
        tell(event);
        async { Ok(()) }
    };
    broker.on_workflow_complete(source, quick(), listener).await.unwrap();
    heard
}

/// Options under which nobody waits long.
pub(crate) fn quick() -> HandlerOptions {
    let retry = mainspring_core::Retry::fixed(Duration::from_millis(20));
    HandlerOptions {
        concurrency: 4,
        poll_interval: Duration::from_millis(50),
        queue: mainspring_core::QueueOptions { retry, ..Default::default() },
        ..HandlerOptions::default()
    }
}

/// Waits until something is so.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it did not come to pass")
}

/// Nothing of a queue is left to do.
pub(crate) async fn drained(backend: &dyn Backend, queue: &str) {
    until(async || {
        let stats = backend.queue().stats(queue).await.unwrap();
        (stats.ready + stats.claimed + stats.deferred == 0).then_some(())
    })
    .await;
}

/// A contract of one version whose answers are anything of these types.
pub(crate) fn contract(accepts: &str, says: &[&str]) -> Contract {
    let terms = says.iter().fold(Terms::default(), |terms, says| terms.emitting(*says, Schema::any()));
    Contract::new(format!("#/{accepts}"), accepts).version("1.0.0", terms)
}

pub(crate) fn begin(contract: &Contract, data: serde_json::Value) -> CloudEvent {
    contract.accept("1.0.0", "my.workflow").unwrap().data(data).build().unwrap()
}

pub(crate) fn sum_contract() -> Contract {
    contract("cmd.total.sum", &["evt.total.summed"])
}

pub(crate) fn divide_contract() -> Contract {
    contract("cmd.total.divide", &["evt.total.divided"])
}

pub(crate) fn average_contract() -> Contract {
    let done = "arvo.orc.average.done";
    Contract::of_orchestrator("#/average", "average")
        .version("1.0.0", Terms::default().emitting(done, Schema::any()))
}

pub(crate) fn sum() -> Service {
    Service::new(sum_contract(), |event, _| async move {
        let numbers: Vec<f64> = serde_json::from_value(event.data()["numbers"].clone())?;
        Ok(vec![Draft::new("evt.total.summed", json!({"total": numbers.iter().sum::<f64>()}))])
    })
}

pub(crate) fn divide() -> Service {
    Service::new(divide_contract(), |event, _| async move {
        let number = |name: &str| event.data()[name].as_f64().ok_or("no number");
        Ok(vec![Draft::new("evt.total.divided", json!({"result": number("total")? / number("by")?}))])
    })
}

/// Adds, then divides, then is done.
pub(crate) struct Average;

impl Machine for Average {
    type State = usize;

    fn begin(&self, init: &CloudEvent) -> Result<Next<usize>, HandlerError> {
        let numbers: Vec<f64> = serde_json::from_value(init.data()["numbers"].clone())?;
        Ok(Next::to(numbers.len()).emit(Draft::new("cmd.total.sum", json!({"numbers": numbers}))))
    }

    fn advance(&self, count: usize, event: &CloudEvent) -> Result<Next<usize>, HandlerError> {
        Ok(match event.event_type() {
            "evt.total.summed" => Next::to(count)
                .emit(Draft::new("cmd.total.divide", json!({"total": event.data()["total"], "by": count}))),
            "evt.total.divided" => Next::to(count).done(json!({"average": event.data()["result"]})),
            _ => return Err(HandlerError::fail(format!("{}: what now?", event.event_type()))),
        })
    }
}

pub(crate) fn average() -> Orchestrator {
    Orchestrator::new(average_contract())
        .service(sum_contract())
        .service(divide_contract())
        .version("1.0.0", Average)
}

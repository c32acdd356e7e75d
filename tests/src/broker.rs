//! The orchestration of the fault tests: numbers are added, the sum is divided, whoever asked hears the average.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mainspring::{
    Backend, Error, QueueOptions, Result, Retry,
    broker::{
        Broker, CloudEvent, Contract, Draft, HandlerError, HandlerOptions, Machine, Next, Orchestrator,
        Schema, Service, Terms,
    },
};
use serde_json::json;

use crate::{LEASE, LOOK};

/// Commits of one orchestration, in all its handlers: it begins, a service, it goes on, a service, it ends.
pub const COMMITS: u64 = 5;

/// The queues of everybody who takes part.
pub const QUEUES: [&str; 6] = [
    "arvo.orc.average",
    "cmd.total.sum",
    "cmd.total.divide",
    "my.workflow",
    "broker.parked",
    "broker.unrouted",
];

fn contract(accepts: &str, says: &str) -> Contract {
    let terms = Terms::default().emitting(says, Schema::any());
    Contract::new(format!("#/{accepts}"), accepts).version("1.0.0", terms)
}

fn average() -> Contract {
    Contract::of_orchestrator("#/average", "average")
        .version("1.0.0", Terms::default().emitting("arvo.orc.average.done", Schema::any()))
}

struct Average;

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
            other => return Err(HandlerError::fail(format!("{other}: what now?"))),
        })
    }
}

/// A broker with the timings of the tests, so far without handlers.
///
/// # Panics
/// Never: what it is built of is valid.
pub fn broker(backend: impl Backend + 'static) -> Broker {
    let backend: Arc<dyn Backend> = Arc::new(backend);
    Broker::builder(backend).lease(LEASE).max_lost(1_000).build().unwrap()
}

fn options(concurrency: usize) -> HandlerOptions {
    // Nothing fails here, so that whatever uses up an attempt is found.
    let retry = Retry::fixed(Duration::from_millis(50));
    let queue =
        QueueOptions { retry, max_attempts: 1, keep_finished: Duration::ZERO, ..QueueOptions::default() };
    HandlerOptions { concurrency, poll_interval: LOOK, queue, ..HandlerOptions::default() }
}

/// Lets a broker serve the orchestrator and both services.
///
/// # Errors
/// Those of the database.
pub async fn serve(broker: &Broker, concurrency: usize) -> Result<()> {
    let sum = Service::new(contract("cmd.total.sum", "evt.total.summed"), |event, _| async move {
        let numbers: Vec<f64> = serde_json::from_value(event.data()["numbers"].clone())?;
        if numbers.is_empty() {
            return Err(HandlerError::retry("there is nothing to add"));
        }
        Ok(vec![Draft::new("evt.total.summed", json!({"total": numbers.iter().sum::<f64>()}))])
    });
    let divide = Service::new(contract("cmd.total.divide", "evt.total.divided"), |event, _| async move {
        let number = |name: &str| event.data()[name].as_f64().ok_or("no number");
        Ok(vec![Draft::new("evt.total.divided", json!({"result": number("total")? / number("by")?}))])
    });
    broker.register(sum, options(concurrency)).await?;
    broker.register(divide, options(concurrency)).await?;
    broker.register(Orchestrator::new(average()).version("1.0.0", Average), options(concurrency)).await
}

/// What a completion listener heard: the averages by the event that began it, each as often as it was heard.
#[derive(Clone, Default)]
pub struct Ends(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

impl Ends {
    /// A listener on this broker.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of(broker: &Broker) -> Result<Self> {
        let ends = Self::default();
        let note = ends.clone();
        let listener = move |event: CloudEvent| {
            let average = event.data().get("average").and_then(serde_json::Value::as_f64);
            let began = event.parent_id().unwrap_or_default().to_owned();
            note.lock().entry(began).or_default().push(average.unwrap_or(f64::NAN));
            async { Ok(()) }
        };
        broker.on_workflow_complete("my.workflow", options(4), listener).await?;
        Ok(ends)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<f64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many ends were heard.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Everything that was heard.
    pub fn all(&self) -> BTreeMap<String, Vec<f64>> {
        self.lock().clone()
    }
}

/// An event that begins an orchestration whose average is `n`.
///
/// # Panics
/// Never: it keeps its contract.
pub fn begin(n: u32) -> CloudEvent {
    let numbers = [f64::from(n) - 1.0, f64::from(n), f64::from(n) + 1.0];
    average().accept("1.0.0", "my.workflow").unwrap().data(json!({"numbers": numbers})).build().unwrap()
}

/// An event that begins an orchestration whose first service always fails.
///
/// # Panics
/// Never: it keeps its contract.
pub fn begin_in_vain() -> CloudEvent {
    average().accept("1.0.0", "my.workflow").unwrap().data(json!({"numbers": []})).build().unwrap()
}

/// Dispatches an event until it is known that it was. The same event again is the same.
///
/// # Errors
/// What is no matter of the connection.
pub async fn dispatch(broker: &Broker, event: &CloudEvent) -> Result<()> {
    loop {
        match broker.dispatch(event.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_commit_unknown() || error.is_retryable() => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(Error::internal("not dispatched").with_source(error)),
        }
    }
}

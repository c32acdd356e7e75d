//! An orchestration over two services: numbers are added, the sum is divided, and whoever asked hears the average.
//!
//! Kill it anywhere and start it again on the same database: what was decided is there, and goes on.

use mainspring::broker::{Broker, CloudEvent, Contract, Draft, HandlerError, HandlerOptions};
use mainspring::broker::{Machine, Next, Orchestrator, Schema, Service, Terms};
use mainspring::{PgStoreOptions, create_pg_stores};
use mainspring_testing::TestDb;
use serde_json::json;

fn contract(accepts: &str, says: &str) -> Contract {
    let terms = Terms::default().emitting(says, Schema::any());
    Contract::new(format!("#/services/{accepts}"), accepts).version("1.0.0", terms)
}

// ANCHOR: machine
/// Waits for the sum, then for the quotient.
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
            other => return Err(HandlerError::fail(format!("nobody waits for `{other}`"))),
        })
    }
}
// ANCHOR_END: machine

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example tells what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let test = TestDb::new().await; // your own pool
    let stores = create_pg_stores(test.pool(), PgStoreOptions::default())?;
    let broker = Broker::builder(stores).build()?;

    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |event| {
        let _ = tell.send(event);
        async { Ok(()) }
    };
    broker.on_workflow_complete("my.workflow", HandlerOptions::default(), listener).await?;

    let sum = Service::new(contract("cmd.total.sum", "evt.total.summed"), |event, _call| async move {
        let numbers: Vec<f64> = serde_json::from_value(event.data()["numbers"].clone())?;
        Ok(vec![Draft::new("evt.total.summed", json!({"total": numbers.iter().sum::<f64>()}))])
    });
    let divide = Service::new(contract("cmd.total.divide", "evt.total.divided"), |event, _call| async move {
        let number = |name: &str| event.data()[name].as_f64().ok_or("no number");
        Ok(vec![Draft::new("evt.total.divided", json!({"result": number("total")? / number("by")?}))])
    });
    let average = Contract::of_orchestrator("#/orchestrators/average", "average")
        .version("1.0.0", Terms::default().emitting("arvo.orc.average.done", Schema::any()));
    let orchestrator = Orchestrator::new(average.clone()).version("1.0.0", Average);

    let options = || HandlerOptions { concurrency: 5, ..HandlerOptions::default() };
    broker.register(sum, options()).await?;
    broker.register(divide, options()).await?;
    broker.register(orchestrator, options()).await?;

    let event = average.accept("1.0.0", "my.workflow")?.data(json!({"numbers": [10, 20, 30]})).build()?;
    broker.dispatch(event).await?;
    let done = told.recv().await.ok_or("the listener is gone")?;
    println!("the average is {}", done.data()["average"]);
    assert_eq!(done.data()["average"], 20.0);
    for (queue, stats) in broker.stats().await? {
        println!("{queue}: {} ready, {} at work, {} dead", stats.ready, stats.claimed, stats.dead);
    }
    Ok(broker.stop().await?)
}

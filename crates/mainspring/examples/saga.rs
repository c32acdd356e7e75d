//! A saga over three processes: a journey is booked by one that asks two others for a flight and a hotel. There is no hotel, so
//! the flight is given back. No process knows where another one is; they share a database.
//!
//! The example starts itself three times: `saga <what> <url>` serves one part.

use std::process::{Child, Command, Stdio};

use mainspring::{
    PgStoreOptions, PgStores,
    broker::{
        Broker, CloudEvent, Contract, Draft, HandlerError, HandlerOptions, Machine, Next, Orchestrator,
        Schema, Service, Terms,
    },
};
use mainspring_testing::TestDb;
use serde::{Deserialize, Serialize};
use serde_json::json;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn contract(accepts: &str, says: &str) -> Contract {
    let terms = Terms::default().emitting(says, Schema::any());
    Contract::new(format!("#/{accepts}"), accepts).version("1.0.0", terms)
}

fn journey() -> Contract {
    Contract::of_orchestrator("#/journey", "journey")
        .version("1.0.0", Terms::default().emitting("arvo.orc.journey.done", Schema::any()))
}

#[derive(Serialize, Deserialize)]
enum Booking {
    Flight,
    Hotel { flight: String },
    GivingBack,
}

struct Journey;

impl Machine for Journey {
    type State = Booking;

    fn begin(&self, init: &CloudEvent) -> Result<Next<Booking>, HandlerError> {
        Ok(Next::to(Booking::Flight).emit(Draft::new("cmd.flight.book", init.data())))
    }

    fn advance(&self, state: Booking, event: &CloudEvent) -> Result<Next<Booking>, HandlerError> {
        Ok(match (state, event.event_type()) {
            (Booking::Flight, "evt.flight.booked") => {
                let flight = event.data()["flight"].as_str().ok_or("no flight")?.to_owned();
                Next::to(Booking::Hotel { flight }).emit(Draft::new("cmd.hotel.book", json!({"nights": 3})))
            }
            (Booking::Hotel { flight }, "evt.hotel.booked") => {
                Next::to(Booking::GivingBack).done(json!({"booked": true, "flight": flight}))
            }
            (Booking::Hotel { flight }, "sys.cmd.hotel.book.error") => {
                Next::to(Booking::GivingBack).emit(Draft::new("cmd.flight.cancel", json!({"flight": flight})))
            }
            (Booking::GivingBack, "evt.flight.cancelled") => {
                Next::to(Booking::GivingBack).done(json!({"booked": false}))
            }
            (_, other) => return Err(HandlerError::fail(format!("nobody waits for `{other}`"))),
        })
    }
}

/// One part of it, until the process is killed.
async fn serve(what: &str, url: &str) -> Outcome {
    let broker = Broker::builder(PgStores::connect(url, PgStoreOptions::default())?).build()?;
    let options = HandlerOptions::default;
    match what {
        "flights" => {
            let book = Service::new(contract("cmd.flight.book", "evt.flight.booked"), |_, _| async {
                Ok(vec![Draft::new("evt.flight.booked", json!({"flight": "MS 42"}))])
            });
            let cancel = Service::new(contract("cmd.flight.cancel", "evt.flight.cancelled"), |_, _| async {
                Ok(vec![Draft::new("evt.flight.cancelled", json!({}))])
            });
            broker.register(book, options()).await?;
            broker.register(cancel, options()).await?;
        }
        "hotels" => {
            let book = Service::new(contract("cmd.hotel.book", "evt.hotel.booked"), |_, _| async {
                Err(HandlerError::fail("no room is left").with_code("FULL"))
            });
            broker.register(book, options()).await?;
        }
        _ => broker.register(Orchestrator::new(journey()).version("1.0.0", Journey), options()).await?,
    }
    std::future::pending::<()>().await;
    Ok(())
}

/// Killed when it is dropped.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example tells what it does")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, url] = arguments.as_slice() {
        return serve(what, url).await;
    }
    let test = TestDb::new().await; // your own database
    let own = std::env::current_exe()?;
    let part =
        |what: &str| Command::new(&own).args([what, test.url()]).stdin(Stdio::null()).spawn().map(Served);
    let broker = Broker::builder(PgStores::connect(test.url(), PgStoreOptions::default())?).build()?;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |event| {
        let _ = tell.send(event);
        async { Ok(()) }
    };
    broker.on_workflow_complete("my.workflow", HandlerOptions::default(), listener).await?;

    let _parts = [part("flights")?, part("journeys")?, part("hotels")?];
    // Whoever dispatches is told when nobody has ever registered; what a handler says waits for whoever it is for.
    let event = journey().accept("1.0.0", "my.workflow")?.data(json!({"to": "Rome"})).build()?;
    while let Err(error) = broker.dispatch(event.clone()).await {
        if !error.is_not_found() {
            return Err(error.into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let end = told.recv().await.ok_or("the listener is gone")?;
    println!("booked: {}", end.data()["booked"]);
    assert_eq!(end.data()["booked"], false);
    Ok(broker.stop().await?)
}

//! Three processes in one trace: one asks for an order, one does it, and one does what the order needs from elsewhere: a step over
//! HTTP, a child, a message whose first try fails, and an orchestration of the broker.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring::{
    Cx, Engine, Failure, NewMessage, PgStoreOptions, PgStores, QueueDriver, Settlement, Verdict, Worker,
    Workflow, WorkflowResult, deliver_fn, exponential,
    telemetry::Telemetry,
    world::{
        StepHandlers, World,
        http::{Credential, Guard, HttpInvoker, HttpOptions, RouterOptions, Secret, ServeOptions, serve},
    },
};
use serde_json::json;
use tracing::Instrument;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{broker, child::ready};

/// The order; what it is given and returns is a secret.
pub const ORDER: Workflow<String, String, String> = Workflow::new("order");
const PARCEL: Workflow<String, String, String> = Workflow::new("parcel");
/// In every payload and every error.
pub const CANARY: &str = "canary-5e1f";
/// The variables of a process: what it does, its database, and where the one beside it is.
pub const VARIABLES: [&str; 3] = ["TRACED_ROLE", "TRACED_URL", "TRACED_BASE"];

/// What a process does: `asks`, `orders` or `helps`.
///
/// # Errors
/// Those of its surroundings.
pub async fn traced() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::from_env()?.ok_or("nobody says where spans go")?;
    tracing_subscriber::registry().with(telemetry.layer()).init();
    let [role, url, base] = VARIABLES.map(|name| env::var(name).unwrap_or_default());
    let stores = PgStores::connect(&url, PgStoreOptions::default())?;
    match &*role {
        "asks" => asks(stores).instrument(tracing::info_span!("request")).await,
        "orders" => orders(stores, &base).await,
        _ => helps(stores).await,
    }
}

async fn asks(stores: PgStores<'static>) -> Result<(), Box<dyn Error>> {
    let world = World::builder(stores).upkeep(false).build()?;
    world.engine().start(ORDER, &CANARY.to_owned()).id("order-1").await?;
    Ok(())
}

fn secret() -> mainspring::Result<Secret> {
    Secret::new("canary-5e1f-is-the-secret-of-calls")
}

async fn orders(stores: PgStores<'static>, base: &str) -> Result<(), Box<dyn Error>> {
    let invoker = HttpInvoker::new(base, Credential::secret(secret()?), HttpOptions::default())?;
    let broker = broker::broker(stores.clone());
    let theirs = (stores.clone(), broker.clone());
    let world = World::builder(stores)
        .workflow(ORDER, move |cx, card| order(cx, card, theirs.clone()))
        .invoker(Arc::new(invoker))
        .build()?;
    let stop = ready()?;
    world.start().await?;
    stop.await;
    broker.stop().await?;
    Ok(world.close().await?)
}

async fn order(
    cx: Cx,
    card: String,
    (stores, broker): (PgStores<'static>, mainspring::broker::Broker),
) -> WorkflowResult<String, String> {
    let declined = AtomicBool::new(false);
    let charge = cx.step("charge", async || match declined.swap(true, Ordering::Relaxed) {
        false => Err(format!("{CANARY} was declined")),
        true => Ok(card.clone()),
    });
    let paid = charge.retry(exponential(3)).await?;
    let notify = cx.step("notify", async || {
        let mail = NewMessage::new("mail", "receipt", json!(CANARY));
        stores.queue.push(vec![mail]).await.map_err(|error| error.to_string())?;
        broker::dispatch(&broker, &broker::begin(7)).await.map_err(|error| error.to_string())
    });
    notify.await?;
    let small = cx.call::<String>("thumbnail", &paid).await?;
    Ok(cx.child(PARCEL, &small).queue("parcels").await?)
}

#[allow(clippy::print_stdout, reason = "a parent process waits for these lines")]
async fn helps(stores: PgStores<'static>) -> Result<(), Box<dyn Error>> {
    let world = World::builder(stores.clone()).upkeep(false).build()?;
    let steps = StepHandlers::new()
        .step("thumbnail", |card: String, _call| async move { Ok(format!("{card}, small")) })?;
    let router = world.router(Arc::new(steps), Guard::secret(secret()?), RouterOptions::default())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("at http://{}", listener.local_addr()?);
    let mut stop = Box::pin(ready()?);
    tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));

    let parcel =
        async |cx: Cx, item: String| Ok(cx.step("pack", async || Ok::<_, String>(item.clone())).await?);
    let engine = Engine::builder(stores.clone()).queue("parcels").register(PARCEL, parcel).build()?;
    let parcels = engine.worker().start()?;
    let mails = Worker::new(
        Arc::new(stores.queue.clone()),
        Arc::new(deliver_fn(async |delivery, _| {
            if delivery.attempt() == 1 {
                let error = Failure::new("AWAY", CANARY);
                return Settlement::RetryAfter { delay: Duration::ZERO, error }.into();
            }
            println!("mailed");
            Verdict::Settle(Settlement::Done)
        })),
    );
    let mails = mails.queue("mail").start()?;
    let broker = broker::broker(stores);
    broker::serve(&broker, 1).await?;
    let ends = broker::Ends::of(&broker).await?;
    let looks = async {
        while ends.count() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("averaged");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = looks => {}
        () = &mut stop => {}
    }
    broker.stop().await?;
    mails.stop().await?;
    parcels.stop().await?;
    Ok(world.close().await?)
}

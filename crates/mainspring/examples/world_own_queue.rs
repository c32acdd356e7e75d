//! A queue of one's own brings the messages of a world to the application: here one in memory. The world says whom to call
//! in the commit that needs it; the queue only delivers: `cargo run -p mainspring --example world_own_queue`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use mainspring::world::http::{Call, Endpoint, FunctionInvoker, MessageData, Reply, Secret};
use mainspring::world::{Fact, NewRun, Resolve, RunStatus, Transport, World};
use mainspring::{BoxFuture, Error, ExecutionId, PgStoreOptions, PgStores, Result};
use mainspring_testing::TestDb;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::sleep};

struct InMemory(mpsc::UnboundedSender<MessageData>);
impl Transport for InMemory {
    fn push_flow(&self, message: MessageData) -> BoxFuture<'_, Result<()>> {
        let closed = |_| Error::internal("the queue is closed"); // it is offered again
        Box::pin(std::future::ready(self.0.send(message).map_err(closed)))
    }
    fn push_step(&self, message: MessageData) -> BoxFuture<'_, Result<()>> {
        self.push_flow(message)
    }
}

async fn deliver(world: World, mut pushed: mpsc::UnboundedReceiver<MessageData>, queue: InMemory) {
    while let Some(mut message) = pushed.recv().await {
        let pause = match world.handle_message(message.clone()).await {
            Ok(Reply::Again(after)) => after, // a delay, and no failure
            Ok(Reply::Failed { fatal: false, .. }) => Duration::ZERO,
            _ => continue, // done, or never to be done
        };
        message.attempt += u32::from(pause.is_zero());
        sleep(pause).await; // one after the other is enough here
        queue.push_flow(message).await.ok();
    }
}

/// The application: it begins the run, asks to be called again a second later, fails once, and completes it.
struct App(World);
impl Endpoint for App {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(async move { self.run(call.message).await.unwrap_or_else(|e| Reply::failed(e.to_string())) })
    }
}
impl App {
    async fn run(&self, message: MessageData) -> Result<Reply> {
        let id: ExecutionId = message.data["runId"].as_str().unwrap_or_default().try_into()?;
        let (events, run) =
            (self.0.storage().events(), self.0.storage().runs().get(&id, Resolve::All).await?);
        if run.status == RunStatus::Pending {
            events.create(Some(&id), Fact::RunStarted { run_input: None }).await?;
            return Ok(Reply::Again(Duration::from_secs(1)));
        }
        if message.attempt == 1 {
            return Ok(Reply::failed("not yet"));
        }
        events.create(Some(&id), Fact::RunCompleted { output: run.input }).await?;
        Ok(Reply::ok())
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let app = App(World::builder(stores.clone()).build()?);
    let invoker = Arc::new(FunctionInvoker::new(Arc::new(app), Secret::generate()?));
    let (queue, pushed) = mpsc::unbounded_channel();
    let world =
        World::builder(stores).invoker(invoker).transport(Arc::new(InMemory(queue.clone()))).build()?;
    tokio::spawn(deliver(world.clone(), pushed, InMemory(queue)));
    world.start().await?;
    let id = world.start_run(NewRun::new("echo", "hello")).await?.run_id;
    while world.storage().runs().get(&id, Resolve::None).await?.status != RunStatus::Completed {
        sleep(Duration::from_millis(50)).await;
    }
    world.close().await?;
    assert_eq!(world.storage().runs().get(&id, Resolve::All).await?.output, Some("hello".into()));
    println!("{id} was driven by a queue in memory");
    Ok(())
}

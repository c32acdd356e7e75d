//! An application and its worker as two processes: the worker has the workflow and calls the application's steps over HTTP. It
//! is configured by its environment alone: `cargo run -p mainspring --example world_worker_process`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    env,
    io::Read,
    process::{Command, Stdio},
    sync::Arc,
};

use mainspring::{
    Cx, PgStoreOptions, PgStores, Workflow, WorkflowResult,
    world::{
        StepHandlers, World,
        http::{Credential, Guard, HttpInvoker, HttpOptions, RouterOptions, Secret, ServeOptions, serve},
    },
    world_from_env,
};
use mainspring_testing::TestDb;

const GREET: Workflow<Vec<String>, Vec<String>, String> = Workflow::new("greet");
/// In the environment of the worker.
const WORKER: &str = "EXAMPLE_WORKER";

async fn greet(cx: Cx, names: Vec<String>) -> WorkflowResult<Vec<String>, String> {
    let each = async |cx: Cx, name: &String| Ok(cx.call::<String>("greeting", name).await?);
    cx.map("each", &names, each).concurrency(4).await
}

/// The worker, until whoever started it goes away.
async fn work() -> Result<(), Box<dyn std::error::Error>> {
    let (world, settings) = world_from_env().await?;
    let credential = Credential::secret(settings.secret()?);
    let invoker = HttpInvoker::new(&settings.app_base(), credential, HttpOptions::default())?;
    let world = world.workflow(GREET, greet).invoker(Arc::new(invoker)).build()?;
    world.start().await?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    world.close().await?; // what is under way is done first
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if env::var_os(WORKER).is_some() {
        return work().await;
    }
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let world = World::builder(stores).build()?;
    let me = std::process::id();
    let steps = StepHandlers::new().step("greeting", move |name: String, call| async move {
        assert_eq!(call.attempt, 1);
        Ok(format!("Hello {name}, says process {me}"))
    })?;
    let token = "only-for-this-example-7d1f0c"; // in production: `mainspring_http::Secret::generate`, kept in a safe place
    let router =
        world.router(Arc::new(steps), Guard::secret(Secret::new(token)?), RouterOptions::default())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));

    let mut worker = Command::new(env::current_exe()?)
        .env(WORKER, "1")
        .env("WORKFLOW_POSTGRES_URL", db.url())
        .env("WORKFLOW_POSTGRES_SECURITY_TOKEN", token)
        .env("WORKFLOW_POSTGRES_APP_URL", &address)
        .stdin(Stdio::piped())
        .spawn()?;
    let names = ["Ada", "Bob"].map(String::from).to_vec();
    let greetings = world.engine().start(GREET, &names).await?.result().await?;
    assert_eq!(greetings, names.iter().map(|n| format!("Hello {n}, says process {me}")).collect::<Vec<_>>());
    println!("{}", greetings.join("; "));

    drop(worker.stdin.take());
    assert!(tokio::task::spawn_blocking(move || worker.wait()).await??.success());
    Ok(())
}

//! A web service whose requests start workflows, and whose steps are called over HTTP by a worker, in one axum router:
//! `cargo run -p mainspring --example http_service`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::Path,
    routing::{get, post},
};
use mainspring::{
    Cx, Engine, ExecutionId, PgStoreOptions, PgStores, Workflow, WorkflowResult,
    world::{
        StepHandlers, World,
        http::{Credential, Guard, HttpInvoker, HttpOptions, RouterOptions, Secret, ServeOptions, serve},
    },
};
use mainspring_testing::TestDb;

const RESIZE: Workflow<String, String, String> = Workflow::new("resize");

async fn resize(cx: Cx, picture: String) -> WorkflowResult<String, String> {
    Ok(cx.call::<String>("thumbnail", &picture).await?)
}

/// The service's own routes: begin, and look.
fn own(engine: Engine) -> Router {
    let begin = {
        let engine = engine.clone();
        move |Path(picture): Path<String>| async move {
            // The id is the request's key: who asks twice begins once.
            let begun = engine.start(RESIZE, &picture).id(format!("resize-{picture}")).await;
            begun.map(|handle| Json(handle.id().to_string())).map_err(|error| error.to_string())
        }
    };
    let result = move |Path(id): Path<String>| async move {
        let id = ExecutionId::new(id).map_err(|error| error.to_string())?;
        let result = engine.workflow(RESIZE, id).result().await;
        result.map(Json).map_err(|error| error.to_string())
    };
    Router::new().route("/pictures/{name}", post(begin)).route("/results/{id}", get(result))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let token = Secret::new("only-for-this-example-7d1f0c")?; // in production: `Secret::generate`, kept in a safe place

    // The worker: it has the workflow, and calls steps where they live. Here that is the same process.
    let credential = Credential::secret(token.clone());
    let invoker = HttpInvoker::new(&base, credential, HttpOptions::default())?;
    let world = World::builder(stores).workflow(RESIZE, resize).invoker(Arc::new(invoker)).build()?;

    // ANCHOR: router
    let steps = StepHandlers::new()
        .step("thumbnail", |picture: String, _call| async move { Ok(format!("{picture}, small")) })?;
    let called = world.router(Arc::new(steps), Guard::secret(token), RouterOptions::default())?;
    let router = own(world.engine().clone()).merge(called); // endpoints, webhooks, streams, /livez, /readyz and /startupz
    // ANCHOR_END: router
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served =
        tokio::spawn(serve(listener, router, ServeOptions::default(), async { drop(stopped.await) }));
    world.start().await?;

    let client = reqwest::Client::new();
    let id: String = client.post(format!("{base}/pictures/cat")).send().await?.json().await?;
    let result: String = client.get(format!("{base}/results/{id}")).send().await?.json().await?;
    println!("{id}: {result}");
    assert_eq!(result, "cat, small");
    world.close().await?;
    let _ = stop.send(());
    Ok(served.await?)
}

//! Spans over OTLP and metrics for Prometheus: `cargo run -p mainspring --example telemetry`. With
//! `OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318` the spans go to a collector of yours.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes, routing::post};
use mainspring::{
    Cx, Engine, PgStoreOptions, PgStores, Workflow, WorkflowResult, collect_prometheus,
    telemetry::{Telemetry, TelemetryOptions},
    world::http::{OpsOptions, ServeOptions, ops_router, serve},
};
use mainspring_testing::TestDb;
use tokio::net::TcpListener;
use tracing::Instrument;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

const GREET: Workflow<String, String, String> = Workflow::new("greet");

async fn greet(cx: Cx, name: String) -> WorkflowResult<String, String> {
    Ok(cx.step("say", async || Ok::<_, String>(format!("hello {name}"))).await?)
}

/// Serves a router until the program ends; where.
async fn served(router: Router) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Stands in for a collector where the environment names none: it counts what it gets.
    let exported = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&exported);
    let take = async move |spans: Bytes| {
        count.fetch_add(spans.len(), Ordering::Relaxed);
    };
    let collector = served(Router::new().route("/v1/traces", post(take))).await?;

    // ANCHOR: telemetry
    let telemetry = match Telemetry::from_env()? {
        Some(telemetry) => telemetry,
        None => Telemetry::start(TelemetryOptions { endpoint: Some(collector), ..Default::default() })?,
    };
    tracing_subscriber::registry().with(telemetry.layer()).init(); // and the layers of your own logs
    let metrics = collect_prometheus()?; // before the workers, which count from their start
    // ANCHOR_END: telemetry

    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let ops = served(ops_router(OpsOptions { metrics: Some(metrics), ..stores.ops() })).await?;
    let engine = Engine::builder(stores).register(GREET, greet).build()?;
    let worker = engine.worker().start()?;

    // What a request begins is in its trace, whichever process does it.
    let request = tracing::info_span!("request", path = "/greet");
    let begun = engine.start(GREET, &"ada".to_owned()).id("greet-ada").into_future();
    let handle = begun.instrument(request).await?;
    println!("{}", handle.result().await?);
    worker.stop().await?;
    drop(telemetry); // sends what is left

    let scraped = reqwest::get(format!("{ops}/metrics")).await?.text().await?;
    let attempts = scraped.lines().find(|line| line.starts_with("mainspring_job_attempts_total"));
    println!("{}", attempts.ok_or("nothing was counted")?);
    println!("{} bytes of spans", exported.load(Ordering::Relaxed));
    assert!(
        std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() || exported.load(Ordering::Relaxed) > 0
    );
    Ok(())
}

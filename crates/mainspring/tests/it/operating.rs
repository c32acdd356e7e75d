//! What operators see over HTTP: metrics in Prometheus' text form, all of them of the catalogue, and whether a process is ready.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mainspring::{
    Append, Backend, Cx, Engine, ExpectedPosition, Failure, NewEvent, NewMessage, PgStores, Settlement,
    Verdict, Worker, Workflow, WorkflowResult, collect_prometheus, deliver_fn, metric,
    stats::{PgStats, Thresholds},
    world::http::{OpsOptions, ServeOptions, ops_router, serve},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Serves the router until the test ends; where.
async fn served(options: OpsOptions) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, ops_router(options), ServeOptions::default(), std::future::pending()));
    address
}

/// Status and body of a GET.
async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn json_of(address: std::net::SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = get(address, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// Name and labels of each sample.
fn samples(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let sample = |line: &str| {
        let (name, rest) = line.split_once(['{', ' '])?;
        let labels = rest.split_once('}').filter(|_| line.contains('{')).map_or("", |(labels, _)| labels);
        let labels = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(label, _)| label);
        Some((name.to_owned(), labels.filter(|label| *label != "le").map(str::to_owned).collect()))
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(sample).collect()
}

const GREET: Workflow<String, String, String> = Workflow::new("observed");

async fn greet(cx: Cx, name: String) -> WorkflowResult<String, String> {
    Ok(cx.step("say", async || Ok::<_, String>(format!("hello {name}"))).await?)
}

/// A little of everything, with names of its own.
async fn work(stores: &PgStores<'static>) {
    let engine = Engine::builder(stores.clone()).register(GREET, greet).build().unwrap();
    let worker = engine.worker().start().unwrap();
    let secret = engine.start(GREET, &"canary".to_owned()).id("exec-canary").await.unwrap();
    secret.result().await.unwrap();
    worker.stop().await.unwrap();

    let mail = |kind: &str| NewMessage::new("observed", kind, json!("canary"));
    stores.queue().push(vec![mail("good"), mail("bad")]).await.unwrap();
    let deliver = deliver_fn(async |delivery, _| match delivery.message.message_type.as_str() {
        "good" => Verdict::Settle(Settlement::Done),
        _ => Verdict::Settle(Settlement::DeadLetter(Failure::new("BAD", "canary"))),
    });
    let queue = Arc::new(stores.queue.clone());
    assert_eq!(Worker::new(queue, Arc::new(deliver)).queue("observed").drain().await.unwrap(), 2);
    stores.queue().push(vec![mail("later")]).await.unwrap();
    PgStats::new(stores.db()).count(&Thresholds::default()).await.unwrap();

    let event = || vec![NewEvent::new("added", json!({}))];
    stores.events().append(Append::to("observed", event())).await.unwrap();
    let late = Append::to("observed", event()).expecting(ExpectedPosition::NoStream);
    assert!(stores.events().append(late).await.unwrap_err().is_conflict());
    assert!(stores.db().all("SELECT 1 / 0", &[]).await.is_err());
    stores.gauges().unwrap().read().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_of_the_catalogue_and_shows_no_payload_and_no_id() {
    let render = collect_prometheus().unwrap();
    let (stores, _db) = crate::fresh().await;
    work(&stores).await;
    let address = served(OpsOptions { metrics: Some(render), ..stores.ops() }).await;
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(!text.contains("canary"), "{text}");
    let mut seen = BTreeSet::new();
    for (name, labels) in samples(&text) {
        let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = metric::find(&name).or_else(|| series.and_then(metric::find));
        let known = known.unwrap_or_else(|| unreachable!("{name} is not in the catalogue"));
        assert_eq!(labels, known.labels.iter().map(|label| (*label).to_owned()).collect(), "{name}");
        seen.insert(known.name);
    }
    for expected in [
        metric::JOB_ATTEMPTS,
        metric::JOB_DURATION,
        metric::JOB_QUEUE_LATENCY,
        metric::STEP_DURATION,
        metric::APPEND_CONFLICTS,
        metric::DB_ACQUIRE,
        metric::DB_POOL_SIZE,
        metric::WORKERS,
        metric::FENCE_LAG_EVENTS,
        metric::SCHEMA_VERSION,
        metric::BUILD_INFO,
    ] {
        assert!(seen.contains(expected), "{expected} in {seen:?}");
    }
    for line in [
        "mainspring_jobs_enqueued_total{queue=\"observed\"} 3",
        "mainspring_jobs_finished_total{queue=\"observed\",outcome=\"completed\"} 1",
        "mainspring_jobs_finished_total{queue=\"observed\",outcome=\"dead_lettered\"} 1",
        "mainspring_queue_depth{queue=\"observed\",state=\"ready\"} 1",
        "mainspring_dlq_depth{queue=\"observed\"} 1",
        "mainspring_workflow_runs_total{flow=\"observed\",state=\"completed\"} 1",
        "mainspring_events_appended_total{partition=\"streams\"} 1",
        "mainspring_db_errors_total{sqlstate_class=\"22\"} 1",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_ready_when_its_database_answers_its_tables_fit_and_it_is_not_on_its_way_out() {
    let (stores, db) = crate::fresh().await;
    let options = stores.ops();
    let drain = options.drain.clone();
    let address = served(options).await;
    let client = db.client().await;
    let ready = |database, schema| json!({"serving": true, "database": database, "schema": schema});

    let versions = "DELETE FROM ms_schema_history WHERE version > 7";
    client
        .batch_execute(&format!("CREATE TABLE kept AS SELECT * FROM ms_schema_history; {versions}"))
        .await
        .unwrap();
    assert_eq!(json_of(address, "/readyz").await, (503, json!({"ok": false, "parts": ready(true, false)})));
    assert_eq!(json_of(address, "/startupz").await.0, 503);
    client.batch_execute("INSERT INTO ms_schema_history SELECT * FROM kept WHERE version > 7").await.unwrap();
    assert_eq!(json_of(address, "/startupz").await.0, 200);
    assert_eq!(json_of(address, "/readyz").await, (200, json!({"ok": true, "parts": ready(true, true)})));

    drain.begin();
    drain.begun().await;
    assert_eq!(json_of(address, "/readyz").await, (503, json!({"ok": false, "parts": {"serving": false}})));
    assert_eq!(json_of(address, "/startupz").await.0, 200, "it has started once");
    assert_eq!(json_of(address, "/livez").await, (200, json!({"ok": true})));
    let (status, version) = json_of(address, "/version").await;
    assert_eq!((status, &version["version"]), (200, &json!(env!("CARGO_PKG_VERSION"))));
    assert!(version["schema"].as_i64().unwrap() > 20);
    assert_eq!(get(address, "/metrics").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_not_waited_for() {
    let db = mainspring_testing::TestDb::with_pool(1).await;
    let (stores, _db) = crate::on(db.clone());
    let address = served(stores.ops()).await;
    let held = db.pool().get().await.unwrap(); // the only connection
    let begin = tokio::time::Instant::now();
    assert_eq!(json_of(address, "/readyz").await.1["parts"], json!({"serving": true, "in_time": false}));
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop(held);
    assert_eq!(json_of(address, "/readyz").await.0, 200);
}

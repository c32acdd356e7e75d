//! Exported spans: each is of the catalogue with its attributes, they hang together, and none shows a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, routing::post};
use mainspring::{
    Append, Cx, Engine, EventStore, Failure, NewEvent, NewMessage, PgStores, Processor, QueueDriver,
    Settlement, Worker, Workflow, WorkflowResult, deliver_fn, fail, reactor_fn,
    schedule::{Schedule, Timing},
    span,
    telemetry::{Telemetry, TelemetryOptions},
    world::http::{ServeOptions, serve},
};
use mainspring_testing::TestDb;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::KeyValue, trace::v1::Span,
};
use prost::Message;
use serde_json::json;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

const HOUR: Duration = Duration::from_secs(3600);
const FAILS: Workflow<String, String, String> = Workflow::new("fails");

async fn fails(cx: Cx, card: String) -> WorkflowResult<String, String> {
    let declined = cx.step("charge", async || Err::<String, _>(format!("{card} was declined"))).await;
    tracing::error!(card, "declined");
    drop(declined);
    fail("canary".to_owned())
}

async fn work(stores: &PgStores<'static>, db: &TestDb) {
    let engine = Engine::builder(stores.clone()).register(FAILS, fails).build().unwrap();
    let worker = engine.worker().start().unwrap();
    let failed = engine.start(FAILS, &"canary".to_owned()).id("exported").await.unwrap();
    assert!(failed.result().await.is_err());
    worker.stop().await.unwrap();

    let mut message = NewMessage::new("exported", "t", json!("canary"));
    message.headers.insert("x-secret".to_owned(), json!("canary"));
    stores.queue.push(vec![message]).await.unwrap();
    let dead = deliver_fn(async |_, _| Settlement::DeadLetter(Failure::new("BAD", "canary")).into());
    let queue: Arc<dyn QueueDriver> = Arc::new(stores.queue.clone());
    Worker::new(queue, Arc::new(dead)).queue("exported").drain().await.unwrap();

    let fires = Schedule::new("k", Timing::Every(HOUR), NewMessage::new("fired", "t", json!("canary")));
    stores.queue.schedules().put(&fires).await.unwrap();
    db.advance(HOUR).await;
    assert_eq!(stores.queue.schedules().tick().await.unwrap().fired, 1);
    let done = deliver_fn(async |_, _| Settlement::Done.into());
    let queue: Arc<dyn QueueDriver> = Arc::new(stores.queue.clone());
    Worker::new(queue, Arc::new(done)).queue("fired").drain().await.unwrap();

    let event = NewEvent::new("Added", json!({"card": "canary"}));
    stores.events.append(Append::to("cart-1", vec![event])).await.unwrap();
    stores.events.read_stream("streams", "", "cart-1", 1, 10).await.unwrap();
    let reacts = reactor_fn(async |_event| Ok(()));
    stores.consumer("carts").processor(Processor::reactor("carts", reacts)).run_to_end().await.unwrap();
    assert!(stores.db().all("SELECT 'canary'::int", &[]).await.is_err());
}

/// Some are renamed on their way.
fn own_name(name: &str) -> &str {
    match name {
        "messaging.destination.name" => "queue",
        "messaging.message.id" => "message",
        "messaging.batch.message_count" => "messages",
        name => name,
    }
}

fn is_listed(span: &Span, attribute: &KeyValue) -> bool {
    let known = span::find(&span.name).unwrap();
    let added = ["messaging.system", "messaging.operation.type", "messaging.operation.name"];
    let name = &*attribute.key;
    known.attributes.contains(&own_name(name)) || added.contains(&name) || name == "request"
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exported_span_is_of_the_catalogue_and_shows_no_secret() {
    let bodies = Arc::new(Mutex::new(Vec::<Bytes>::new()));
    let theirs = Arc::clone(&bodies);
    let take = async move |body: Bytes| theirs.lock().unwrap().push(body);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://user:canary@{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));

    let options =
        TelemetryOptions { endpoint: Some(endpoint), level: tracing::Level::DEBUG, ..Default::default() };
    let telemetry = Telemetry::start(options).unwrap();
    let (stores, db) = crate::fresh().await;
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    // Of the whole process: under nextest that is this test alone.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    work(&stores, &db).instrument(tracing::info_span!("request")).await;
    drop(telemetry);

    let bodies = std::mem::take(&mut *bodies.lock().unwrap());
    let mut spans = Vec::new();
    for body in bodies {
        assert!(!String::from_utf8_lossy(&body).contains("canary"), "{}", String::from_utf8_lossy(&body));
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.extend(scopes.flat_map(|scope| scope.spans));
    }
    spans.retain(|span| span.name != "request");
    let seen: BTreeSet<&str> = spans.iter().map(|span| &*span.name).collect();
    for name in ["start", "deliver", "drive", "step", "push", "fire", "append", "read", "process", "react"] {
        assert!(seen.contains(&*format!("mainspring.{name}")), "{name} in {seen:?}");
    }
    for span in &spans {
        let known = span::find(&span.name).unwrap_or_else(|| unreachable!("{} is not listed", span.name));
        assert_eq!(format!("{:?}", span.kind()).to_lowercase(), known.kind.as_str(), "{}", span.name);
        let unlisted: Vec<_> =
            span.attributes.iter().filter(|attribute| !is_listed(span, attribute)).collect();
        assert!(
            unlisted.is_empty() && span.events.is_empty(),
            "{}: {unlisted:?} {:?}",
            span.name,
            span.events
        );
    }
    // What a schedule pushes is handled in the trace that its fire began.
    let fire = spans.iter().find(|span| span.name == "mainspring.fire").unwrap();
    assert!(fire.parent_span_id.is_empty());
    let handled: Vec<_> = spans.iter().filter(|span| span.parent_span_id == fire.span_id).collect();
    assert_eq!((handled.len(), &*handled[0].name), (1, "mainspring.deliver"));
    assert_eq!(handled[0].trace_id, fire.trace_id);
    // A reactor goes on with the trace of its event, and is linked to the batch.
    let by_name: BTreeMap<&str, &Span> = spans.iter().map(|span| (&*span.name, span)).collect();
    let (append, react) = (by_name["mainspring.append"], by_name["mainspring.react"]);
    assert_eq!((&react.parent_span_id, &react.trace_id), (&append.span_id, &append.trace_id));
    assert_eq!(react.links[0].span_id, by_name["mainspring.process"].span_id);
}

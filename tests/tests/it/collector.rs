//! A collector of OTLP on this machine: what is exported to it, and whether any of it is a secret.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::Uri, routing::post};
use mainspring::world::http::{ServeOptions, serve};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;

/// The service and the span.
type Exported = (String, Span);

/// Secrets of its tests begin so, and nothing else says it.
const SECRET: &str = "canary";

/// What it got until now. A clone is the same collector.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    spans: Arc<Mutex<Vec<Exported>>>,
    leaks: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Begins to listen; also where.
    pub(crate) async fn start() -> (String, Self) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(traces)).fallback(others);
        let router = router.with_state(collector.clone());
        tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));
        (address, collector)
    }

    /// All spans that were exported.
    ///
    /// # Panics
    /// When anything that was exported has a secret.
    #[track_caller]
    pub(crate) fn spans(&self) -> Vec<Exported> {
        assert_eq!(*self.leaks.lock().unwrap(), [""; 0]);
        self.spans.lock().unwrap().clone()
    }

    fn look(&self, uri: &Uri, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        if text.contains(SECRET) || uri.to_string().contains(SECRET) {
            self.leaks.lock().unwrap().push(format!("{uri}: {text}"));
        }
    }
}

async fn traces(State(collector): State<Collector>, uri: Uri, body: Bytes) {
    collector.look(&uri, &body);
    for resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        let name = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
        let Some(Value::StringValue(name)) = name.value.clone().unwrap().value else { unreachable!() };
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        collector.spans.lock().unwrap().extend(spans.map(|span| (name.clone(), span)));
    }
}

/// Logs and metrics, should anybody ever export some.
async fn others(State(collector): State<Collector>, uri: Uri, body: Bytes) {
    collector.look(&uri, &body);
}

/// An attribute that is text.
pub(crate) fn text<'s>(span: &'s Span, name: &str) -> Option<&'s str> {
    let value = span.attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?;
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

//! Spans exported over OTLP, to the OpenTelemetry Collector, Jaeger, Tempo and the like. Feature `otel`.
//!
//! What is written while a span is exported carries its context, in the headers of messages and the metadata of events and executions,
//! so that one trace goes from whoever starts something through every worker that has to do with it; see
//! [`trace`] and the [catalogue](mainspring_core::span). Only spans go out, and what is in them are names, ids
//! and numbers: no payload, no error's text, no log line, no secret.
//!
//! ```no_run
//! use mainspring::telemetry::Telemetry;
//! use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};
//!
//! # fn main() -> mainspring::Result<()> {
//! // From `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and so on; none when nobody says where spans go.
//! let telemetry = Telemetry::from_env()?;
//! let spans = telemetry.as_ref().map(Telemetry::layer);
//! tracing_subscriber::registry().with(spans).init();
//! // … and at the very end
//! drop(telemetry); // whatever is left goes out
//! # Ok(()) }
//! ```
//!
//! | variable | what it says |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | the collector, such as `http://localhost:4318`; `/v1/traces` is added |
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the same to the letter, before the other |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT` | headers of each request, such as a key; how long it may take |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | who this is. Defaults to `mainspring` |
//! | `OTEL_TRACES_SAMPLER`, `…_ARG` | which traces begin here. Defaults to all |
//! | `OTEL_BSP_…` | how many spans wait, and for how long |
//! | `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER` | `true` and `none`: nothing is exported |
//!
//! Spans are sent as protobuf over HTTP, by a thread of their own, together; when the collector is away they are lost.

mod adopt;
mod export;

use std::{fmt, time::Duration};

use mainspring_core::{Error, Result, trace};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use adopt::Adopting;
use export::Telling;

/// How long what is left may take to go out at the end.
const LAST: Duration = Duration::from_secs(5);

/// Where spans go, and whose they are.
#[derive(Clone)]
pub struct TelemetryOptions {
    /// The collector, such as `http://localhost:4318`; `/v1/traces` is added. Defaults to what the environment says, else to this
    /// very address.
    pub endpoint: Option<String>,
    /// The name of this service. Defaults to what the environment says, else to `mainspring`.
    pub service_name: Option<String>,
    /// The least important spans that are exported. Defaults to `INFO`.
    pub level: Level,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self { endpoint: None, service_name: None, level: Level::INFO }
    }
}

/// An exporter of spans. When it is dropped, what is left goes out, within 5 s; whatever is traced later is not exported.
#[must_use = "dropping it ends the export"]
pub struct Telemetry {
    provider: SdkTracerProvider,
    level: Level,
}

impl Telemetry {
    /// As the environment says: `None` when it names no collector, or says that nothing is to be exported.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn from_env() -> Result<Option<Self>> {
        let said = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let is = |name, value: &str| said(name).is_some_and(|said| said.eq_ignore_ascii_case(value));
        let nowhere = said(ENDPOINT).is_none() && said(TRACES_ENDPOINT).is_none();
        if nowhere || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        Self::start(TelemetryOptions::default()).map(Some)
    }

    /// Starts the exporter. Nothing is connected yet; spans are those of a subscriber with its [`layer`](Self::layer).
    ///
    /// # Errors
    /// Invalid, when the endpoint is no address, or another setting of the environment is wrong.
    pub fn start(options: TelemetryOptions) -> Result<Self> {
        // reqwest is built without a TLS provider of its own; whoever installed one first is kept.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut exporter =
            opentelemetry_otlp::SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        if let Some(endpoint) = &options.endpoint {
            exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        }
        // Its text would show an endpoint with whatever is in it.
        let refused = |_| Error::invalid("telemetry", "the endpoint or another OTEL_ setting cannot be used");
        let exporter = Telling::new(exporter.build().map_err(refused)?);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(options.service_name))
            .build();
        trace::set_spans(adopt::present);
        Ok(Self { provider, level: options.level })
    }

    /// A layer for a subscriber of one's own. It sees spans alone, of the [level](TelemetryOptions::level) or more important, those of
    /// the application too: they must hold no secrets.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let level = self.level;
        let spans = filter_fn(move |metadata| metadata.is_span() && *metadata.level() <= level);
        tracing_opentelemetry::layer()
            .with_tracer(Adopting(self.provider.tracer("mainspring")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(spans.with_max_level_hint(LevelFilter::from_level(level)))
    }

    /// Sends what has ended so far. Blocks; not to be called from a runtime's thread.
    ///
    /// # Errors
    /// Unavailable, when the collector does not take it.
    pub fn flush(&self) -> Result<()> {
        let away =
            |_| Error::new(mainspring_core::ErrorKind::Unavailable, "the collector does not take spans");
        self.provider.force_flush().map_err(away)
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let provider = self.provider.clone();
        // A thread of its own, since the exporter blocks and this may be a runtime's.
        let last = std::thread::spawn(move || drop(provider.shutdown_with_timeout(LAST)));
        drop(last.join());
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Telemetry({})", self.level)
    }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

fn resource(service_name: Option<String>) -> Resource {
    let named = |name| std::env::var(name).unwrap_or_default();
    let by_env =
        !named("OTEL_SERVICE_NAME").is_empty() || named("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=");
    let default = (!by_env).then(|| "mainspring".to_owned());
    match service_name.or(default) {
        Some(name) => Resource::builder().with_service_name(name).build(),
        None => Resource::builder().build(),
    }
}

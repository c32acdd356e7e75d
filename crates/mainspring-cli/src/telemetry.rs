//! Spans of the commands that drive executions, exported where the environment names a collector.

use crate::{Context, Result};

#[cfg(feature = "otel")]
use mainspring::telemetry::Telemetry;

/// An exporter, as long as it lives.
pub(crate) struct Exported {
    #[cfg(feature = "otel")]
    telemetry: Option<Telemetry>,
}

#[cfg(feature = "otel")]
impl Exported {
    /// None for a command that drives nothing.
    ///
    /// # Errors
    /// Invalid, when what the environment says cannot be used.
    pub(crate) fn of(_: &Context, drives: bool) -> Result<Self> {
        Ok(Self { telemetry: if drives { Telemetry::from_env()? } else { None } })
    }

    pub(crate) fn layer<S>(&self) -> impl tracing_subscriber::Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
    {
        self.telemetry.as_ref().map(Telemetry::layer)
    }
}

#[cfg(not(feature = "otel"))]
impl Exported {
    /// Says so when somebody expects more.
    pub(crate) fn of(context: &Context, drives: bool) -> Result<Self> {
        let wanted = context.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        if drives && wanted {
            context.output.note(format_args!(
                "warning: this program was built without the feature otel: no span goes to OTEL_EXPORTER_OTLP_ENDPOINT"
            ));
        }
        Ok(Self {})
    }

    pub(crate) fn layer(&self) -> tracing_subscriber::layer::Identity {
        tracing_subscriber::layer::Identity::new()
    }
}

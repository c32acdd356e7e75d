//! Metrics in Prometheus' text form.

use std::sync::Arc;

use mainspring_core::{
    Error, Result,
    metric::{ALL, MetricKind},
};
use mainspring_world::http::Render;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::PrometheusBuilder;

/// From a millisecond, which a step takes, to the minutes of a slow handler.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Collects all metrics of this process from now on; what it answers is for
/// [`OpsOptions::metrics`](mainspring_world::http::OpsOptions::metrics). Workers count from the moment they start, so call it
/// before them. Only the first call in a process counts.
///
/// # Errors
/// Conflict, when the process has another recorder already.
pub fn collect_prometheus() -> Result<Render> {
    let failed = |error| Error::internal("no Prometheus recorder").with_source(error);
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(failed)?;
    let handle = builder.install_recorder().map_err(|error| {
        Error::conflict("another recorder collects the metrics of this process").with_source(error)
    })?;
    for metric in ALL {
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => describe_histogram!(metric.name, Unit::Seconds, metric.help),
        }
    }
    Ok(Arc::new(move || {
        handle.run_upkeep();
        handle.render()
    }))
}

//! The spans of executions. Values are names and numbers, never what steps are given or return.

use mainspring_core::{Execution, ExecutionId, Job, trace::TraceContext};
use tracing::{Span, field::Empty, info_span};

/// A new execution is made.
pub(crate) fn start(flow: &str) -> Span {
    info_span!("mainspring.start", flow, execution = Empty, error = Empty, otel.status_code = Empty)
}

/// An execution is resumed from outside.
pub(crate) fn resume() -> Span {
    info_span!("mainspring.resume", execution = Empty, error = Empty, otel.status_code = Empty)
}

/// An execution is driven until it rests. It refers to the trace it was created in, when that is another one.
pub(crate) fn drive(execution: &Execution) -> Span {
    let span = info_span!(
        "mainspring.drive",
        execution = execution.id.as_str(),
        flow = execution.flow_id,
        version = execution.flow_version,
        traceparent = Empty,
    );
    if !span.is_disabled()
        && let Some(context) = TraceContext::of(&execution.metadata)
    {
        span.record("traceparent", tracing::field::display(context));
    }
    span
}

/// A try of a step. It refers to the try before it, when that was in this process.
pub(crate) fn step(
    execution: &ExecutionId,
    flow: &str,
    step: &str,
    attempt: u32,
    before: Option<&TraceContext>,
) -> Span {
    let span = info_span!(
        "mainspring.step",
        execution = execution.as_str(),
        flow,
        step,
        attempt,
        links = Empty,
        error = Empty,
        otel.status_code = Empty,
    );
    if let Some(before) = before {
        span.record("links", tracing::field::display(before));
    }
    span
}

/// A run of a job.
pub(crate) fn job(job: &Job) -> Span {
    info_span!(
        "mainspring.job",
        execution = job.execution_id.as_str(),
        step = job.step_id,
        job = job.id.as_str(),
        attempt = job.attempts,
        error = Empty,
        otel.status_code = Empty,
    )
}

/// It failed, with this code.
pub(crate) fn failed(span: &Span, code: &str) {
    span.record("error", code).record("otel.status_code", "error");
}

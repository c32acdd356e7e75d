//! The span of an application that is called. Values are names and numbers, never what is delivered.

use mainspring_core::trace::TraceContext;
use tracing::{Span, field::Empty, info_span};

use crate::MessageData;

/// A workflow or step is called, in the trace of the caller.
pub(crate) fn endpoint(message: &MessageData, context: Option<&TraceContext>) -> Span {
    let span = info_span!(
        "mainspring.endpoint",
        called = %message.queue_name,
        message = message.message_id,
        attempt = message.attempt,
        traceparent = Empty,
        tracestate = Empty,
    );
    if let Some(context) = context.filter(|_| !span.is_disabled()) {
        span.record("traceparent", tracing::field::display(context));
        if let Some(state) = context.state() {
            span.record("tracestate", state);
        }
    }
    span
}

//! The span of a call. Values are names and numbers, never what is delivered.

use mainspring_core::trace::within;
use mainspring_http::{Call, Invoker, MessageData, Reply};
use tracing::{Instrument, field::Empty, info_span};

/// Calls an application in the trace that the message brings along, else in the present one.
pub(super) async fn invoke(invoker: &dyn Invoker, mut message: MessageData) -> Reply {
    let context = message.take_trace();
    let span = info_span!(
        "mainspring.call",
        called = %message.queue_name,
        message = message.message_id,
        attempt = message.attempt,
        traceparent = Empty,
        tracestate = Empty,
        reply = Empty,
    );
    if let Some(context) = &context {
        span.record("traceparent", tracing::field::display(context));
        if let Some(state) = context.state() {
            span.record("tracestate", state);
        }
    }
    let work = async { invoker.invoke(&Call::new(message).traced()).await };
    let reply = within(context, work).instrument(span.clone()).await;
    span.record("reply", word(&reply));
    reply
}

/// The word for a reply, in a span.
fn word(reply: &Reply) -> &'static str {
    match reply {
        Reply::Ok(_) => "ok",
        Reply::Again(_) => "again",
        Reply::Unavailable { .. } => "unavailable",
        Reply::Unauthorized => "unauthorized",
        Reply::BadRequest(_) => "bad_request",
        Reply::Failed { .. } => "failed",
    }
}

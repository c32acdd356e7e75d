//! The span of a call. Values are names and numbers, never what is delivered.

use mainspring_http::{Call, Invoker, MessageData, Reply};
use tracing::{Instrument, field::Empty, info_span};

/// Calls an application in the present trace.
pub(super) async fn invoke(invoker: &dyn Invoker, message: MessageData) -> Reply {
    let span = info_span!(
        "mainspring.call",
        called = %message.queue_name,
        message = message.message_id,
        attempt = message.attempt,
        reply = Empty,
    );
    let call = span.in_scope(|| Call::new(message).traced());
    let reply = invoker.invoke(&call).instrument(span.clone()).await;
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

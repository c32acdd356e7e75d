//! The spans of the queue. Values are names and numbers, never what is in a message.

use mainspring_core::NewMessage;
use tracing::{Span, info_span};

/// A push: its messages belong to it.
pub(crate) fn push(messages: &[NewMessage]) -> Span {
    let queue = messages.first().map(|first| first.queue.as_str());
    info_span!("mainspring.push", queue, messages = messages.len())
}

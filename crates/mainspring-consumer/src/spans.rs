//! The spans of consumers. Values are names and numbers, never what is in an event.
//!
//! | span | what | fields |
//! |---|---|---|
//! | `mainspring.process` | a batch with its checkpoint | `processor`, `stream` of the first event, `events`, `from`; `checkpoint` |
//! | `mainspring.react` | one event in a reactor | `processor`, `stream`, `partition`, `tenant`, `event`, `position`, `traceparent` |
//!
//! `traceparent` is the trace the event was appended in: a layer that exports spans can take it as the parent.

use mainspring_core::{
    RecordedEvent,
    trace::{TraceContext, within},
};
use tracing::{Span, field::Empty, info_span};

use crate::handler::Next;

pub(crate) fn process(processor: &str, events: &[RecordedEvent], from: i64) -> Span {
    let stream = events.first().map(|event| event.stream.as_str());
    info_span!("mainspring.process", processor, stream, events = events.len(), from, checkpoint = Empty)
}

pub(crate) fn react(processor: &str, event: &RecordedEvent) -> Span {
    info_span!(
        "mainspring.react",
        processor,
        stream = event.stream,
        partition = event.partition,
        tenant = event.tenant,
        event = event.event.event_type,
        position = event.global_position,
        traceparent = event.event.traceparent(),
    )
}

/// Reacts in the trace of an event: what is decided belongs to it.
pub(crate) async fn reacting<E>(
    event: &RecordedEvent,
    work: impl Future<Output = Result<Next, E>>,
) -> Result<Next, E> {
    let work = async {
        work.await.map(|next| match next {
            Next::Go(changes) => Next::Go(Box::new(changes.traced())),
            other => other,
        })
    };
    within(TraceContext::of(&event.event.metadata), work).await
}

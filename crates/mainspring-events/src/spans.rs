//! The spans of the log. Values are names and numbers, never what is in an event.
//!
//! | span | what | fields |
//! |---|---|---|
//! | `mainspring.append` | appends of one commit | `stream`, `partition` and `tenant` of the first; `streams`, `events`, `traceparent`; `position`, `error` |
//! | `mainspring.read` | a page of a stream | `stream`, `partition`, `tenant`; `events`, `position`, `error` |
//! | `mainspring.fold` | a stream folded into a state | `stream`, `partition`, `tenant`; `events`, `position` |
//! | `mainspring.project` | inline projections of one commit | `stream`, `events`, `traceparent` |
//!
//! `traceparent` is that of the first event that has one: the trace an event was appended in goes with it in its metadata, and
//! whoever handles it later can go on with that trace.

use mainspring_core::{Append, Appended, NewEvent, RecordedEvent, Result, StreamId, StreamPage};
use tracing::{Span, field::Empty, info_span};

pub(crate) fn append(appends: &[Append]) -> Span {
    let span = info_span!(
        "mainspring.append",
        stream = Empty,
        partition = Empty,
        tenant = Empty,
        streams = appends.len(),
        events = Empty,
        traceparent = Empty,
        position = Empty,
        error = Empty,
    );
    if let Some(first) = appends.first().filter(|_| !span.is_disabled()) {
        span.record("stream", &first.stream)
            .record("partition", &first.partition)
            .record("tenant", &first.tenant);
        span.record("events", appends.iter().map(|append| append.events.len()).sum::<usize>());
        traced(&span, appends.iter().flat_map(|append| &append.events));
    }
    span
}

pub(crate) fn appended(span: &Span, appended: &Result<Vec<Appended>>) {
    match appended {
        Ok(appended) => drop(appended.first().map(|first| span.record("position", first.last))),
        Err(error) => drop(span.record("error", error.code())),
    }
}

pub(crate) fn read(stream: &StreamId) -> Span {
    info_span!(
        "mainspring.read",
        stream = stream.stream,
        partition = stream.partition,
        tenant = stream.tenant,
        events = Empty,
        position = Empty,
        error = Empty,
    )
}

pub(crate) fn was_read(span: &Span, page: &Result<StreamPage>) {
    match page {
        Ok(page) => folded(span, page.events.len(), page.head.position),
        Err(error) => drop(span.record("error", error.code())),
    }
}

pub(crate) fn fold(stream: &StreamId) -> Span {
    info_span!(
        "mainspring.fold",
        stream = stream.stream,
        partition = stream.partition,
        tenant = stream.tenant,
        events = Empty,
        position = Empty,
    )
}

pub(crate) fn folded(span: &Span, events: usize, position: i64) {
    span.record("events", events).record("position", position);
}

pub(crate) fn project(events: &[RecordedEvent]) -> Span {
    let span = info_span!("mainspring.project", stream = Empty, events = events.len(), traceparent = Empty);
    if let Some(first) = events.first() {
        span.record("stream", &first.stream);
        traced(&span, events.iter().map(|event| &event.event));
    }
    span
}

fn traced<'e>(span: &Span, mut events: impl Iterator<Item = &'e NewEvent>) {
    if let Some(parent) = events.find_map(NewEvent::traceparent) {
        span.record("traceparent", parent);
    }
}

//! Which span a span belongs to: what its fields say of where it came from becomes its parent and its links.
//!
//! A span with a local parent in the same trace stays there. One that came from another trace is a child of where it came from when
//! it handles what was sent (`consumer`), and is linked to the local one; otherwise it is the other way round.

use mainspring_core::{
    span::{self, SpanKind as Kind},
    trace::{TRACEPARENT, TRACESTATE, TraceContext},
};
use opentelemetry::{
    Context, Key, KeyValue, TraceFlags, TraceId,
    trace::{Link, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceState, Tracer},
};
use opentelemetry_sdk::trace::SdkTracer;

/// The spans that are messaging to OpenTelemetry, what they do there, and its name for some of their attributes.
const MESSAGING: &[(&str, &str, &str)] =
    &[("mainspring.push", "send", "push"), ("mainspring.deliver", "process", "deliver")];
const ATTRIBUTES: &[(&str, &str)] = &[
    ("queue", "messaging.destination.name"),
    ("message", "messaging.message.id"),
    ("messages", "messaging.batch.message_count"),
];
const LINKS: &str = "links";

/// The context of the present span.
pub(super) fn present() -> Option<TraceContext> {
    Context::map_current(|context| {
        if !context.has_active_span() {
            return None;
        }
        let span = context.span();
        let span = span.span_context();
        let (trace_id, span_id) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
        let state = span.trace_state().header();
        let flags = span.trace_flags().to_u8();
        TraceContext::new(u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id), flags, Some(&state))
    })
}

/// A tracer that reads where a span came from.
#[derive(Debug, Clone)]
pub(super) struct Adopting(pub(super) SdkTracer);

impl Tracer for Adopting {
    type Span = <SdkTracer as Tracer>::Span;

    fn build_with_context(&self, mut builder: SpanBuilder, parent: &Context) -> Self::Span {
        let origin = Origin::take(&mut builder);
        describe(&mut builder);
        let consumes = builder.span_kind == Some(SpanKind::Consumer);
        let local = parent.span().span_context().clone();
        let mut links = origin.links;
        let adopted = origin.parent.filter(|remote| remote.trace_id() != local.trace_id());
        let context = match adopted {
            Some(remote) if !local.is_valid() || consumes => {
                links.push(local);
                &parent.with_remote_span_context(remote)
            }
            Some(remote) => {
                links.push(remote);
                parent
            }
            None => parent,
        };
        let links = links.into_iter().filter(SpanContext::is_valid).map(Link::with_context);
        builder.links.get_or_insert_default().extend(links);
        self.0.build_with_context(builder, context)
    }
}

/// Where a span came from.
#[derive(Default)]
struct Origin {
    parent: Option<SpanContext>,
    links: Vec<SpanContext>,
}

impl Origin {
    /// Takes it out of the attributes.
    fn take(builder: &mut SpanBuilder) -> Self {
        let (mut parent, mut state, mut links) = (None, None, None);
        for KeyValue { key, value, .. } in builder.attributes.iter_mut().flat_map(|all| {
            all.extract_if(.., |attribute| [TRACEPARENT, TRACESTATE, LINKS].contains(&attribute.key.as_str()))
        }) {
            match key.as_str() {
                TRACEPARENT => parent = Some(value),
                TRACESTATE => state = Some(value),
                _ => links = Some(value),
            }
        }
        let state = state.as_ref().map(opentelemetry::Value::as_str);
        let parent = parent.and_then(|parent| TraceContext::parse(&parent.as_str(), state.as_deref()));
        let links = links.as_ref().map(opentelemetry::Value::as_str).unwrap_or_default();
        let links = links.split(' ').filter_map(|link| TraceContext::parse(link, None));
        Self {
            parent: parent.map(|parent| remote(&parent)),
            links: links.map(|link| remote(&link)).collect(),
        }
    }
}

fn remote(context: &TraceContext) -> SpanContext {
    let state = context.state().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(
        TraceId::from(context.trace_id()),
        SpanId::from(context.span_id()),
        TraceFlags::new(context.flags()),
        true,
        state,
    )
}

/// The kind of the catalogue, and OpenTelemetry's words for messaging.
fn describe(builder: &mut SpanBuilder) {
    let Some(known) = span::find(&builder.name) else { return };
    builder.span_kind = Some(match known.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
        Kind::Client => SpanKind::Client,
        Kind::Server => SpanKind::Server,
    });
    let Some((_, kind, name)) = MESSAGING.iter().find(|(span, ..)| *span == known.name) else { return };
    let attributes = builder.attributes.get_or_insert_default();
    for attribute in attributes.iter_mut() {
        if let Some((_, theirs)) = ATTRIBUTES.iter().find(|(ours, _)| *ours == attribute.key.as_str()) {
            attribute.key = Key::from_static_str(theirs);
        }
    }
    attributes.push(KeyValue::new("messaging.system", "mainspring"));
    attributes.push(KeyValue::new("messaging.operation.type", *kind));
    attributes.push(KeyValue::new("messaging.operation.name", *name));
}

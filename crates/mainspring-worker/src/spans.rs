//! The span of a try, and the trace it is in. Values are names and numbers, never what is in a message.
//!
//! A try of one message goes on with the trace the message was pushed in, and refers to the try before it, as that one's
//! settlement left it in the headers. A batch belongs to no trace of its own and refers to those of all its messages.

use mainspring_core::{
    Delivery, Settlement,
    trace::{self, TRIED, TraceContext, within},
};
use serde_json::Value;
use tracing::{Instrument, Span, field::Empty, info_span};

use crate::Verdict;

/// One try of one delivery, or of a batch.
pub(crate) struct Try {
    span: Span,
    /// The trace of the message.
    context: Option<TraceContext>,
    /// The span as others are told of it.
    pub(crate) tried: Option<TraceContext>,
}

impl Try {
    pub(crate) fn of<'d>(
        queue: &str,
        deliveries: impl ExactSizeIterator<Item = &'d Delivery> + Clone,
    ) -> Self {
        let messages = deliveries.len();
        let span = info_span!(
            "mainspring.deliver",
            queue,
            messages,
            message = Empty,
            message_type = Empty,
            attempt = Empty,
            traceparent = Empty,
            tracestate = Empty,
            links = Empty,
            outcome = Empty,
            error = Empty,
            otel.status_code = Empty,
        );
        let one = deliveries.clone().next().filter(|_| messages == 1);
        let context = one.and_then(|delivery| TraceContext::of(&delivery.message.headers));
        if !span.is_disabled() {
            describe(&span, one, context.as_ref(), deliveries);
        }
        let tried = if span.is_disabled() { None } else { span.in_scope(trace::span) };
        Self { span, context, tried }
    }

    /// Does the work of it.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        within(self.context.clone(), work).instrument(self.span.clone()).await
    }

    /// Says what came of it.
    pub(crate) fn ended(&self, verdicts: &[Verdict]) {
        if self.span.is_disabled() {
            return;
        }
        let mut outcomes = verdicts.iter().map(outcome);
        let Some((first, error)) = outcomes.next() else { return };
        let word = if outcomes.all(|(word, _)| word == first) { first } else { "mixed" };
        self.span.record("outcome", word);
        if let Some(error) = error {
            self.span.record("error", error);
            self.span.record("otel.status_code", "error");
        }
    }
}

fn describe<'d>(
    span: &Span,
    one: Option<&Delivery>,
    context: Option<&TraceContext>,
    all: impl Iterator<Item = &'d Delivery>,
) {
    if let Some(delivery) = one {
        let message = &delivery.message;
        span.record("message", message.id.as_str()).record("message_type", &message.message_type);
        span.record("attempt", delivery.attempt());
        if let Some(before) = message.headers.get(TRIED).and_then(Value::as_str) {
            span.record("links", before);
        }
    } else {
        let contexts = all.filter_map(|delivery| TraceContext::of(&delivery.message.headers));
        let links: Vec<String> = contexts.map(|context| context.to_string()).collect();
        span.record("links", links.join(" "));
    }
    if let Some(context) = context {
        span.record("traceparent", tracing::field::display(context));
        if let Some(state) = context.state() {
            span.record("tracestate", state);
        }
    }
}

/// The word for it, and the code of the failure.
fn outcome(verdict: &Verdict) -> (&'static str, Option<&str>) {
    match verdict {
        Verdict::Committed => ("committed", None),
        Verdict::Abandoned | Verdict::Settle(Settlement::PutBack) => ("put_back", None),
        Verdict::Settle(Settlement::Done | Settlement::DoneWith(_)) => ("completed", None),
        Verdict::Settle(Settlement::SnoozeUntil(_)) => ("snoozed", None),
        Verdict::Settle(Settlement::DeadLetter(error)) => ("dead_lettered", Some(&error.code)),
        Verdict::Failed(error)
        | Verdict::Settle(Settlement::Retry { error } | Settlement::RetryAfter { error, .. }) => {
            ("failed", Some(&error.code))
        }
    }
}

//! A subscriber that remembers spans, to see in a test what was traced.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// All spans since it was set as the subscriber of a thread. A clone remembers the same.
///
/// ```
/// use mainspring_testing::Spans;
///
/// let spans = Spans::default();
/// tracing::subscriber::with_default(spans.clone(), || tracing::info_span!("pay", cents = 7).in_scope(|| ()));
/// assert_eq!(spans.named("pay")[0].field("cents"), Some("7"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Spans(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    spans: Vec<(Span, &'static Metadata<'static>)>,
    entered: Vec<usize>,
}

/// One span.
#[derive(Debug, Clone)]
pub struct Span {
    /// The name of the span around it.
    pub parent: Option<String>,
    fields: Vec<(&'static str, String)>,
}

impl Span {
    /// What a field says, as text.
    pub fn field(&self, name: &str) -> Option<&str> {
        let last = self.fields.iter().rev().find(|(field, _)| *field == name);
        last.map(|(_, value)| value.as_str())
    }
}

impl Spans {
    /// The spans of this name, oldest first.
    pub fn named(&self, name: &str) -> Vec<Span> {
        let seen = self.lock();
        seen.spans
            .iter()
            .filter(|(_, metadata)| metadata.name() == name)
            .map(|(span, _)| span.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(id: &Id) -> usize {
    usize::try_from(id.into_u64() - 1).unwrap_or(usize::MAX)
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut seen = self.lock();
        let around = match attributes.parent() {
            Some(parent) => Some(place(parent)),
            None if attributes.is_contextual() => seen.entered.last().copied(),
            None => None,
        };
        let parent = around.and_then(|at| seen.spans.get(at)).map(|(_, metadata)| metadata.name().to_owned());
        let mut span = Span { parent, fields: Vec::new() };
        attributes.record(&mut span);
        seen.spans.push((span, attributes.metadata()));
        Id::from_u64(seen.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some((span, _)) = self.lock().spans.get_mut(place(id)) {
            values.record(span);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        self.lock().entered.push(place(id));
    }

    fn exit(&self, id: &Id) {
        let mut seen = self.lock();
        if let Some(at) = seen.entered.iter().rposition(|at| *at == place(id)) {
            seen.entered.remove(at);
        }
    }
}

impl Visit for Span {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.push((field.name(), format!("{value:?}")));
    }
}

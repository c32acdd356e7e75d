//! A document projection: events of streams, and the documents they make.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use mainspring_core::{DocumentRules, NewEvent, RecordedEvent, StreamId, Timestamp, limits};
use serde::Serialize;
use serde_json::Value;

/// No documents yet, and a projection that makes them.
///
/// ```
/// use mainspring_consumer::DocumentProjection;
/// use mainspring_core::NewEvent;
/// use mainspring_testing::given_documents;
/// # use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Serialize, Deserialize, Default)]
/// struct Cart { total: i64 }
///
/// let carts = DocumentProjection::of_streams("carts", |cart: Option<Cart>, event| {
///     let mut cart = cart.unwrap_or_default();
///     cart.total += event.event.data["price"].as_i64().unwrap_or(0);
///     (event.event.event_type != "Discarded").then_some(cart)
/// });
/// let added = |price: i64| NewEvent::new("Added", json!({"price": price}));
///
/// given_documents(&carts)
///     .given("cart-1", [added(20)])
///     .when("cart-1", [added(22)])
///     .then("cart-1", &Cart { total: 42 })
///     .when("cart-1", [NewEvent::new("Discarded", json!(null))])
///     .then_none("cart-1");
/// ```
pub fn given_documents<P: DocumentRules + ?Sized>(projection: &P) -> GivenDocuments<'_, P> {
    GivenDocuments {
        projection,
        documents: BTreeMap::new(),
        positions: BTreeMap::new(),
        last: 0,
        latest: Vec::new(),
        at: Timestamp::from_micros(START_MICROS),
        tenant: String::new(),
        story: String::new(),
    }
}

/// 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;

/// A document by its tenant and id.
type Key = (String, String);

/// Documents and the events that made them; see [`given_documents()`].
pub struct GivenDocuments<'p, P: ?Sized> {
    projection: &'p P,
    /// With the global position of the last event that is in it.
    documents: BTreeMap<Key, (Value, i64)>,
    positions: BTreeMap<StreamId, i64>,
    last: i64,
    latest: Vec<RecordedEvent>,
    at: Timestamp,
    tenant: String,
    story: String,
}

impl<P: DocumentRules + ?Sized> GivenDocuments<'_, P> {
    /// These events of a stream are taken in.
    ///
    /// # Panics
    /// When the projection cannot take them in, telling the whole story.
    #[must_use = "say what is expected"]
    #[track_caller]
    pub fn given(self, stream: impl Into<StreamId>, events: impl IntoIterator<Item = NewEvent>) -> Self {
        self.come("given", stream.into(), events)
    }

    /// These come next.
    ///
    /// # Panics
    /// As [`given`](Self::given).
    #[must_use = "say what is expected"]
    #[track_caller]
    pub fn when(self, stream: impl Into<StreamId>, events: impl IntoIterator<Item = NewEvent>) -> Self {
        self.come("when", stream.into(), events)
    }

    /// The events that came last come again, as after a crash. No document may change by that, unless it was deleted by one
    /// of them and begins anew.
    ///
    /// # Panics
    /// As [`given`](Self::given).
    #[must_use = "say what is expected"]
    #[track_caller]
    pub fn again(mut self) -> Self {
        self.story.push_str("again\n");
        for event in std::mem::take(&mut self.latest) {
            self.take(event);
        }
        self
    }

    /// Events that come from here on are of this time. Defaults to the beginning of 2026.
    #[must_use = "say what is expected"]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.at = time;
        self
    }

    /// From here on documents of this tenant are expected. Defaults to those of nobody.
    #[must_use = "say what is expected"]
    pub fn of_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    #[track_caller]
    fn come(mut self, when: &str, stream: StreamId, events: impl IntoIterator<Item = NewEvent>) -> Self {
        let _ = writeln!(self.story, "{when} in {stream}");
        self.latest.clear();
        for event in events {
            let _ = writeln!(self.story, "    {} {}", event.event_type, event.data);
            let position = self.positions.entry(stream.clone()).or_insert(0);
            *position += 1;
            self.last += 1;
            let recorded = RecordedEvent {
                partition: stream.partition.clone(),
                tenant: stream.tenant.clone(),
                stream: stream.stream.clone(),
                position: *position,
                global_position: self.last,
                event,
                created_at: self.at,
            };
            self.latest.push(recorded.clone());
            self.take(recorded);
        }
        self
    }

    #[track_caller]
    fn take(&mut self, event: RecordedEvent) {
        if !self.projection.wants(&event) {
            return;
        }
        let ids: BTreeSet<String> = self.projection.ids(&event).into_iter().collect();
        for id in ids {
            if let Err(error) = limits::check_id("document.id", &id) {
                panic!("{}it has a bad id\n    {}\n", self.story, error.chain());
            }
            let key = (event.tenant.clone(), id);
            let (before, seen) = match self.documents.remove(&key) {
                Some((document, seen)) => (Some(document), seen),
                None => (None, 0),
            };
            if event.global_position <= seen {
                self.documents.extend(before.map(|document| (key, (document, seen))));
                continue;
            }
            let after = self.projection.evolve(before, &event);
            let checked = after.and_then(|after| {
                after.as_ref().map_or(Ok(()), |document| limits::check_json("document", document))?;
                Ok(after)
            });
            match checked {
                Ok(Some(document)) => drop(self.documents.insert(key, (document, event.global_position))),
                Ok(None) => {}
                Err(error) => panic!("{}it fails\n    {}\n", self.story, error.chain()),
            }
        }
    }

    /// There is such a document, and it is this.
    ///
    /// # Panics
    /// When it is another one, or missing, telling the whole story.
    #[track_caller]
    pub fn then(self, id: &str, expected: &impl Serialize) -> Self {
        let wanted = match serde_json::to_value(expected) {
            Ok(wanted) => wanted,
            Err(error) => panic!("{}what is expected cannot be written as JSON\n    {error}\n", self.story),
        };
        if self.document(id) != Some(&wanted) {
            panic!("{}", self.told(&format!("    {id}: {wanted}\n")));
        }
        self
    }

    /// There is no such document.
    ///
    /// # Panics
    /// When there is one, telling the whole story.
    #[track_caller]
    pub fn then_none(self, id: &str) -> Self {
        if self.document(id).is_some() {
            panic!("{}", self.told(&format!("    no {id}\n")));
        }
        self
    }

    /// There are so many documents, over all tenants.
    ///
    /// # Panics
    /// When there are more or fewer, telling the whole story.
    #[track_caller]
    pub fn then_count(self, documents: usize) -> Self {
        if self.documents.len() != documents {
            panic!("{}", self.told(&format!("    {documents} documents\n")));
        }
        self
    }

    fn document(&self, id: &str) -> Option<&Value> {
        let key = (self.tenant.clone(), id.to_owned());
        self.documents.get(&key).map(|(document, _)| document)
    }

    fn told(&self, expected: &str) -> String {
        let mut got = String::new();
        for ((tenant, id), (document, _)) in &self.documents {
            let slash = if tenant.is_empty() { "" } else { "/" };
            let _ = writeln!(got, "    {tenant}{slash}{id}: {document}");
        }
        if got.is_empty() {
            got.push_str("    nothing\n");
        }
        format!("{}then expected\n{expected}but got\n{got}", self.story)
    }
}

//! Events: CloudEvents 1.0 with the extensions that route them, checked when they are made and never changed.
//!
//! | attribute | rule |
//! |---|---|
//! | `id` | with `source` the identity of the event: handled once, however often it is sent |
//! | `source` | URI reference; who made it, and the queue that answers come to |
//! | `type` | three or more lower-case segments: `cmd.total.sum` |
//! | `subject` | the process it belongs to; see [`Subject`](crate::Subject) |
//! | `time` | RFC 3339 with an offset |
//! | `datacontenttype` | [`PROFILE`] unless said; that one needs `to` |
//! | `dataschema` | URI reference, or none |
//! | `to` | the handler it is for; its type, unless said |
//! | `accesscontrol` | opaque, inherited by everything that follows |
//! | `redirectto` | where the answer goes instead of to `source` |
//! | `executionunits` | what it has cost |
//! | `parentid` | the event that caused it |
//! | `domain` | lower-case letters, digits and dots: handled outside |
//! | `traceparent`, `tracestate` | W3C trace context |
//! | any other | lower-case letters and digits; text, number, true or false, or null |

mod builder;
mod check;
mod http;
mod json;

use std::collections::BTreeMap;

use mainspring_core::Timestamp;
use serde_json::{Map, Number, Value};

pub use builder::EventBuilder;
pub(crate) use check::check_domain;
pub use http::HttpEvent;

/// The `datacontenttype` of an event that says none.
pub const PROFILE: &str = "application/cloudevents+json;charset=UTF-8;profile=arvo";

/// An event. It keeps the rules of the module, and never changes; [`to_builder`](Self::to_builder) makes another one of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudEvent(Box<Attributes>);

/// The attributes of an event, checked or not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attributes {
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) event_type: String,
    pub(crate) subject: String,
    pub(crate) time: String,
    pub(crate) data_content_type: String,
    pub(crate) data_schema: Option<String>,
    pub(crate) data: Map<String, Value>,
    pub(crate) to: Option<String>,
    pub(crate) access_control: Option<String>,
    pub(crate) redirect_to: Option<String>,
    pub(crate) execution_units: Option<Number>,
    pub(crate) parent_id: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) trace_parent: Option<String>,
    pub(crate) trace_state: Option<String>,
    pub(crate) extensions: BTreeMap<String, Value>,
}

impl CloudEvent {
    /// Begins an event of this type from this source. Without more it has a fresh id, the machine's time, the type as `to`,
    /// and no data.
    pub fn builder(event_type: impl Into<String>, source: impl Into<String>) -> EventBuilder {
        EventBuilder::new(event_type.into(), source.into())
    }

    /// Begins an event that is like this one but for what is said; its id too stays the same.
    pub fn to_builder(&self) -> EventBuilder {
        EventBuilder::of((*self.0).clone())
    }

    /// Unique with the source.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Who made it.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// What it is.
    pub fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// The process it belongs to.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// When it was made, as it was written.
    pub fn time(&self) -> &str {
        &self.0.time
    }

    /// The same as a time; `None` when it is outside of the years 1970 to 9999.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.0.time.parse().ok()
    }

    /// What its data is written in.
    pub fn data_content_type(&self) -> &str {
        &self.0.data_content_type
    }

    /// The schema of its data.
    pub fn data_schema(&self) -> Option<&str> {
        self.0.data_schema.as_deref()
    }

    /// Its data.
    pub fn data(&self) -> &Map<String, Value> {
        &self.0.data
    }

    /// The handler it is for.
    pub fn to(&self) -> Option<&str> {
        self.0.to.as_deref()
    }

    /// What lets it in; opaque here.
    pub fn access_control(&self) -> Option<&str> {
        self.0.access_control.as_deref()
    }

    /// Where the answer goes instead of to its source.
    pub fn redirect_to(&self) -> Option<&str> {
        self.0.redirect_to.as_deref()
    }

    /// What it has cost.
    pub fn execution_units(&self) -> Option<&Number> {
        self.0.execution_units.as_ref()
    }

    /// The event that caused it.
    pub fn parent_id(&self) -> Option<&str> {
        self.0.parent_id.as_deref()
    }

    /// Which kind of outside handles it.
    pub fn domain(&self) -> Option<&str> {
        self.0.domain.as_deref()
    }

    /// W3C `traceparent`.
    pub fn trace_parent(&self) -> Option<&str> {
        self.0.trace_parent.as_deref()
    }

    /// W3C `tracestate`.
    pub fn trace_state(&self) -> Option<&str> {
        self.0.trace_state.as_deref()
    }

    /// The extensions this library knows nothing of.
    pub fn extensions(&self) -> &BTreeMap<String, Value> {
        &self.0.extensions
    }

    /// Where an answer to it goes: where it says, else to who made it.
    pub fn reply_to(&self) -> &str {
        self.redirect_to().unwrap_or_else(|| self.source())
    }
}

impl Attributes {
    /// The event, when the attributes keep the rules.
    ///
    /// # Errors
    /// Invalid, naming the attribute and the rule.
    pub(crate) fn checked(self) -> mainspring_core::Result<CloudEvent> {
        check::check(&self)?;
        Ok(CloudEvent(Box::new(self)))
    }
}

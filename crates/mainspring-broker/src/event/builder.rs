//! Making events.

use std::{collections::BTreeMap, time::SystemTime};

use mainspring_core::{Error, Result, Timestamp};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::{Attributes, CloudEvent, PROFILE};
use crate::{Schema, Subject};

/// An event in the making.
#[derive(Debug, Clone)]
#[must_use = "an event is made by `build`"]
pub struct EventBuilder {
    attributes: Attributes,
    schema: Schema,
    /// Who orchestrates a process that begins with this event, and in which version.
    begins: Option<(String, String)>,
    /// The first thing that went wrong, told by `build`.
    problem: Option<String>,
}

impl EventBuilder {
    pub(super) fn new(event_type: String, source: String) -> Self {
        Self::of(Attributes {
            id: ulid::Ulid::generate().to_string(),
            source,
            to: Some(event_type.clone()),
            event_type,
            subject: String::new(),
            time: machine_time().to_string(),
            data_content_type: PROFILE.to_owned(),
            data_schema: None,
            data: Map::new(),
            access_control: None,
            redirect_to: None,
            execution_units: None,
            parent_id: None,
            domain: None,
            trace_parent: None,
            trace_state: None,
            extensions: BTreeMap::new(),
        })
    }

    pub(super) fn of(attributes: Attributes) -> Self {
        Self { attributes, schema: Schema::any(), begins: None, problem: None }
    }

    pub(crate) fn checked_by(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    pub(crate) fn beginning(mut self, handler: &str, version: &str) -> Self {
        self.begins = Some((handler.to_owned(), version.to_owned()));
        self
    }

    /// Its id. Defaults to a fresh one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.attributes.id = id.into();
        self
    }

    /// The process it belongs to. Defaults, for an event made by a contract, to a process of its own.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.attributes.subject = subject.into();
        self
    }

    /// When it was made, RFC 3339 with an offset. Defaults to now, by the machine's clock.
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.attributes.time = time.into();
        self
    }

    /// Its data: whatever is a JSON object. Defaults to none.
    pub fn data(mut self, data: impl Serialize) -> Self {
        match serde_json::to_value(data) {
            Ok(Value::Object(data)) => self.attributes.data = data,
            Ok(_) => self.problem = self.problem.or_else(|| Some("is no JSON object".to_owned())),
            Err(error) => self.problem = self.problem.or_else(|| Some(format!("is not JSON: {error}"))),
        }
        self
    }

    /// What its data is written in. Defaults to [`PROFILE`].
    pub fn data_content_type(mut self, text: impl Into<String>) -> Self {
        self.attributes.data_content_type = text.into();
        self
    }

    /// The schema of its data. Defaults to none.
    pub fn data_schema(mut self, uri: impl Into<Option<String>>) -> Self {
        self.attributes.data_schema = uri.into();
        self
    }

    /// The handler it is for. Defaults to its type.
    pub fn to(mut self, handler: impl Into<String>) -> Self {
        self.attributes.to = Some(handler.into());
        self
    }

    /// For nobody. Needs another content type than the default.
    pub fn to_nobody(mut self) -> Self {
        self.attributes.to = None;
        self
    }

    /// What lets it in. Defaults to none.
    pub fn access_control(mut self, text: impl Into<Option<String>>) -> Self {
        self.attributes.access_control = text.into();
        self
    }

    /// Where the answer goes. Defaults to its source.
    pub fn redirect_to(mut self, handler: impl Into<Option<String>>) -> Self {
        self.attributes.redirect_to = handler.into();
        self
    }

    /// What it has cost. Not a number and the infinities are none.
    pub fn execution_units(mut self, units: f64) -> Self {
        self.attributes.execution_units = Number::from_f64(units);
        self
    }

    /// The event that caused it. Defaults to none.
    pub fn parent_id(mut self, id: impl Into<Option<String>>) -> Self {
        self.attributes.parent_id = id.into();
        self
    }

    /// Which kind of outside handles it. Defaults to none: a handler does.
    pub fn domain(mut self, domain: impl Into<Option<String>>) -> Self {
        self.attributes.domain = domain.into();
        self
    }

    /// W3C trace context. Defaults to none.
    pub fn traced(mut self, parent: impl Into<Option<String>>, state: impl Into<Option<String>>) -> Self {
        self.attributes.trace_parent = parent.into();
        self.attributes.trace_state = state.into();
        self
    }

    /// An extension of one's own.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.extensions.insert(name.into(), value.into());
        self
    }

    /// The event.
    ///
    /// # Errors
    /// Invalid, naming the attribute and the rule.
    pub fn build(self) -> Result<CloudEvent> {
        let Self { mut attributes, schema, begins, problem } = self;
        if let Some(problem) = problem {
            return Err(Error::invalid("event.data", problem));
        }
        schema.check("event.data", &attributes.data)?;
        if let Some((handler, version)) = begins.filter(|_| attributes.subject.is_empty()) {
            let subject = Subject::new(handler, version, &attributes.source)?;
            let subject = subject.with_domain(attributes.domain.clone())?;
            let subject = match &attributes.redirect_to {
                Some(handler) => subject.redirected_to(handler),
                None => subject,
            };
            attributes.subject = subject.encode()?;
        }
        attributes.checked()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "whoever makes an event may have no database; nothing goes by this time"
)]
fn machine_time() -> Timestamp {
    SystemTime::now().into()
}

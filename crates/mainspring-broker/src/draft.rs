//! What a handler says: type and data. Where it goes, to what it belongs and what it inherits follows from the rules.

use mainspring_core::{Available, trace};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    CloudEvent, Domain, Emission, HandlerError, Schema, Sending, domain::Surroundings, error::violation,
};

/// An event in the making, without what follows from the rules.
#[derive(Debug, Clone)]
#[must_use = "it is said by returning it"]
pub struct Draft {
    pub(crate) event_type: String,
    pub(crate) data: Result<Map<String, Value>, String>,
    pub(crate) version: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) domains: Option<Vec<Domain>>,
    pub(crate) execution_units: Option<f64>,
    pub(crate) access_control: Option<String>,
    pub(crate) extensions: Vec<(String, Value)>,
    pub(crate) sending: Sending,
}

impl Draft {
    /// An event of this type with this data, which has to be a JSON object.
    pub fn new(event_type: impl Into<String>, data: impl Serialize) -> Self {
        let data = match serde_json::to_value(data) {
            Ok(Value::Object(data)) => Ok(data),
            Ok(_) => Err("the data is no JSON object".to_owned()),
            Err(error) => Err(format!("the data is not JSON: {error}")),
        };
        Self {
            event_type: event_type.into(),
            data,
            version: None,
            to: None,
            id: None,
            domains: None,
            execution_units: None,
            access_control: None,
            extensions: Vec::new(),
            sending: Sending::default(),
        }
    }

    /// Under this version of the contract of whoever it is for. Defaults to the latest one.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// For this handler. Defaults, in a service, to whoever waits for the answer; in a process, to its type.
    pub fn to(mut self, handler: impl Into<String>) -> Self {
        self.to = Some(handler.into());
        self
    }

    /// With this id. Defaults to a fresh one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// In these domains: one event for each that they come to. Defaults to none, for the end of a process to that of the
    /// orchestration.
    pub fn in_domains(mut self, domains: impl IntoIterator<Item = Domain>) -> Self {
        self.domains = Some(domains.into_iter().collect());
        self
    }

    /// What it has cost. Defaults to what its handler says.
    pub fn execution_units(mut self, units: f64) -> Self {
        self.execution_units = Some(units);
        self
    }

    /// Let in by this. Defaults to what let in the event that is being handled.
    pub fn access_control(mut self, text: impl Into<String>) -> Self {
        self.access_control = Some(text.into());
        self
    }

    /// With an extension of one's own.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extensions.push((name.into(), value.into()));
        self
    }

    /// Not before this.
    pub fn available(mut self, available: Available) -> Self {
        self.sending.available = available;
        self
    }

    /// Sent like this.
    pub fn sent(mut self, sending: Sending) -> Self {
        self.sending = sending;
        self
    }
}

/// What follows from the rules, for one draft.
pub(crate) struct Rules<'a> {
    pub(crate) source: &'a str,
    pub(crate) to: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) parent_id: &'a str,
    pub(crate) redirect_to: Option<&'a str>,
    pub(crate) execution_units: Option<f64>,
    pub(crate) domains: &'a [Domain],
    pub(crate) schema: Option<(Schema, String)>,
    pub(crate) around: Surroundings<'a>,
}

impl Rules<'_> {
    /// The events a draft comes to.
    ///
    /// # Errors
    /// A violation: the data does not keep the contract, or an attribute breaks a rule of events.
    pub(crate) fn complete(&self, draft: Draft) -> Result<Vec<Emission>, HandlerError> {
        let unfit = |code: &'static str| {
            let event_type = draft.event_type.clone();
            move |problem: String| HandlerError::violation(code, format!("{event_type}: {problem}"))
        };
        let data = draft.data.clone().map_err(unfit(violation::EXECUTION))?;
        if let Some((schema, _)) = &self.schema {
            // What says who began a child is no part of its data.
            let mut said = data.clone();
            said.remove(PARENT_SUBJECT);
            schema.check("data", &said).map_err(|error| unfit(violation::CONTRACT)(error.chain()))?;
        }
        let domains = draft.domains.as_deref().unwrap_or(self.domains);
        let event = self.around.event;
        let (parent, state) = match trace::span() {
            Some(span) => (Some(span.to_string()), span.state().map(str::to_owned)),
            None => (event.trace_parent().map(str::to_owned), event.trace_state().map(str::to_owned)),
        };
        let mut emissions = Vec::new();
        for domain in self.around.resolve_all(domains) {
            let mut builder = CloudEvent::builder(&draft.event_type, self.source)
                .subject(self.subject)
                .to(draft.to.as_deref().unwrap_or(self.to))
                .parent_id(self.parent_id.to_owned())
                .redirect_to(self.redirect_to.map(str::to_owned))
                .domain(domain)
                .data_schema(self.schema.as_ref().map(|(_, uri)| uri.clone()))
                .traced(parent.clone(), state.clone())
                .data(&data);
            let access = draft.access_control.as_deref().or(event.access_control());
            builder = builder.access_control(access.map(str::to_owned));
            if let Some(units) = draft.execution_units.or(self.execution_units) {
                builder = builder.execution_units(units);
            }
            if let Some(id) = &draft.id {
                builder = builder.id(id);
            }
            for (name, value) in &draft.extensions {
                builder = builder.extension(name, value.clone());
            }
            let event = builder.build().map_err(|error| unfit(violation::EXECUTION)(error.chain()))?;
            emissions.push(Emission { event, sending: draft.sending.clone() });
        }
        Ok(emissions)
    }
}

/// In the data that begins a process: the subject of the process that began it.
pub(crate) const PARENT_SUBJECT: &str = "parentSubject$$";

/// The data of an event that tells of an error.
pub(crate) fn error_data(error: &HandlerError) -> Value {
    serde_json::json!({"errorName": error.code(), "errorMessage": error.message(), "errorStack": null})
}

//! Contracts: what a handler accepts and what it says, in each of its versions.

use std::collections::BTreeMap;

use mainspring_core::{Error, Result};

use crate::{CloudEvent, EventBuilder, Schema};

/// What a handler accepts and says. Its type is the handler's address.
#[derive(Debug, Clone)]
pub struct Contract {
    uri: String,
    accepts: String,
    domain: Option<String>,
    versions: BTreeMap<String, Terms>,
}

/// One version of a contract.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    accepts: Schema,
    emits: BTreeMap<String, Schema>,
}

impl Terms {
    /// Data of this kind is accepted.
    pub fn accepting(schema: Schema) -> Self {
        Self { accepts: schema, emits: BTreeMap::new() }
    }

    /// It may say this, with data of this kind.
    #[must_use]
    pub fn emitting(mut self, event_type: impl Into<String>, schema: Schema) -> Self {
        self.emits.insert(event_type.into(), schema);
        self
    }
}

impl Contract {
    /// A contract without versions: the uri that `dataschema` begins with, and the type that is accepted.
    pub fn new(uri: impl Into<String>, accepts: impl Into<String>) -> Self {
        Self { uri: uri.into(), accepts: accepts.into(), domain: None, versions: BTreeMap::new() }
    }

    /// The contract of an orchestrator or resumable of this name: it accepts `arvo.orc.<name>` and ends with
    /// `arvo.orc.<name>.done`.
    pub fn of_orchestrator(uri: impl Into<String>, name: &str) -> Self {
        Self::new(uri, format!("arvo.orc.{name}"))
    }

    /// The same with this version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>, terms: Terms) -> Self {
        self.versions.insert(version.into(), terms);
        self
    }

    /// The same in a domain, for events that inherit that of their contract. Defaults to none.
    #[must_use]
    pub fn in_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// The type that is accepted, which is also the address of whoever keeps the contract.
    pub fn accepted_type(&self) -> &str {
        &self.accepts
    }

    /// What ends a process of this contract.
    pub fn done_type(&self) -> String {
        format!("{}.done", self.accepts)
    }

    /// What tells of an error that no retry can mend.
    pub fn error_type(&self) -> String {
        format!("sys.{}.error", self.accepts)
    }

    /// Its domain.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Its versions.
    pub fn versions(&self) -> impl Iterator<Item = &str> {
        self.versions.keys().map(String::as_str)
    }

    /// Begins an event that this contract accepts, from `source`. Without a subject it begins a process.
    ///
    /// # Errors
    /// Not found, when it has no such version.
    pub fn accept(&self, version: &str, source: impl Into<String>) -> Result<EventBuilder> {
        let terms = self.terms(version)?;
        Ok(CloudEvent::builder(&self.accepts, source)
            .data_schema(self.data_schema(version))
            .checked_by(terms.accepts.clone())
            .beginning(&self.accepts, version))
    }

    /// The schema of what it accepts, or says, under this type.
    ///
    /// # Errors
    /// Not found, when it has no such version; invalid, when the version has no such type.
    pub fn schema(&self, version: &str, event_type: &str) -> Result<Schema> {
        let terms = self.terms(version)?;
        if event_type == self.accepts {
            return Ok(terms.accepts.clone());
        }
        match terms.emits.get(event_type) {
            Some(schema) => Ok(schema.clone()),
            None if event_type == self.error_type() => Ok(Schema::any()),
            None => Err(Error::invalid(
                "event.type",
                format!("`{event_type}` is no part of version {version} of `{}`", self.uri),
            )),
        }
    }

    /// The `dataschema` of an event under this version.
    pub fn data_schema(&self, version: &str) -> String {
        format!("{}/{version}", self.uri)
    }

    /// The version an event says it keeps: by its `dataschema`, else the only or the latest one there is.
    ///
    /// # Errors
    /// Not found, when it names another contract or a version there is not.
    pub fn version_of(&self, event: &CloudEvent) -> Result<&str> {
        let named = match event.data_schema() {
            None => return self.latest().ok_or_else(|| Error::not_found("version of contract", &self.uri)),
            Some(schema) => schema.strip_prefix(self.uri.as_str()).and_then(|rest| rest.strip_prefix('/')),
        };
        let known = named.and_then(|version| self.versions.get_key_value(version));
        let known = known.map(|(version, _)| version.as_str());
        known.ok_or_else(|| Error::not_found("contract", event.data_schema().unwrap_or_default()))
    }

    /// By numbers where they are numbers: 1.10.0 is later than 1.9.0.
    pub(crate) fn latest(&self) -> Option<&str> {
        let numbers =
            |version: &str| version.split('.').map(|n| n.parse().unwrap_or(0)).collect::<Vec<u64>>();
        self.versions().max_by_key(|version| numbers(version))
    }

    fn terms(&self, version: &str) -> Result<&Terms> {
        let known = self.versions.get(version);
        known.ok_or_else(|| Error::not_found("version of contract", self.data_schema(version)))
    }
}

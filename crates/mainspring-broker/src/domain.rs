//! Domains: which events are handled outside, and how that is inherited.

use std::{fmt, str::FromStr};

use mainspring_core::{Error, Result};

use crate::{CloudEvent, Subject, event::check_domain};

/// The domain of an event that is about to be emitted: said, or taken over from somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Domain {
    /// None: a handler takes it.
    #[default]
    Local,
    /// This one.
    Named(String),
    /// That of the emitting handler's contract.
    OwnContract,
    /// That of the contract of whoever it is for.
    Contract,
    /// That of the event that is being handled.
    Event,
    /// The one in the subject of the event that is being handled.
    EventSubject,
    /// The one in the subject of the process that began this one.
    ParentSubject,
    /// The one in the subject of the process itself.
    Orchestration,
}

const SYMBOLS: [(Domain, &str); 6] = [
    (Domain::OwnContract, "domain.contract.self.inherit"),
    (Domain::Contract, "domain.contract.inherit"),
    (Domain::Event, "domain.event.inherit"),
    (Domain::EventSubject, "domain.event.current.subject"),
    (Domain::ParentSubject, "domain.parent.subject"),
    (Domain::Orchestration, "domain.orchestration.context"),
];

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbol = SYMBOLS.iter().find(|(domain, _)| domain == self).map(|(_, symbol)| *symbol);
        match (self, symbol) {
            (Self::Named(name), _) => f.write_str(name),
            (_, Some(symbol)) => f.write_str(symbol),
            (_, None) => f.write_str("null"),
        }
    }
}

impl FromStr for Domain {
    type Err = Error;

    /// A symbol of the seed's, or a name.
    fn from_str(text: &str) -> Result<Self> {
        if let Some((domain, _)) = SYMBOLS.iter().find(|(_, symbol)| *symbol == text) {
            return Ok(domain.clone());
        }
        check_domain(text)?;
        Ok(Self::Named(text.to_owned()))
    }
}

/// From where domains are taken over.
pub(crate) struct Surroundings<'a> {
    pub(crate) event: &'a CloudEvent,
    pub(crate) own_contract: Option<&'a str>,
    pub(crate) contract: Option<&'a str>,
    pub(crate) process: Option<&'a Subject>,
    pub(crate) parent: Option<&'a Subject>,
}

impl Surroundings<'_> {
    fn resolve(&self, domain: &Domain) -> Option<String> {
        let of = |subject: &Subject| subject.execution.domain.clone();
        match domain {
            Domain::Local => None,
            Domain::Named(name) => Some(name.clone()),
            Domain::OwnContract => self.own_contract.map(str::to_owned),
            Domain::Contract => self.contract.map(str::to_owned),
            Domain::Event => self.event.domain().map(str::to_owned),
            Domain::EventSubject => Subject::parse(self.event.subject()).ok().as_ref().and_then(of),
            Domain::ParentSubject => self.parent.and_then(of),
            Domain::Orchestration => self.process.and_then(of),
        }
    }

    /// What these come to, each once: an event is emitted for every one.
    pub(crate) fn resolve_all(&self, domains: &[Domain]) -> Vec<Option<String>> {
        let mut resolved: Vec<Option<String>> = Vec::new();
        for domain in domains.iter().map(|domain| self.resolve(domain)) {
            if !resolved.contains(&domain) {
                resolved.push(domain);
            }
        }
        resolved
    }
}

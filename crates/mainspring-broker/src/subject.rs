//! The subject of an orchestrated process: who orchestrates it, who began it, and what is inherited, as one text.
//!
//! The text is base64 of the zlib-deflated JSON of it, so that any process can tell from an event alone which orchestration it
//! is for and where the end of that has to go.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use mainspring_core::{Error, Result, limits};
use serde::{Deserialize, Serialize};

use crate::event::check_domain;

/// Most bytes of the JSON: a text that says it is more is refused before it is unpacked.
const MAX_JSON: u64 = 16 * 1024;

/// What a subject says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Who orchestrates the process.
    pub orchestrator: Orchestration,
    /// The process.
    pub execution: Process,
    /// What descendants inherit.
    #[serde(default)]
    pub meta: BTreeMap<String, String>,
}

/// Who orchestrates a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orchestration {
    /// The handler's source.
    pub name: String,
    /// The version of its contract.
    pub version: String,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Unique.
    pub id: String,
    /// Who hears of its end.
    pub initiator: String,
    /// The domain of what it emits where that is inherited.
    #[serde(default)]
    pub domain: Option<String>,
}

/// In the meta: where the end of the process goes instead of to its initiator.
const REDIRECT_TO: &str = "redirectto";

impl Subject {
    /// A process of its own, with a fresh id.
    ///
    /// # Errors
    /// Invalid, naming the field.
    pub fn new(
        handler: impl Into<String>,
        version: impl Into<String>,
        initiator: impl Into<String>,
    ) -> Result<Self> {
        let subject = Self {
            orchestrator: Orchestration { name: handler.into(), version: version.into() },
            execution: Process {
                id: ulid::Ulid::generate().to_string(),
                initiator: initiator.into(),
                domain: None,
            },
            meta: BTreeMap::new(),
        };
        subject.check()?;
        Ok(subject)
    }

    /// A process that this one begins: its initiator is this one's orchestrator, its domain and meta are inherited. Where this
    /// one's own end is redirected to is this one's alone.
    ///
    /// # Errors
    /// Invalid, naming the field.
    pub fn child(&self, handler: impl Into<String>, version: impl Into<String>) -> Result<Self> {
        let mut child = Self::new(handler, version, &self.orchestrator.name)?;
        child.execution.domain.clone_from(&self.execution.domain);
        child.meta.clone_from(&self.meta);
        child.meta.remove(REDIRECT_TO);
        Ok(child)
    }

    /// The same in this domain.
    ///
    /// # Errors
    /// Invalid, when it is none.
    pub fn with_domain(mut self, domain: Option<String>) -> Result<Self> {
        self.execution.domain = domain;
        self.check()?;
        Ok(self)
    }

    /// The same with one more thing to inherit.
    #[must_use]
    pub fn with_meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// The same, its end going there instead of to its initiator.
    #[must_use]
    pub fn redirected_to(self, handler: impl Into<String>) -> Self {
        self.with_meta(REDIRECT_TO, handler)
    }

    /// Where its end goes.
    pub fn answers_to(&self) -> &str {
        self.meta.get(REDIRECT_TO).unwrap_or(&self.execution.initiator)
    }

    fn check(&self) -> Result<()> {
        limits::check_name("subject.orchestrator.name", &self.orchestrator.name)?;
        limits::check_name("subject.orchestrator.version", &self.orchestrator.version)?;
        limits::check_id("subject.execution.id", &self.execution.id)?;
        limits::check_id("subject.execution.initiator", &self.execution.initiator)?;
        self.execution.domain.as_deref().map_or(Ok(()), check_domain)
    }

    /// The text.
    ///
    /// # Errors
    /// Invalid, when a field is, or when it says more than 16 KiB.
    pub fn encode(&self) -> Result<String> {
        self.check()?;
        let failed = |error| Error::internal("the subject cannot be packed").with_source(error);
        let json = serde_json::to_vec(self)
            .map_err(|error| Error::internal("the subject is not JSON").with_source(error))?;
        if json.len() as u64 > MAX_JSON {
            return Err(Error::invalid(
                "subject",
                format!("{} bytes, at most {MAX_JSON} are allowed", json.len()),
            ));
        }
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&json).map_err(failed)?;
        Ok(BASE64_STANDARD.encode(packed.finish().map_err(failed)?))
    }

    /// What a text says.
    ///
    /// # Errors
    /// Invalid, when it is not the text of a subject.
    pub fn parse(text: &str) -> Result<Self> {
        let broken = || Error::invalid("event.subject", "is not that of an orchestration");
        let packed = BASE64_STANDARD.decode(text).map_err(|error| broken().with_source(error))?;
        let mut json = Vec::new();
        let unpacked = ZlibDecoder::new(packed.as_slice()).take(MAX_JSON + 1).read_to_end(&mut json);
        unpacked.map_err(|error| broken().with_source(error))?;
        if json.len() as u64 > MAX_JSON {
            return Err(broken());
        }
        let subject: Self = serde_json::from_slice(&json).map_err(|error| broken().with_source(error))?;
        subject.check()?;
        Ok(subject)
    }
}

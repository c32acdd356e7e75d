//! The handlers an engine knows, by name.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_core::{Error, Result, limits};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Handler, HandlerError, Invocation, JobHandler, JobRun, Outcome,
    handler::{ErasedHandler, ErasedJob, erase, erase_fn, erase_job, erase_job_fn},
};

/// What a catalogue shows of a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerInfo {
    /// The `type` of the steps it does.
    pub name: String,
    /// What kind of handler it is.
    pub category: String,
    /// What it does.
    pub description: String,
    /// Whether its steps are done as jobs.
    pub stateful: bool,
}

#[derive(Clone)]
pub(crate) enum Code {
    Step(Arc<dyn ErasedHandler>),
    Job(Arc<dyn ErasedJob>),
}

/// Handlers by name. Built once, then shared.
#[derive(Default, Clone)]
pub struct HandlerRegistry {
    handlers: BTreeMap<String, (HandlerInfo, Code)>,
    other_jobs: Option<Arc<dyn ErasedJob>>,
}

impl HandlerRegistry {
    /// Adds a handler.
    ///
    /// # Errors
    /// Conflict when the name is taken; invalid when it is no name.
    pub fn register<H: Handler>(&mut self, handler: H) -> Result<()> {
        self.add(info(H::NAME, H::CATEGORY, H::DESCRIPTION, false), Code::Step(erase(handler)))
    }

    /// Adds a handler whose steps are done as jobs.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_job<H: JobHandler>(&mut self, handler: H) -> Result<()> {
        self.add(info(H::NAME, H::CATEGORY, H::DESCRIPTION, true), Code::Job(erase_job(handler)))
    }

    /// Adds an async function as a handler.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_fn<F, I, Fut, R>(&mut self, name: &str, function: F) -> Result<()>
    where
        F: Fn(Invocation, I) -> Fut + Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
        R: Into<Outcome<Value>> + 'static,
    {
        self.add(info(name, "custom", "", false), Code::Step(erase_fn(function)))
    }

    /// Adds an async function as a handler whose steps are done as jobs.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_job_fn<F, I, Fut, R>(&mut self, name: &str, function: F) -> Result<()>
    where
        F: Fn(JobRun, I) -> Fut + Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
        R: Serialize + 'static,
    {
        self.add(info(name, "custom", "", true), Code::Job(erase_job_fn(function)))
    }

    /// Does the jobs of all handlers that are not here.
    pub fn set_other_jobs<F, Fut>(&mut self, function: F)
    where
        F: Fn(JobRun, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
    {
        self.other_jobs = Some(erase_job_fn(function));
    }

    /// What does the jobs of a handler.
    pub(crate) fn job(&self, name: &str) -> Option<Arc<dyn ErasedJob>> {
        match self.handlers.get(name) {
            Some((_, Code::Job(handler))) => Some(Arc::clone(handler)),
            Some((_, Code::Step(_))) => None,
            None => self.other_jobs.clone(),
        }
    }

    fn add(&mut self, info: HandlerInfo, code: Code) -> Result<()> {
        limits::check_name("handler", &info.name)?;
        if self.handlers.contains_key(&info.name) {
            return Err(Error::conflict(format!("handler `{}` is registered twice", info.name)));
        }
        self.handlers.insert(info.name.clone(), (info, code));
        Ok(())
    }

    /// What is known of a handler.
    pub fn get(&self, name: &str) -> Option<&HandlerInfo> {
        self.handlers.get(name).map(|(info, _)| info)
    }

    /// Whether a handler has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.handlers.contains_key(name)
    }

    /// All handlers by name.
    pub fn all(&self) -> impl Iterator<Item = &HandlerInfo> {
        self.handlers.values().map(|(info, _)| info)
    }

    /// Those of one category, by name.
    pub fn in_category<'a>(&'a self, category: &'a str) -> impl Iterator<Item = &'a HandlerInfo> {
        self.all().filter(move |info| info.category == category)
    }

    /// Those whose steps are done as jobs, or those whose are not, by name.
    pub fn stateful(&self, stateful: bool) -> impl Iterator<Item = &HandlerInfo> {
        self.all().filter(move |info| info.stateful == stateful)
    }

    /// The catalogue as JSON, for editors.
    pub fn manifest(&self) -> Value {
        let handlers: Vec<&HandlerInfo> = self.all().collect();
        serde_json::json!({ "handlers": handlers })
    }

    pub(crate) fn code(&self, name: &str) -> Option<Code> {
        self.handlers.get(name).map(|(_, code)| code.clone())
    }
}

fn info(name: &str, category: &str, description: &str, stateful: bool) -> HandlerInfo {
    HandlerInfo {
        name: name.to_owned(),
        category: category.to_owned(),
        description: description.to_owned(),
        stateful,
    }
}

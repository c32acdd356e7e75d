//! A workflow by name and type: a constant that callers and code share.

use std::{fmt, marker::PhantomData};

use mainspring_core::{Execution, ExecutionFilter, Result, limits};

/// In front of the version of a workflow in its execution's row; no flow has such a version.
const VERSION_PREFIX: &str = "fn-";

/// What becomes of an execution whose recorded steps are not those of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drift {
    /// It is parked with both sides named, until the code fits again and someone [resumes](crate::WorkflowHandle::resume)
    /// it.
    #[default]
    Fail,
    /// It goes on without the recorded steps that the code no longer has, and a warning is logged.
    Warn,
    /// It goes on silently.
    Allow,
}

/// A durable function by name: its input, output and error as types. A constant, so that services that do not link the code
/// can start it and read its result.
///
/// ```
/// use mainspring_engine::Workflow;
/// const GREET: Workflow<String, String, String> = Workflow::new("greet");
/// assert_eq!(GREET.name(), "greet");
/// ```
pub struct Workflow<I, O, E> {
    name: &'static str,
    version: &'static str,
    drift: Drift,
    types: PhantomData<fn(I) -> (O, E)>,
}

impl<I, O, E> Workflow<I, O, E> {
    /// The workflow of this name, at version `1`.
    pub const fn new(name: &'static str) -> Self {
        Self { name, version: "1", drift: Drift::Fail, types: PhantomData }
    }

    /// The same at another version. An execution stays at the version it was started with, so an engine that still has
    /// executions of an old version keeps its code registered until they are over.
    #[must_use]
    pub const fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// The same with another policy for executions that do not fit the code. Defaults to [`Drift::Fail`].
    #[must_use]
    pub const fn drift(mut self, drift: Drift) -> Self {
        self.drift = drift;
        self
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its executions at this version, to list, count or change in [bulk](crate::Engine::bulk).
    pub fn executions(&self) -> ExecutionFilter {
        ExecutionFilter {
            flow_id: Some(self.name.to_owned()),
            flow_version: Some(self.version_in_row()),
            ..ExecutionFilter::default()
        }
    }

    pub(crate) const fn policy(&self) -> Drift {
        self.drift
    }

    pub(crate) fn version_in_row(&self) -> String {
        version_in_row(self.version)
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::check_name("workflow.name", self.name)?;
        limits::check_name("workflow.version", &self.version_in_row())
    }
}

impl<I, O, E> Clone for Workflow<I, O, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O, E> Copy for Workflow<I, O, E> {}

impl<I, O, E> fmt::Debug for Workflow<I, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workflow({} {})", self.name, self.version)
    }
}

pub(crate) fn version_in_row(version: &str) -> String {
    format!("{VERSION_PREFIX}{version}")
}

/// Whether an execution is one of a workflow, and not of a flow.
pub(crate) fn is_workflow(execution: &Execution) -> bool {
    execution.flow_version.starts_with(VERSION_PREFIX)
}

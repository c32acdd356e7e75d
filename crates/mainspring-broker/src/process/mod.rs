//! Processes: handlers with a state, one for each subject, which is an execution.
//!
//! | of the process | in the execution |
//! |---|---|
//! | subject | id, or a digest of it when it is too long for one |
//! | handler, version | `flow_id`, `flow_version` |
//! | whoever hears of its end | `queue` |
//! | the process that began it | `parent`, `root` |
//! | state, init event, answers that are waited for | `context` |
//! | each event that was handled | history |
//!
//! The compare-and-set on the revision is what keeps two events of one process apart: the handler of the one that comes second is
//! called again with the state the first one left. No lock is taken and nothing is held while a handler runs.

mod logic;
mod record;
mod run;

use std::{collections::BTreeMap, future::Future, sync::Arc};

use mainspring_core::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use logic::{Collected, Machine, Next, Wake};
use logic::{Logic, MachineLogic, ResumableLogic};
pub(crate) use record::forever;

use crate::{Call, Contract, Domain, Handler, HandlerError, OnError, Reaction};

/// What an orchestrator and a resumable have in common.
pub(crate) struct Process {
    contract: Contract,
    services: Vec<Contract>,
    versions: BTreeMap<String, Arc<dyn Logic>>,
    units: Option<f64>,
    error_domains: Vec<Domain>,
}

impl Process {
    fn new(contract: Contract) -> Self {
        let error_domains = vec![Domain::Orchestration];
        Self { contract, services: Vec::new(), versions: BTreeMap::new(), units: None, error_domains }
    }
}

macro_rules! process_handler {
    ($name:ident) => {
        impl $name {
            /// One that keeps `contract`, so far without any version.
            pub fn new(contract: Contract) -> Self {
                Self(Process::new(contract))
            }

            /// It speaks with whoever keeps this contract: what it says to them and hears from them is checked. With none at
            /// all nothing is.
            #[must_use]
            pub fn service(mut self, contract: Contract) -> Self {
                self.0.services.push(contract);
                self
            }

            /// What an event costs that says nothing. Defaults to nothing.
            #[must_use]
            pub fn execution_units(mut self, units: f64) -> Self {
                self.0.units = Some(units);
                self
            }

            /// In which domains its errors are told. Defaults to that of the orchestration.
            #[must_use]
            pub fn error_domains(mut self, domains: impl IntoIterator<Item = Domain>) -> Self {
                self.0.error_domains = domains.into_iter().collect();
                self
            }
        }

        impl Handler for $name {
            fn source(&self) -> &str {
                self.0.contract.accepted_type()
            }

            fn handle<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reaction, HandlerError>> {
                Box::pin(self.0.handle(call))
            }

            fn fail<'a>(
                &'a self,
                call: &'a Call<'a>,
                error: &'a HandlerError,
            ) -> BoxFuture<'a, Result<Option<Reaction>, HandlerError>> {
                Box::pin(self.0.fail(call, error))
            }

            fn give_up<'a>(
                &'a self,
                call: &'a Call<'a>,
                error: &'a HandlerError,
            ) -> BoxFuture<'a, Result<Option<Reaction>, HandlerError>> {
                Box::pin(self.0.give_up(call, error))
            }

            fn usual(&self) -> OnError {
                OnError::Fail
            }
        }
    };
}

/// A state machine over events: what a process does next is decided from its state and an event alone.
///
/// ```
/// use mainspring_broker::{CloudEvent, Contract, Draft, HandlerError, Machine, Next, Orchestrator, Schema, Terms};
/// use serde_json::{Value, json};
///
/// /// Asks for the sum of numbers, and ends with their average.
/// struct Average;
///
/// impl Machine for Average {
///     type State = usize;
///
///     fn begin(&self, init: &CloudEvent) -> Result<Next<usize>, HandlerError> {
///         let numbers: Vec<f64> = serde_json::from_value(init.data()["numbers"].clone())?;
///         Ok(Next::to(numbers.len()).emit(Draft::new("cmd.total.sum", json!({"numbers": numbers}))))
///     }
///
///     fn advance(&self, count: usize, event: &CloudEvent) -> Result<Next<usize>, HandlerError> {
///         let total = event.data()["total"].as_f64().ok_or("no total")?;
///         Ok(Next::to(count).done(json!({"average": total / count as f64})))
///     }
/// }
///
/// let contract = Contract::of_orchestrator("#/orchestrators/average", "average")
///     .version("1.0.0", Terms::default().emitting("arvo.orc.average.done", Schema::any()));
/// let average = Orchestrator::new(contract).version("1.0.0", Average);
/// ```
pub struct Orchestrator(Process);

process_handler!(Orchestrator);

impl Orchestrator {
    /// The machine of this version. A process keeps the version it began with.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>, machine: impl Machine) -> Self {
        self.0.versions.insert(version.into(), Arc::new(MachineLogic(machine)));
        self
    }
}

/// A process written as a function that is called for every event, with the state it left and the answers so far.
pub struct Resumable(Process);

process_handler!(Resumable);

impl Resumable {
    /// The function of this version. A process keeps the version it began with.
    #[must_use]
    pub fn version<S, F, Fut>(mut self, version: impl Into<String>, function: F) -> Self
    where
        S: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(Wake<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Next<S>, HandlerError>> + Send + 'static,
    {
        self.0.versions.insert(version.into(), Arc::new(ResumableLogic::new(function)));
        self
    }
}

/// Where a process is after an event, erased.
pub(crate) struct Step {
    pub(crate) state: Value,
    pub(crate) drafts: Vec<crate::Draft>,
    pub(crate) output: Option<Result<Map<String, Value>, String>>,
}

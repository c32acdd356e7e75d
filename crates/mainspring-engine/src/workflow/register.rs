//! The code of workflows, by name and version.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use mainspring_core::{BoxFuture, Error, Execution, ExecutionId, Failure, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Cx, Drift, Workflow, WorkflowError, WorkflowResult, kept::KeptLive, live::Live};

/// How the code of a workflow ended.
pub(crate) enum Returned {
    Output(Value),
    App(Value),
    Broken(Failure),
}

/// A workflow's code without its types.
pub(crate) trait Code: Send + Sync {
    fn begin(&self, cx: Cx, input: Value) -> BoxFuture<'static, Returned>;
    fn drift(&self) -> Drift;
}

struct Typed<I, O, E, F> {
    workflow: Workflow<I, O, E>,
    function: F,
}

impl<I, O, E, F, Fut> Code for Typed<I, O, E, F>
where
    F: Fn(Cx, I) -> Fut + Send + Sync,
    Fut: Future<Output = WorkflowResult<O, E>> + Send + 'static,
    I: DeserializeOwned + 'static,
    O: Serialize + 'static,
    E: Serialize + 'static,
{
    fn begin(&self, cx: Cx, input: Value) -> BoxFuture<'static, Returned> {
        let input = match serde_json::from_value(input) {
            Ok(input) => input,
            Err(error) => {
                let failure = Failure::new(mainspring_core::flow::code::INPUT_ERROR, error.to_string());
                return Box::pin(async { Returned::Broken(failure) });
            }
        };
        let running = (self.function)(cx, input);
        Box::pin(async move {
            let stored = |value: serde_json::Result<Value>, of: fn(Value) -> Returned| {
                let checked = value.map_err(|error| error.to_string()).and_then(|value| {
                    let check = mainspring_core::limits::check_json("workflow.result", &value);
                    check.map(|()| value).map_err(|error| error.to_string())
                });
                checked.map_or_else(|text| Returned::Broken(Failure::new(super::UNSTORABLE, text)), of)
            };
            match running.await {
                Ok(output) => stored(serde_json::to_value(&output), Returned::Output),
                Err(WorkflowError::App(error)) => stored(serde_json::to_value(&error), Returned::App),
                Err(WorkflowError::Halted(halt)) => Returned::Broken(halt.failure().clone()),
            }
        })
    }

    fn drift(&self) -> Drift {
        self.workflow.policy()
    }
}

/// The workflows an engine has code for, and those of their executions that are live here.
#[derive(Default)]
pub(crate) struct Workflows {
    codes: HashMap<(String, String), Arc<dyn Code>>,
    live: Mutex<HashMap<ExecutionId, Weak<Live>>>,
    pub(crate) kept: KeptLive,
}

impl Workflows {
    pub(crate) fn register<I, O, E, F, Fut>(&mut self, workflow: Workflow<I, O, E>, function: F) -> Result<()>
    where
        F: Fn(Cx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = WorkflowResult<O, E>> + Send + 'static,
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        E: Serialize + 'static,
    {
        workflow.check()?;
        let key = (workflow.name().to_owned(), workflow.version_in_row());
        if self.codes.insert(key, Arc::new(Typed { workflow, function })).is_some() {
            return Err(Error::conflict(format!("{workflow:?} is registered twice")));
        }
        Ok(())
    }

    pub(crate) fn code(&self, execution: &Execution) -> Option<Arc<dyn Code>> {
        self.code_of(&execution.flow_id, &execution.flow_version)
    }

    pub(crate) fn code_of(&self, name: &str, version_in_row: &str) -> Option<Arc<dyn Code>> {
        self.codes.get(&(name.to_owned(), version_in_row.to_owned())).cloned()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Weak<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an execution is live here.
    pub(crate) fn enter(&self, live: &Arc<Live>) {
        self.table().insert(live.facts.id.clone(), Arc::downgrade(live));
    }

    pub(crate) fn leave(&self, live: &Arc<Live>) {
        let mut table = self.table();
        let this = Arc::downgrade(live);
        if table.get(&live.facts.id).is_some_and(|other| other.ptr_eq(&this)) {
            table.remove(&live.facts.id);
        }
    }

    pub(crate) fn live(&self, id: &ExecutionId) -> Option<Arc<Live>> {
        self.table().get(id)?.upgrade()
    }
}

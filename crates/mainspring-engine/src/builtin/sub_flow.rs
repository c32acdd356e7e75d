//! `sub-flow`: starts a child execution, whose context is this step's input.
//!
//! `{"flowId": "ship", "version": "1.2.0", "waitForCompletion": true, "metadata": {}}`. While the child runs its parent
//! holds nothing, not even a worker's slot: the child's last commit wakes it. A child that does not complete is the failure
//! `CHILD_FAILED`; one that is not waited for is a success at once, with its id.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ChildFlow, Handler, HandlerError, Invocation, Outcome};

pub(crate) struct SubFlow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    flow_id: String,
    version: Option<String>,
    #[serde(default = "yes")]
    wait_for_completion: bool,
    #[serde(default)]
    metadata: Map<String, Value>,
}

fn yes() -> bool {
    true
}

impl Handler for SubFlow {
    const NAME: &'static str = "sub-flow";
    const CATEGORY: &'static str = super::CONTROL;
    const DESCRIPTION: &'static str = "Starts a child execution";
    type Input = Option<Map<String, Value>>;
    type Output = Value;

    async fn handle(&self, call: Invocation, input: Self::Input) -> Result<Outcome, HandlerError> {
        let config: Config = call.config_as()?;
        let mut child = ChildFlow::new(config.flow_id, input.unwrap_or_default()).metadata(config.metadata);
        if let Some(version) = config.version {
            child = child.version(version);
        }
        Ok(Outcome::child(if config.wait_for_completion { child } else { child.detached() }))
    }
}

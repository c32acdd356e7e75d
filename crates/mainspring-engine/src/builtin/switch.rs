//! `switch`: goes on with the step that its config names for a value.
//!
//! `{"path": "order.kind", "cases": {"book": "ship", "1": "count"}, "default": "ask"}`. Numbers and booleans are compared by
//! their text; `null` as a target ends the execution. No case and no default is the failure `NO_MATCH`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::conditional::{matched, target};
use crate::{Handler, HandlerError, Invocation, Outcome};

pub(crate) struct Switch;

#[derive(Deserialize)]
struct Config {
    path: String,
    cases: Map<String, Value>,
    #[serde(default, deserialize_with = "target")]
    default: Option<Value>,
}

impl Handler for Switch {
    const NAME: &'static str = "switch";
    const CATEGORY: &'static str = super::CONTROL;
    const DESCRIPTION: &'static str = "Goes on with the step of a value";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, call: Invocation, input: Value) -> Result<Outcome, HandlerError> {
        let config: Config = call.config_as()?;
        let value = mainspring_core::flow::lookup(&input, &config.path).cloned().unwrap_or_default();
        let key = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match config.cases.get(&key).or(config.default.as_ref()) {
            Some(to) => Ok(matched(json!({"path": config.path, "value": value, "target": to}), to)),
            None => Ok(Outcome::failure("NO_MATCH", format!("no case for `{key}` and no default"))),
        }
    }
}

//! Flows put together in code: the same definition, through the same validator, as from JSON.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use super::{Flow, FlowStatus, RetryPolicy, Selector, Step, Transitions};
use crate::{Error, Result};

/// A [`Flow`] being put together; see [`Flow::builder`].
#[derive(Debug, Clone)]
pub struct FlowBuilder {
    flow: Flow,
    twice: Option<String>,
}

impl FlowBuilder {
    pub(super) fn new(id: String, version: String) -> Self {
        let flow = Flow {
            id,
            version,
            name: None,
            description: None,
            tags: Vec::new(),
            status: FlowStatus::default(),
            visual: None,
            initial_step_id: String::new(),
            steps: BTreeMap::new(),
            pipes: None,
        };
        Self { flow, twice: None }
    }

    /// Names it for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.flow.name = Some(name.into());
        self
    }

    /// Describes it for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.flow.description = Some(description.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.flow.tags.push(tag.into());
        self
    }

    /// Whether new executions may use it. Defaults to published.
    #[must_use]
    pub fn status(mut self, status: FlowStatus) -> Self {
        self.flow.status = status;
        self
    }

    /// Adds a step. The first one added is the initial one unless another is named.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        if self.flow.initial_step_id.is_empty() {
            self.flow.initial_step_id.clone_from(&step.id);
        }
        if let Some(before) = self.flow.steps.insert(step.id.clone(), step) {
            self.twice.get_or_insert(before.id);
        }
        self
    }

    /// Names the step every execution starts with.
    #[must_use]
    pub fn initial_step(mut self, id: impl Into<String>) -> Self {
        self.flow.initial_step_id = id.into();
        self
    }

    /// Validates it.
    ///
    /// # Errors
    /// Invalid, naming the step and the field.
    pub fn build(self) -> Result<Flow> {
        if let Some(id) = self.twice {
            return Err(Error::invalid(&format!("steps.{id}"), "is defined twice"));
        }
        self.flow.validate()?;
        Ok(self.flow)
    }
}

impl Step {
    /// A step done by `handler` that gets the whole context, keeps no output and ends the execution.
    pub fn new(id: impl Into<String>, handler: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            handler: handler.into(),
            name: None,
            config: Map::new(),
            input: Selector::Full,
            output_key: None,
            transitions: Transitions::default(),
            retry: None,
            timeout: None,
            refused: None,
        }
    }

    /// Names it for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Settings of the handler: a JSON object.
    #[must_use]
    pub fn config(mut self, config: impl Into<Value>) -> Self {
        match config.into() {
            Value::Object(config) => self.config = config,
            _ => self.refused = Some(("config", "is not an object".to_owned())),
        }
        self
    }

    /// What of the context the handler gets: a [`Selector`] or its JSON. Defaults to all of it.
    #[must_use]
    pub fn input(mut self, input: impl Into<Value>) -> Self {
        match Selector::from_json(input.into()) {
            Ok(selector) => self.input = selector,
            Err(error) => self.refused = Some(("input", error.to_string().replacen("input: ", "", 1))),
        }
        self
    }

    /// Where in the context its output goes.
    #[must_use]
    pub fn output_key(mut self, key: impl Into<String>) -> Self {
        self.output_key = Some(key.into());
        self
    }

    /// The step after a success.
    #[must_use]
    pub fn on_success(mut self, step: impl Into<String>) -> Self {
        self.transitions.on_success = Some(step.into());
        self
    }

    /// The step after a failure without retries left.
    #[must_use]
    pub fn on_failure(mut self, step: impl Into<String>) -> Self {
        self.transitions.on_failure = Some(step.into());
        self
    }

    /// The step after a wait.
    #[must_use]
    pub fn on_resume(mut self, step: impl Into<String>) -> Self {
        self.transitions.on_resume = Some(step.into());
        self
    }

    /// Tries failures again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// How long one run of the handler may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

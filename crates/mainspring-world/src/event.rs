//! What one asks to happen to a run: the argument of the one write.

use mainspring_core::{Error, ExecutionId, NewEvent, Result, Timestamp, limits, nul};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{EventType, Fault, entity::present};

/// A run to create.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NewRun {
    /// The workflow.
    pub workflow_name: String,
    /// What it is started with.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Which deployment it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// What its code keeps beside its input, such as trace context.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub execution_context: Option<Value>,
    /// Labels; at most [`MAX_ATTRIBUTES`].
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// The run that starts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<ExecutionId>,
    /// The rules it is created under. Defaults to [`SPEC_VERSION`](crate::SPEC_VERSION).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_version: Option<u32>,
}

impl NewRun {
    /// A run of this workflow with this input.
    pub fn new(workflow_name: impl Into<String>, input: impl Into<Value>) -> Self {
        Self { workflow_name: workflow_name.into(), input: Some(input.into()), ..Self::default() }
    }
}

/// A step to create.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewStep {
    /// What it does.
    pub step_name: String,
    /// What it works on.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

/// The most attributes of a run.
pub const MAX_ATTRIBUTES: usize = 64;

/// What is to happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "eventType", content = "eventData", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Fact {
    /// A run is created.
    RunCreated(NewRun),
    /// It begins. With `run_input` it is created first when it does not exist.
    RunStarted {
        /// The run to create.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_input: Option<NewRun>,
    },
    /// It is paused.
    RunPaused {},
    /// It goes on after a pause.
    RunResumed {},
    /// It ended well.
    RunCompleted {
        /// What it returned.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    },
    /// It ended with an error.
    RunFailed {
        /// Why.
        error: Fault,
    },
    /// It is cancelled.
    RunCancelled {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Attributes are set; one that is set to `null` goes.
    AttrSet {
        /// Which.
        attributes: Map<String, Value>,
    },
    /// A step is created.
    StepCreated(NewStep),
    /// A step is begun. With `create` it is created, too, and whoever finds it there has lost it to another one.
    StepStarted {
        /// The step to create.
        #[serde(flatten)]
        create: Option<NewStep>,
    },
    /// A step ended well.
    StepCompleted {
        /// What it returned.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
    /// A step failed for good.
    StepFailed {
        /// Why.
        error: Fault,
    },
    /// A step failed and is to be tried again.
    StepRetrying {
        /// Why.
        error: Fault,
        /// Not before this time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<Timestamp>,
    },
    /// A hook is created.
    HookCreated {
        /// What its users know it by.
        token: String,
        /// Whatever its maker keeps with it.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        metadata: Option<Value>,
        /// Whether it is reached as a webhook.
        #[serde(default)]
        is_webhook: bool,
    },
    /// A payload comes in for a hook.
    HookReceived {
        /// What came in.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    /// A hook is disposed of.
    HookDisposed {},
    /// A wait begins.
    WaitCreated {
        /// When it is over.
        resume_at: Timestamp,
    },
    /// A wait is over.
    WaitCompleted {},
}

impl Fact {
    /// Its type.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::RunCreated(_) => EventType::RunCreated,
            Self::RunStarted { .. } => EventType::RunStarted,
            Self::RunPaused {} => EventType::RunPaused,
            Self::RunResumed {} => EventType::RunResumed,
            Self::RunCompleted { .. } => EventType::RunCompleted,
            Self::RunFailed { .. } => EventType::RunFailed,
            Self::RunCancelled { .. } => EventType::RunCancelled,
            Self::AttrSet { .. } => EventType::AttrSet,
            Self::StepCreated(_) => EventType::StepCreated,
            Self::StepStarted { .. } => EventType::StepStarted,
            Self::StepCompleted { .. } => EventType::StepCompleted,
            Self::StepFailed { .. } => EventType::StepFailed,
            Self::StepRetrying { .. } => EventType::StepRetrying,
            Self::HookCreated { .. } => EventType::HookCreated,
            Self::HookReceived { .. } => EventType::HookReceived,
            Self::HookDisposed {} => EventType::HookDisposed,
            Self::WaitCreated { .. } => EventType::WaitCreated,
            Self::WaitCompleted {} => EventType::WaitCompleted,
        }
    }

    /// Whether it is about a step, a hook or a wait, which its correlation id names.
    pub fn needs_correlation_id(&self) -> bool {
        !self.event_type().as_str().starts_with("run_") && !matches!(self, Self::AttrSet { .. })
    }
}

/// What is to happen to a run, and to which part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent {
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
    /// The step, hook or wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

impl From<Fact> for RunEvent {
    fn from(fact: Fact) -> Self {
        Self { fact, correlation_id: None }
    }
}

impl RunEvent {
    /// Something that happens to a step, a hook or a wait of the run.
    pub fn about(correlation_id: impl Into<String>, fact: Fact) -> Self {
        Self { fact, correlation_id: Some(correlation_id.into()) }
    }

    /// Reads `{eventType, correlationId?, eventData?}`.
    ///
    /// # Errors
    /// Invalid, naming what does not fit.
    pub fn from_json(mut value: Value) -> Result<Self> {
        if let Value::Object(fields) = &mut value {
            let data = fields.entry("eventData").or_insert_with(|| json!({}));
            if data.is_null() {
                *data = json!({});
            }
        }
        serde_json::from_value(value).map_err(|error| Error::invalid("event", error))
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        match &self.correlation_id {
            Some(id) => limits::check_id("correlationId", id)?,
            None if self.fact.needs_correlation_id() => {
                let problem = format!("is required for `{}`", self.fact.event_type());
                return Err(Error::invalid("correlationId", problem));
            }
            None => {}
        }
        match &self.fact {
            Fact::RunCreated(run) | Fact::RunStarted { run_input: Some(run) } => {
                limits::check_name("workflowName", &run.workflow_name)?;
                check_attributes(&run.attributes)
            }
            Fact::AttrSet { attributes } => check_attributes(attributes),
            Fact::StepCreated(step) | Fact::StepStarted { create: Some(step) } => {
                limits::check_name("stepName", &step.step_name)
            }
            Fact::HookCreated { token, .. } => limits::check_id("token", token),
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_attributes(attributes: &Map<String, Value>) -> Result<()> {
    if attributes.len() > MAX_ATTRIBUTES {
        let problem = format!("{} of them, at most {MAX_ATTRIBUTES} are allowed", attributes.len());
        return Err(Error::invalid("attributes", problem));
    }
    limits::check_json_within(
        "attributes",
        &nul::escape(Value::Object(attributes.clone())),
        limits::MAX_METADATA,
    )
}

/// An event of the log, with its values as they can be stored.
pub(crate) fn logged(event_type: EventType, subject: Option<&str>, data: Value) -> NewEvent {
    let mut event = NewEvent::new(event_type.log_name(), nul::escape(data));
    event.subject = subject.map(ToOwned::to_owned);
    event.correlation_id.clone_from(&event.subject);
    event
}

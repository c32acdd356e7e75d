//! One call of a handler: what it may know, and what it wants to happen with its outcome.
//!
//! Whatever a handler does through its [`Invocation`] takes effect in the commit of its step and not before; when the step
//! fails, crashes or comes too late, it never happened. [`Invocation::resume_token_now`] is the one exception.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainspring_core::{
    Backend, ContextLimits, Execution, ExecutionId, NewEvent, NewMessage, NewToken, TokenOptions,
    TokenSecret, flow::code,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{HandlerError, HandlerRegistry, commit::patiently, handler::StepReply, registry::Code};

/// One call of a handler. Clones are the same call.
#[derive(Clone)]
pub struct Invocation {
    facts: Arc<Facts>,
    effects: Arc<Mutex<Effects>>,
}

pub(crate) struct Facts {
    pub(crate) execution: Arc<Execution>,
    pub(crate) config: Map<String, Value>,
    pub(crate) attempt: u32,
    pub(crate) limits: ContextLimits,
    pub(crate) registry: Arc<HandlerRegistry>,
    pub(crate) cancel: CancellationToken,
    pub(crate) backend: Arc<dyn Backend>,
    /// How long to wait for a database that is away.
    pub(crate) patience: Duration,
}

/// What is to be committed with the step.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) context: Vec<(String, Option<Value>)>,
    pub(crate) tokens: Vec<NewToken>,
    pub(crate) messages: Vec<NewMessage>,
    pub(crate) events: Vec<NewEvent>,
}

impl Invocation {
    pub(crate) fn new(facts: Facts) -> Self {
        Self { facts: Arc::new(facts), effects: Arc::default() }
    }

    fn effects(&self) -> MutexGuard<'_, Effects> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything asked for so far. What is asked for later is lost.
    pub(crate) fn take_effects(&self) -> Effects {
        std::mem::take(&mut self.effects())
    }

    /// The execution.
    pub fn execution_id(&self) -> &ExecutionId {
        &self.facts.execution.id
    }

    /// The execution that started this one as a sub-flow.
    pub fn parent(&self) -> Option<&ExecutionId> {
        self.facts.execution.parent.as_ref()
    }

    /// The flow.
    pub fn flow_id(&self) -> &str {
        &self.facts.execution.flow_id
    }

    /// The version of the flow that was pinned when the execution was created.
    pub fn flow_version(&self) -> &str {
        &self.facts.execution.flow_version
    }

    /// The step.
    pub fn step_id(&self) -> &str {
        &self.facts.execution.current_step
    }

    /// The isolation key of the execution; empty for none.
    pub fn tenant(&self) -> &str {
        &self.facts.execution.tenant
    }

    /// 1 for the first run of this visit of the step, 2 for the first retry. A run lost in a crash is not counted.
    pub fn attempt(&self) -> u32 {
        self.facts.attempt
    }

    /// The same for every run of one visit of the step, whether tried again after a failure or after a crash; another for the
    /// next visit. Hand it to systems outside, so that what is repeated there counts once.
    pub fn idempotency_key(&self) -> String {
        let execution = &self.facts.execution;
        let visit = execution.step_count.saturating_sub(self.facts.attempt.saturating_sub(1));
        format!("{}/{}/{visit}", execution.id, execution.current_step)
    }

    /// The step's settings.
    pub fn config(&self) -> &Map<String, Value> {
        &self.facts.config
    }

    /// The step's settings, typed.
    ///
    /// # Errors
    /// A terminal `INPUT_ERROR` when they do not fit.
    pub fn config_as<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        serde_json::from_value(Value::Object(self.facts.config.clone())).map_err(|e| {
            HandlerError::terminal(code::INPUT_ERROR, format!("the step's config does not fit: {e}"))
        })
    }

    /// The labels of the execution.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.facts.execution.metadata
    }

    /// The context as it was when the step began.
    pub fn context(&self) -> &Map<String, Value> {
        &self.facts.execution.context
    }

    /// A value of the context, as this call has set it or as it was when the step began.
    pub fn get(&self, key: &str) -> Option<Value> {
        let written =
            self.effects().context.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.clone());
        written.unwrap_or_else(|| self.context().get(key).cloned())
    }

    /// What the execution was last resumed with.
    pub fn resume_data(&self) -> Option<&Value> {
        self.context().get("resumeData")
    }

    /// Fires when the step takes too long, the execution was cancelled, or its lease was lost: whatever is still done then
    /// does not count.
    pub fn cancel(&self) -> &CancellationToken {
        &self.facts.cancel
    }

    /// Sets a value of the context.
    ///
    /// # Errors
    /// `CONTEXT_LIMIT` when the value breaks a limit. The limits on the whole context are checked with the commit.
    pub fn set(&self, key: impl Into<String>, value: impl Serialize) -> Result<(), HandlerError> {
        let key = key.into();
        let limit = |e: &dyn fmt::Display| HandlerError::terminal(code::CONTEXT_LIMIT, e.to_string());
        let value = serde_json::to_value(value).map_err(|e| limit(&e))?;
        self.facts.limits.set(&mut Map::new(), &key, value.clone()).map_err(|e| limit(&e))?;
        self.effects().context.push((key, Some(value)));
        Ok(())
    }

    /// Removes a value of the context.
    pub fn remove(&self, key: impl Into<String>) {
        self.effects().context.push((key.into(), None));
    }

    /// Makes a token that resumes this execution once. It works from the commit of this step on.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn resume_token(&self, options: TokenOptions) -> Result<TokenSecret, HandlerError> {
        let (secret, token) = NewToken::generate(self.execution_id().clone(), self.step_id(), options)?;
        self.effects().tokens.push(token);
        Ok(secret)
    }

    /// Makes a token that works at once, at the price of a write of its own: for when the answer may come before this step
    /// has ended. What the execution is resumed with is kept until the step waits. It stays when the step fails or is lost,
    /// and then works for the wait of the next run.
    ///
    /// # Errors
    /// Those of the backend that did not go away in time.
    pub async fn resume_token_now(&self, options: TokenOptions) -> Result<TokenSecret, HandlerError> {
        let (tokens, patience) = (self.facts.backend.tokens(), self.facts.patience);
        let make = || tokens.generate(self.execution_id(), self.step_id(), options.clone());
        Ok(patiently(patience, make).await?.0)
    }

    /// Pushes a message.
    pub fn push(&self, message: NewMessage) {
        self.effects().messages.push(message);
    }

    /// Puts an event of the handler's own into the execution's history.
    pub fn emit(&self, event_type: impl Into<String>, data: impl Into<Value>) {
        let event = NewEvent::new(event_type, data.into()).about(self.step_id());
        self.effects().events.push(event);
    }

    /// Calls another handler as a part of this step: its effects become this step's.
    pub(crate) async fn call_other(&self, name: &str, input: Value) -> StepReply {
        match self.facts.registry.code(name) {
            Some(Code::Step(handler)) => handler.call(self.clone(), input).await,
            Some(Code::Job(_)) => {
                Err(HandlerError::terminal(code::INPUT_ERROR, format!("handler `{name}` runs as a job only")))
            }
            None => {
                Err(HandlerError::terminal(code::HANDLER_NOT_FOUND, format!("no handler is called `{name}`")))
            }
        }
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invocation({}, attempt {})", self.idempotency_key(), self.attempt())
    }
}

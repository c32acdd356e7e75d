//! The code of a process, typed as its author sees it and erased as the broker calls it.

use std::{collections::BTreeMap, future::Future, marker::PhantomData};

use mainspring_core::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::Step;
use crate::{CloudEvent, Draft, HandlerError};

/// A state machine. Pure: no clock, no IO.
pub trait Machine: Send + Sync + 'static {
    /// Where a process is.
    type State: Serialize + DeserializeOwned + Send;

    /// The event that begins a process.
    ///
    /// # Errors
    /// The process has failed, unless the error says otherwise.
    fn begin(&self, init: &CloudEvent) -> Result<Next<Self::State>, HandlerError>;

    /// An event of a process that has begun.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn advance(&self, state: Self::State, event: &CloudEvent) -> Result<Next<Self::State>, HandlerError>;
}

/// Where a process goes with an event.
#[derive(Debug, Clone)]
#[must_use = "it is where the process goes when it is returned"]
pub struct Next<S> {
    state: S,
    drafts: Vec<Draft>,
    output: Option<Result<Map<String, Value>, String>>,
}

impl<S> Next<S> {
    /// To this state.
    pub fn to(state: S) -> Self {
        Self { state, drafts: Vec::new(), output: None }
    }

    /// And says this. Its answer comes back to the process, whose `parentid` is then the id of this event.
    pub fn emit(mut self, draft: Draft) -> Self {
        self.drafts.push(draft);
        self
    }

    /// And is over. Whoever began the process hears of it in an event of the type `<handler>.done` with this data.
    pub fn done(mut self, output: impl Serialize) -> Self {
        self.output = Some(match serde_json::to_value(output) {
            Ok(Value::Object(output)) => Ok(output),
            Ok(_) => Err("the output is no JSON object".to_owned()),
            Err(error) => Err(format!("the output is not JSON: {error}")),
        });
        self
    }
}

impl<S: Serialize> Next<S> {
    fn erased(self) -> Result<Step, HandlerError> {
        let state = serde_json::to_value(self.state)
            .map_err(|error| HandlerError::fail(format!("the state is not JSON: {error}")))?;
        Ok(Step { state, drafts: self.drafts, output: self.output })
    }
}

/// Answers that came to what a process has said last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// By the id of the event they answer, in the order in which they came.
    pub by_event: BTreeMap<String, Vec<CloudEvent>>,
}

impl Collected {
    /// Whether everything that was said has an answer.
    pub fn is_complete(&self) -> bool {
        self.by_event.values().all(|answers| !answers.is_empty())
    }

    /// The answers by their type.
    pub fn by_type(&self) -> BTreeMap<&str, Vec<&CloudEvent>> {
        let mut by_type: BTreeMap<&str, Vec<&CloudEvent>> = BTreeMap::new();
        for answer in self.by_event.values().flatten() {
            by_type.entry(answer.event_type()).or_default().push(answer);
        }
        by_type
    }
}

/// What a resumable is called with.
#[derive(Debug, Clone)]
pub struct Wake<S> {
    /// The state it left; none when the process begins.
    pub state: Option<S>,
    /// The event.
    pub event: CloudEvent,
    /// The answers to what it said last, this event among them.
    pub collected: Collected,
    /// Which run this is: 1 for the first.
    pub attempt: u32,
    /// Fires when whatever is still done does not count any more.
    pub cancel: CancellationToken,
}

/// The code of a process, erased.
pub(crate) trait Logic: Send + Sync {
    fn step(&self, wake: Wake<Value>) -> BoxFuture<'_, Result<Step, HandlerError>>;
}

pub(crate) struct MachineLogic<M>(pub(crate) M);

impl<M: Machine> Logic for MachineLogic<M> {
    fn step(&self, wake: Wake<Value>) -> BoxFuture<'_, Result<Step, HandlerError>> {
        Box::pin(async move {
            let next = match wake.state {
                None => self.0.begin(&wake.event)?,
                Some(state) => self.0.advance(restored(state)?, &wake.event)?,
            };
            next.erased()
        })
    }
}

pub(crate) struct ResumableLogic<S, F> {
    function: F,
    state: PhantomData<fn() -> S>,
}

impl<S, F> ResumableLogic<S, F> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, state: PhantomData }
    }
}

impl<S, F, Fut> Logic for ResumableLogic<S, F>
where
    S: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(Wake<S>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Next<S>, HandlerError>> + Send,
{
    fn step(&self, wake: Wake<Value>) -> BoxFuture<'_, Result<Step, HandlerError>> {
        Box::pin(async move {
            let Wake { state, event, collected, attempt, cancel } = wake;
            let state = state.map(restored).transpose()?;
            (self.function)(Wake { state, event, collected, attempt, cancel }).await?.erased()
        })
    }
}

fn restored<S: DeserializeOwned>(state: Value) -> Result<S, HandlerError> {
    serde_json::from_value(state).map_err(|error| {
        HandlerError::violation(crate::violation::CONFIG, format!("the state cannot be read: {error}"))
    })
}

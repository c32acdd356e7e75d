//! Children: workflows started by workflows. The child, its first message and the parent's note of it are one commit; so are
//! the child's end and the message that tells the parent.

use std::{future::IntoFuture, marker::PhantomData, time::Duration};

use mainspring_core::{
    BoxFuture, Error, Execution, ExecutionId, ExecutionStatus, Failure, MessageId, NewEvent, Reply, Result,
    Timeouts,
    event::kind,
    flow::{Drive, code},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    CONTINUED, Cx, OUTPUT, StepError, Workflow,
    journal::End,
    live::{Go, Live},
    start::first_changes,
    state::Wait,
    step::decode,
};
use crate::call::{DEPTH, MAX_DEPTH};

/// A child about to be started; await it for its result.
#[must_use = "no child is started until this is awaited"]
pub struct ChildCall<O, E> {
    cx: Cx,
    key: String,
    name: String,
    version: String,
    input: Value,
    queue: Option<String>,
    timeouts: Timeouts,
    types: PhantomData<fn() -> (O, E)>,
}

impl<O, E> ChildCall<O, E> {
    pub(crate) fn new<I: Serialize>(cx: Cx, workflow: Workflow<I, O, E>, input: &I) -> Self {
        let key = cx.key(workflow.name());
        let input = serde_json::to_value(input).unwrap_or_else(|error| {
            cx.live.refuse(Failure::new(super::UNSTORABLE, format!("`{key}`: input: {error}")));
            Value::Null
        });
        let (name, version) = (workflow.name().to_owned(), workflow.version_in_row());
        Self {
            cx,
            key,
            name,
            version,
            input,
            queue: None,
            timeouts: super::no_timeouts(),
            types: PhantomData,
        }
    }

    /// The queue of the child's wake-ups. Defaults to the parent's.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// How long it may last; it is cancelled then, which is a [`Halt`](super::Halt) with the code `CANCELLED` here. Defaults to
    /// 100 years.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeouts.execution_timeout_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Starts it and does not wait: its id. It is no member of the family, so it is not cancelled with it.
    pub async fn detach(self) -> ExecutionId {
        let live = &*self.cx.live;
        let (note, loose) = match live.turn(&self.key).await {
            Go::Return(End::Completed(Value::String(id))) => return ExecutionId::from_stored(id),
            Go::Return(_) => {
                live.refuse(Failure::new(super::UNSTORABLE, format!("`{}` is recorded as no id", self.key)));
                return std::future::pending().await;
            }
            Go::Work { note, loose } => (note, loose),
        };
        let Some(id) = note.child.or_else(|| self.begin(false)) else { return std::future::pending().await };
        let end = End::Completed(json!(id));
        live.record_end(kind::STEP_COMPLETED, &self.key, &end, loose, None);
        id
    }

    /// Decides on a new child; `None` when it cannot be, and the parent ends.
    fn begin(&self, reply: bool) -> Option<ExecutionId> {
        let live = &*self.cx.live;
        match self.make(live, reply) {
            Ok(id) => Some(id),
            Err(error) => {
                live.refuse(Failure::new(code::CHILD_FAILED, format!("`{}`: {error}", self.key)));
                None
            }
        }
    }

    fn make(&self, live: &Live, reply: bool) -> Result<ExecutionId> {
        let facts = &live.facts;
        let depth = facts.metadata.get(DEPTH).and_then(Value::as_u64).unwrap_or(0) + 1;
        if depth >= MAX_DEPTH {
            let problem = format!("{depth} levels deep, at most {MAX_DEPTH} are allowed");
            return Err(Error::invalid("child", problem));
        }
        let mut child = Execution::new(ExecutionId::generate(), &self.name, &self.version, &self.name);
        child.tenant.clone_from(&facts.tenant);
        child.queue = self.queue.clone().unwrap_or_else(|| facts.queue.clone());
        child.timeouts = self.timeouts;
        child.metadata.insert(DEPTH.to_owned(), json!(depth));
        if reply {
            child.parent = Some(facts.id.clone());
            child.root = facts.root.clone();
            let (message, to) = (MessageId::generate(), facts.id.clone());
            child.reply = Some(Reply { message, to, queue: facts.queue.clone(), inbox: None });
        }
        let id = child.id.clone();
        let changes = first_changes(child, self.input.clone(), Drive::Queue);
        changes.check()?;
        let event =
            NewEvent::new(kind::CHILD_STARTED, json!({"childExecutionId": id, "workflow": self.name}));
        live.record(event.about(&*self.key), false);
        let mut state = live.lock();
        state.batch.children.extend(changes.executions);
        state.batch.messages.extend(changes.messages);
        Ok(id)
    }
}

impl<O, E> IntoFuture for ChildCall<O, E>
where
    O: DeserializeOwned + Send + 'static,
    E: DeserializeOwned + Send + 'static,
{
    type Output = std::result::Result<O, StepError<E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// Its result; its own error as it is; a [`Halt`](super::Halt) when it was cancelled or failed otherwise.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let live = &*self.cx.live;
            let (note, loose) = match live.turn(&self.key).await {
                Go::Return(end) => return decode(&self.key, end),
                Go::Work { note, loose } => (note, loose),
            };
            let id = match note.child {
                Some(id) => {
                    live.lock().look_again();
                    id
                }
                None => match self.begin(true) {
                    Some(id) => id,
                    None => return std::future::pending().await,
                },
            };
            live.wait(&self.key, Wait::Child(id.clone())).await;
            let end = live.lock().ended.remove(&id);
            let gone = || End::Broken(Failure::new(code::CHILD_FAILED, "the child left no result"));
            let end = end.unwrap_or_else(gone);
            live.record_end(kind::CHILD_FINISHED, &self.key, &end, loose, None);
            decode(&self.key, end)
        })
    }
}

/// How a child ended, or the execution it goes on as; `None` while it has not ended.
pub(crate) fn end_of(child: &Execution) -> Option<std::result::Result<End, ExecutionId>> {
    Some(Ok(match child.status {
        ExecutionStatus::Completed => {
            if let Some(next) = continued(child) {
                return Some(Err(next));
            }
            End::Completed(child.context.get(OUTPUT).cloned().unwrap_or(Value::Null))
        }
        ExecutionStatus::Failed => {
            let failure = child.error.clone();
            match failure {
                Some(failure) => match failure.details.get(super::ERROR) {
                    Some(error) if failure.code == super::WORKFLOW_ERROR => End::App(error.clone()),
                    _ => End::Broken(failure),
                },
                None => End::Broken(Failure::new(code::CHILD_FAILED, "the child left no error")),
            }
        }
        ExecutionStatus::Cancelled => End::Broken(Failure::new(code::CANCELLED, "the child was cancelled")),
        _ => return None,
    }))
}

/// The execution that a workflow went on as.
pub(crate) fn continued(execution: &Execution) -> Option<ExecutionId> {
    let id = execution.context.get(CONTINUED)?.as_str()?;
    Some(ExecutionId::from_stored(id.to_owned()))
}

//! What comes from outside: signals, and payloads for hooks. One commit puts it into the inbox and knocks.

use std::{future::IntoFuture, time::Duration};

use mainspring_core::{
    Append, Available, BoxFuture, Changes, Error, Execution, ExecutionId, MessageId, NewMessage, Result,
    ResumeToken, TokenSecret, TokenWrite,
    event::kind,
    flow::{WAKE, wake_message},
    limits,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{MANY, child::continued, inbox};
use crate::{Engine, engine::Inner};

/// In a wake-up's data: it only says that there is something to see.
pub(crate) const KNOCK: &str = "knock";
/// Most executions one goes on as that are followed.
const LONGEST_CHAIN: u32 = 10_000;

/// A signal about to be sent; await it. See [`Engine::signal`].
#[must_use = "nothing is sent until this is awaited"]
pub struct Signal {
    engine: Engine,
    to: ExecutionId,
    name: String,
    payload: Result<Value>,
    id: Option<String>,
    tenant: String,
}

impl Engine {
    /// Sends a signal to a workflow: `engine.signal(&id, "paid", &payment).await?`. It is kept until the workflow asks for it,
    /// even when the workflow has not been started yet.
    pub fn signal(&self, to: &ExecutionId, name: impl Into<String>, payload: &impl Serialize) -> Signal {
        let payload = serde_json::to_value(payload).map_err(|error| {
            Error::invalid("signal.payload", "cannot be written as JSON").with_source(error)
        });
        let (engine, to) = (self.clone(), to.clone());
        Signal { engine, to, name: name.into(), payload, id: None, tenant: String::new() }
    }

    /// Lets a parked workflow look again whether it can go on: after its code was mended, for example.
    ///
    /// # Errors
    /// Not found; otherwise only those of the backend.
    pub async fn nudge(&self, id: &ExecutionId) -> Result<()> {
        let inner = &self.0;
        let execution = inner.load(id).await?.ok_or_else(|| Error::not_found("execution", id))?;
        let changes = Changes { messages: vec![knock_for(&execution)], ..Changes::default() };
        inner.commit(&changes).await.map(drop)
    }
}

impl Signal {
    /// The signal's own id: another one of the same name and id counts for nothing. Defaults to one of its own.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The tenant of a workflow that has not been started yet. Defaults to none.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    async fn send(self) -> Result<()> {
        limits::check_name("signal.name", &self.name)?;
        let inner = &self.engine.0;
        // The same id for every try: a commit whose answer was lost may be repeated.
        let id = self.id.unwrap_or_else(|| MessageId::generate().to_string());
        let payload = self.payload?;
        let mut to = self.to;
        for _ in 0..LONGEST_CHAIN {
            let found = inner.load(&to).await?;
            if let Some(next) = found.as_ref().and_then(continued) {
                to = next;
                continue;
            }
            let event = inbox::event(kind::SIGNAL_RECEIVED, &self.name, payload.clone(), Some(id.clone()));
            let changes = match &found {
                Some(execution) => {
                    refuse_over(execution)?;
                    delivered(execution, event)
                }
                None => {
                    let mut append = Append::to(inbox::stream(&to), vec![event]);
                    append.tenant.clone_from(&self.tenant);
                    let mut message = knock(&inner.options.queue, &self.tenant, &to);
                    message.available = Available::After(Duration::ZERO);
                    Changes { appends: vec![append], messages: vec![message], ..Changes::default() }
                }
            };
            inner.commit_idempotent(&changes).await?;
            // It may have gone on as another one in the meantime, and left this behind.
            match inner.load(&to).await?.as_ref().and_then(continued) {
                Some(next) => to = next,
                None => return Ok(()),
            }
        }
        Err(Error::conflict(format!("execution `{to}` goes on as another one too often")))
    }
}

impl IntoFuture for Signal {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// Sends it; durable when this returns.
    ///
    /// # Errors
    /// Conflict when the workflow is over, or is a flow; invalid, naming the limit.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

fn refuse_over(execution: &Execution) -> Result<()> {
    if !super::is_workflow(execution) {
        let problem = format!("execution `{}` is one of a flow, which gets no signals", execution.id);
        return Err(Error::conflict(problem));
    }
    if execution.status.is_terminal() {
        return Err(Error::conflict(format!("execution `{}` is {}", execution.id, execution.status)));
    }
    Ok(())
}

fn delivered(execution: &Execution, event: mainspring_core::NewEvent) -> Changes {
    let mut append = Append::to(inbox::stream(&execution.id), vec![event]);
    append.tenant.clone_from(&execution.tenant);
    Changes { appends: vec![append], messages: vec![knock_for(execution)], ..Changes::default() }
}

/// The message that says there is something to see.
pub(crate) fn knock_for(execution: &Execution) -> NewMessage {
    let mut message = wake_message(execution, MessageId::generate(), Available::Now);
    message.data = json!({KNOCK: true});
    message
}

fn knock(queue: &str, tenant: &str, to: &ExecutionId) -> NewMessage {
    let mut message = NewMessage::new(queue, WAKE, json!({KNOCK: true}));
    message.tenant = tenant.to_owned();
    message.subject = Some(to.to_string());
    message.max_attempts = Some(limits::MAX_ATTEMPTS);
    message
}

impl Inner {
    /// For changes that count once however often they are committed.
    async fn commit_idempotent(&self, changes: &Changes) -> Result<()> {
        match self.commit(changes).await {
            Err(error) if error.is_commit_unknown() => self.commit(changes).await.map(drop),
            result => result.map(drop),
        }
    }

    /// A payload for the hook of a workflow. `None` when the token was spent in the meantime.
    pub(crate) async fn receive(
        &self,
        execution: &Execution,
        token: &ResumeToken,
        secret: &TokenSecret,
        payload: &Value,
    ) -> Result<Option<Execution>> {
        refuse_over(execution)?;
        let event = inbox::event(kind::HOOK_RECEIVED, &token.step_id, payload.clone(), None);
        let mut changes = delivered(execution, event);
        if !token.metadata.contains_key(MANY) {
            changes.tokens.push(TokenWrite::Consume(secret.hash()));
        }
        match self.commit(&changes).await {
            Ok(_) => Ok(Some(execution.clone())),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

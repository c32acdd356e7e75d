//! Resuming: someone outside wakes a waiting execution with data.
//!
//! ```text
//!                        ┌─ its wait is open ──► token spent · data stored · wake-up pushed        one commit
//! token ──► still works ─┼─ not yet begun ─────► token spent · data kept in a message              one commit
//!                        └─ over ──────────────► refused, and says why
//! ```
//!
//! A token is never spent for nothing, and two callers never both win. A kept resume is a message that is put off until the
//! wait begins; it is applied in the commit that settles it.

use std::time::Duration;

use mainspring_core::{
    Append, CancelSource, Changes, Delivery, Error, ErrorKind, Execution, ExecutionId, ExecutionStatus,
    Failure, NewEvent, NewMessage, Result, ResumeToken, Settle, Settlement, TokenHash, TokenSecret,
    TokenStatus, TokenWrite, event::kind, execution::stream_of, flow::RESUME, flow::resumed, limits,
};
use mainspring_worker::Verdict;
use serde_json::{Value, json};
use tracing::Instrument;

use crate::{
    Engine,
    deliver::{again, subject},
    engine::Inner,
    place::Place,
    spans,
};

/// A kept resume is looked at again after half its age, within these bounds.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(30);

impl Engine {
    /// Spends a token and lets its execution go on. The data is in its context as `resumeData`.
    ///
    /// When the wait that the token is for has not begun yet, the token is spent all the same and the data kept: a worker of
    /// the execution's queue resumes it when it waits. The execution is then returned as it is, not yet waiting.
    ///
    /// # Errors
    /// Not found when the token is unknown; [expired](Error::is_expired) when its time or its wait is over; conflict, saying
    /// which, when it was used or revoked, or when its execution is over or was resumed by someone else; invalid when the
    /// data does not fit. After any of these the token is as it was.
    pub async fn resume(&self, token: &TokenSecret, data: impl Into<Value>) -> Result<Execution> {
        in_span(self.resume_by(token, data.into())).await
    }

    async fn resume_by(&self, token: &TokenSecret, data: Value) -> Result<Execution> {
        let inner = &*self.0;
        loop {
            let Some(found) = inner.patiently(|| inner.backend.tokens().get(token)).await? else {
                return Err(Error::new(ErrorKind::NotFound, "token not found"));
            };
            if let Some(refusal) = found.status.refused() {
                return Err(inner.given_up(&found).await?.unwrap_or(refusal));
            }
            let id = &found.execution_id;
            let execution = inner.load(id).await?.ok_or_else(|| Error::not_found("execution", id))?;
            if crate::workflow::is_workflow(&execution) {
                match inner.receive(&execution, &found, token, &data).await? {
                    Some(execution) => return Ok(execution),
                    None => continue,
                }
            }
            let taken = match inner.place_now(&execution, &found).await? {
                Place::Ahead => inner.keep_resume(execution, &found, &data, token.hash()).await?,
                Place::Here => inner.resume_once(execution, &data, Some(token.hash())).await?,
                Place::Over => {
                    let problem = format!("token expired: the wait of step `{}` is over", found.step_id);
                    return Err(Error::expired(problem));
                }
                Place::Resumed => {
                    let problem = format!("execution `{id}` was resumed, it is not waiting for this token");
                    return Err(Error::conflict(problem));
                }
            };
            if let Some(execution) = taken {
                return Ok(execution);
            }
        }
    }

    /// Lets a waiting execution go on, without a token. The data is in its context as `resumeData`.
    ///
    /// # Errors
    /// Not found; conflict when it does not wait, or waits for a job or a child; invalid when the data does not fit.
    pub async fn resume_execution(&self, id: &ExecutionId, data: impl Into<Value>) -> Result<Execution> {
        let data = data.into();
        in_span(async {
            loop {
                let execution = self.0.load(id).await?.ok_or_else(|| Error::not_found("execution", id))?;
                if let Some(execution) = self.0.resume_once(execution, &data, None).await? {
                    return Ok(execution);
                }
            }
        })
        .await
    }
}

async fn in_span(resume: impl Future<Output = Result<Execution>>) -> Result<Execution> {
    let span = spans::resume();
    let resumed = resume.instrument(span.clone()).await;
    match &resumed {
        Ok(execution) => drop(span.record("execution", execution.id.as_str())),
        Err(error) => spans::failed(&span, error.code()),
    }
    resumed
}

impl Inner {
    /// `None` when someone changed the execution in the meantime, and it has to be looked at again.
    async fn resume_once(
        &self,
        execution: Execution,
        data: &Value,
        token: Option<TokenHash>,
    ) -> Result<Option<Execution>> {
        let (id, revision) = (execution.id.clone(), execution.revision);
        let changes = resumed(execution, data.clone(), token, &self.options.limits)?;
        match self.commit(&changes).await {
            Ok(committed) => {
                let write = changes.executions.into_iter().next();
                Ok(write.map(|write| write.applied(committed.at)))
            }
            Err(error) if error.is_conflict() => {
                let moved = self.load(&id).await?.is_none_or(|stored| stored.revision != revision);
                // Not the execution but the token was in the way: its row says why.
                if moved || token.is_some() { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Where the wait of a token is, for an execution that can still come to it.
    async fn place_now(&self, execution: &Execution, token: &ResumeToken) -> Result<Place> {
        if execution.status.is_terminal() || execution.status == ExecutionStatus::Cancelling {
            let problem = format!("execution `{}` is {}, not waiting", execution.id, execution.status);
            return Err(Error::conflict(problem));
        }
        self.place(execution, token).await
    }

    /// Why a token was revoked, when it was because its execution or its wait took too long.
    async fn given_up(&self, token: &ResumeToken) -> Result<Option<Error>> {
        if token.status != TokenStatus::Revoked {
            return Ok(None);
        }
        let cancelled = self.load(&token.execution_id).await?.and_then(|execution| execution.cancellation);
        let late = cancelled.filter(|cancelled| cancelled.source == CancelSource::Timeout);
        Ok(late.map(|cancelled| {
            let reason = cancelled.reason.unwrap_or_default();
            Error::expired(format!(
                "token expired: execution `{}` was cancelled, {reason}",
                token.execution_id
            ))
        }))
    }

    /// Spends a token whose wait has not begun, and keeps the data. `None` when the token was spent in the meantime.
    async fn keep_resume(
        &self,
        execution: Execution,
        token: &ResumeToken,
        data: &Value,
        hash: TokenHash,
    ) -> Result<Option<Execution>> {
        limits::check_json("resume.data", data)?;
        self.options.limits.set(&mut execution.context.clone(), "resumeData", data.clone())?;
        let mut message =
            NewMessage::new(execution.queue.clone(), RESUME, json!({"token": token.id, "data": data}));
        message.tenant.clone_from(&execution.tenant);
        message.subject = Some(execution.id.to_string());
        message.max_attempts = Some(limits::MAX_ATTEMPTS);
        let spent = NewEvent::new(kind::TOKEN_USED, json!({"tokenId": token.id, "kept": true}))
            .about(token.step_id.clone());
        let append = Append::to(stream_of(&execution.id), vec![spent]);
        let changes = Changes {
            tokens: vec![TokenWrite::Consume(hash)],
            messages: vec![message],
            appends: vec![Append { tenant: execution.tenant.clone(), ..append }],
            ..Changes::default()
        };
        match self.commit(&changes).await {
            Ok(_) => Ok(Some(execution)),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies a kept resume, or puts it off until its wait begins.
    pub(crate) async fn resume_kept(&self, delivery: &Delivery) -> Verdict {
        match Box::pin(self.apply_kept(delivery)).await {
            Ok(verdict) => verdict,
            Err(error) if error.is_invalid() => {
                Settlement::DeadLetter(Failure::new(error.code(), error.chain())).into()
            }
            Err(error) => again(delivery, &error),
        }
    }

    pub(crate) async fn apply_kept(&self, delivery: &Delivery) -> Result<Verdict> {
        let Some(id) = subject(delivery) else { return Ok(Settlement::Done.into()) };
        let Some(execution) = self.load(&id).await? else { return Ok(Settlement::Done.into()) };
        if execution.status.is_terminal() {
            tracing::info!(execution = %id, "is over; what it was to be resumed with is dropped");
            return Ok(Settlement::Done.into());
        }
        let named = delivery.message.data.get("token").and_then(Value::as_str);
        let tokens = self.patiently(|| self.backend.tokens().get_by_execution(&id)).await?;
        let token = tokens.into_iter().find(|token| Some(token.id.as_str()) == named);
        let Some(token) = token else { return Ok(Settlement::Done.into()) };
        let now = self.backend.now();
        let pause = (now.since(delivery.created_at) / 2).clamp(SOON, LATE);
        let later = Ok(Settlement::SnoozeUntil(now + pause).into());
        match self.place(&execution, &token).await? {
            Place::Ahead => return later,
            Place::Over | Place::Resumed => {
                tracing::info!(execution = %id, "its wait was over first; what it was to be resumed with is dropped");
                return Ok(Settlement::Done.into());
            }
            Place::Here => {}
        }
        let data = delivery.message.data.get("data").cloned().unwrap_or_default();
        let mut changes = match resumed(execution, data, None, &self.options.limits) {
            Err(error) if error.is_conflict() => return later, // it waits for a job or a child
            changes => changes?,
        };
        changes.settle = Some(Settle::new(delivery.lease.clone(), Settlement::Done));
        match self.commit(&changes).await {
            Ok(_) => Ok(Verdict::Committed),
            Err(error) if error.is_fenced() => Ok(Verdict::Abandoned),
            Err(error) if error.is_conflict() || error.is_commit_unknown() => later,
            Err(error) => Err(error),
        }
    }
}

//! Steps of a workflow that are done elsewhere.
//!
//! Such a step is a job. Its record, the job and the message that has it run are one commit; so are the job's end, its result in
//! the execution's inbox and the knock.

use std::{future::IntoFuture, marker::PhantomData, time::Duration};

use mainspring_core::{
    BoxFuture, Failure, Job, JobId, JobWrite, MessageId, NewEvent, NewMessage, Reply, Result,
    event::kind,
    flow::{JOB_RUN, RetryPolicy},
    limits, nul,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Cx, StepError,
    error::Halt,
    inbox,
    journal::End,
    live::{Go, Live},
    state::Wait,
    step::decode,
};
use crate::remote_run::Terms;

/// A step that is done elsewhere; await it for its result. See [`Cx::call`].
#[must_use = "nothing is called until this is awaited"]
pub struct RemoteStep<T> {
    cx: Cx,
    key: String,
    handler: String,
    input: Value,
    terms: Terms,
    queue: Option<String>,
    types: PhantomData<fn() -> T>,
}

impl<T> RemoteStep<T> {
    pub(crate) fn new(cx: Cx, handler: &str, input: &impl Serialize) -> Self {
        let key = cx.key(handler);
        let input = serde_json::to_value(input).unwrap_or_else(|error| {
            cx.live.refuse(Failure::new(super::UNSTORABLE, format!("`{key}`: input: {error}")));
            Value::Null
        });
        let (handler, terms) = (handler.to_owned(), Terms::default());
        Self { cx, key, handler, input, terms, queue: None, types: PhantomData }
    }

    /// Runs it again when it fails, as the policy says, unless the handler says when or that it is for good. Lost workers do not
    /// count. Defaults to three runs, a second after the first failure, then two.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        if let Err(error) = policy.check("step.retry") {
            self.cx.live.refuse(Failure::new(super::INVALID_STEP, error.to_string()));
        }
        self.terms.retry = Some(policy);
        self
    }

    /// How long one run may take; it is cancelled then and counts as failed. Defaults to any length.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.terms.timeout_ms = Some(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The queue it is pushed to. Defaults to the engine's [`step_queue`](crate::EngineBuilder::step_queue).
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Some(name.into());
        self
    }

    /// Decides on the job.
    fn begin(&self, live: &Live) -> Result<JobId> {
        let facts = &live.facts;
        let input = nul::escape(self.input.clone());
        let mut job = Job::new(facts.id.clone(), &self.key, &self.handler, input);
        job.tenant.clone_from(&facts.tenant);
        if let Some(retry) = &self.terms.retry {
            job.max_attempts = retry.max_attempts.min(limits::MAX_ATTEMPTS);
        }
        job.reply = Some(Reply {
            message: MessageId::generate(),
            to: facts.id.clone(),
            queue: facts.queue.clone(),
            inbox: Some(self.key.clone()),
        });
        job.check()?;
        let queue = self.queue.as_ref().unwrap_or(&facts.step_queue);
        let mut message = NewMessage::new(queue, JOB_RUN, self.terms.data());
        // Only this message runs the job: a copy under another id does not.
        message.id = MessageId::new(job.id.as_str())?;
        message.tenant.clone_from(&facts.tenant);
        message.subject = Some(job.id.to_string());
        message.to = Some(self.handler.clone());
        message.max_attempts = Some(limits::MAX_ATTEMPTS); // the job counts its own
        message.check()?;
        let waiting =
            json!({"for": inbox::step(&self.key, job.id.as_str()), "jobId": job.id, "handler": self.handler});
        live.record(NewEvent::new(kind::STEP_WAITING, waiting).about(&*self.key), false);
        let id = job.id.clone();
        let mut state = live.lock();
        state.batch.jobs.push(JobWrite::Create(Box::new(job)));
        state.batch.messages.push(message);
        Ok(id)
    }

    async fn end(&self, live: &Live) -> End {
        let (note, loose) = match live.turn(&self.key).await {
            Go::Return(end) => return end,
            Go::Work { note, loose } => (note, loose),
        };
        let job = note.job.map_or_else(|| self.begin(live), Ok).unwrap_or_else(|error| {
            live.refuse(Failure::new(super::INVALID_STEP, format!("`{}`: {error}", self.key)));
            JobId::generate()
        });
        let told = live.wait(&self.key, Wait::Inbox(inbox::step(&self.key, job.as_str()), None)).await;
        let (fact, position) = told.unwrap_or_default();
        let end = End::read(&fact);
        let kind = if matches!(end, End::Completed(_)) { kind::STEP_COMPLETED } else { kind::STEP_FAILED };
        live.record_end(kind, &self.key, &end, loose, Some(position));
        end
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for RemoteStep<T> {
    type Output = std::result::Result<T, Halt>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// The result of its handler; a [`Halt`] with the failure of its last run.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let end = match self.end(&self.cx.live).await {
                End::Completed(result) => End::Completed(nul::unescape(result)),
                failed => failed,
            };
            decode::<T, Value>(&self.key, end).map_err(|error| match error {
                StepError::Halted(halt) => halt,
                StepError::App(error) => Halt::new(Failure::new(super::PAYLOAD, error.to_string())),
            })
        })
    }
}

//! Running jobs: claim, run, and one commit that ends the job, answers the execution that waits, and settles the message.
//!
//! The right to run a job follows its message: whoever holds the message's lease may take the job from whoever held it
//! before. So a job has no liveness of its own; its holder is a name without a liveness row. A job that is run without a
//! message, by [`Engine::run`](crate::Engine::run), is held under a name that is alive as long as that call, and left alone
//! by workers so long.

use std::{future::pending, sync::Arc, time::Duration};

use mainspring_core::{
    Append, Changes, Delivery, Failure, Job, JobId, JobStatus, JobWrite, MessageId, NewEvent, NewMessage,
    Result, Settle, Settlement, Timestamp, WorkerId,
    event::kind,
    execution::stream_of,
    flow::{code, reply_message},
    nul,
    trace::{inherited, within},
};
use mainspring_worker::{Verdict, caught, jittered};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    HandlerError, JobRun,
    call::{Aborting, LAST_WORDS, returned},
    deliver::again,
    engine::Inner,
    handler::ErasedJob,
    left::Thing,
    remote_run::{Terms, input_of, is_called, is_copy, told, too_slow},
    running::Work,
    spans,
};

/// How soon a job that someone else runs is looked at again: no later than when its holder counts as dead, and earlier
/// because a holder may also let go.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(10);

/// How one run of a job ended.
enum Ran {
    Well(Value),
    Badly(HandlerError),
    /// It was told to stop, and whatever it said does not count.
    Interrupted,
}

impl Inner {
    pub(crate) async fn deliver_job(&self, delivery: &Delivery, cancel: &CancellationToken) -> Verdict {
        match Box::pin(self.job(delivery, cancel)).await {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::warn!(message = %delivery.message.id, error = %error.chain(), "a job cannot be run now");
                again(delivery, &error)
            }
        }
    }

    async fn job(&self, delivery: &Delivery, cancel: &CancellationToken) -> Result<Verdict> {
        let Some(id) = subject(delivery).filter(|_| !is_copy(delivery)) else {
            return Ok(Settlement::Done.into());
        };
        let nobody = WorkerId::generate();
        let mut claimed = None;
        if delivery.attempt() == 1 {
            claimed = self.patiently(|| self.backend.jobs().claim(&id, &nobody)).await?;
        }
        if claimed.is_none() {
            claimed = self.patiently(|| self.backend.jobs().take_over(&id, &nobody)).await?;
        }
        let Some(job) = claimed else { return self.not_ours(&id, delivery).await };
        let settle = |settlement| Some(Settle::new(delivery.lease.clone(), settlement));
        let terms = Terms::of(delivery);
        let running = self.run_job(&job, cancel);
        let ran = match terms.timeout() {
            Some(longest) => {
                timeout(longest, running).await.unwrap_or_else(|_| Ran::Badly(too_slow(longest)))
            }
            None => running.await,
        };
        let (changes, status) = match ran {
            Ran::Interrupted => return self.stopped(&id).await,
            Ran::Well(result) => (ended(&job, Ok(result), settle(Settlement::Done)), JobStatus::Completed),
            Ran::Badly(error) => match terms.again(&job, &error) {
                None => (ended(&job, Err(*error.failure), settle(Settlement::Done)), JobStatus::Failed),
                Some(delay) => {
                    let later = Settlement::RetryAfter { delay, error: (*error.failure).clone() };
                    (retried(&job, *error.failure, settle(later)), JobStatus::Pending)
                }
            },
        };
        self.commit_job(&job, changes, status, settle(Settlement::Done)).await
    }

    /// Commits the end of a run. A result that cannot be stored is the job's failure.
    async fn commit_job(
        &self,
        job: &Job,
        changes: Changes,
        status: JobStatus,
        settle: Option<Settle>,
    ) -> Result<Verdict> {
        let error = match self.commit(&changes).await {
            Ok(committed) => {
                self.tell_of_job(job, &changes, committed.at);
                return Ok(Verdict::Committed);
            }
            Err(error) => error,
        };
        if error.is_fenced() {
            return self.stopped(&job.id).await;
        }
        if error.is_commit_unknown() {
            let stored = self.patiently(|| self.backend.jobs().get(&job.id)).await?;
            return match stored {
                Some(stored) if stored.token == job.token && stored.status == JobStatus::Running => {
                    Err(error)
                }
                _ => Ok(Verdict::Committed),
            };
        }
        if error.is_invalid() && status == JobStatus::Completed {
            let failure = Failure::new(code::HANDLER_ERROR, error.to_string());
            let changes = ended(job, Err(failure), settle);
            return match self.commit(&changes).await {
                Ok(committed) => {
                    self.tell_of_job(job, &changes, committed.at);
                    Ok(Verdict::Committed)
                }
                Err(error) if error.is_fenced() => self.stopped(&job.id).await,
                Err(error) => Err(error),
            };
        }
        Err(error)
    }

    /// Runs a job once, in its own task.
    async fn run_job(&self, job: &Job, cancel: &CancellationToken) -> Ran {
        let handler: Arc<dyn ErasedJob> = match self.handlers.job(&job.handler) {
            Some(handler) => handler,
            None => {
                let message = format!("no job handler is called `{}`", job.handler);
                return Ran::Badly(HandlerError::terminal(code::HANDLER_NOT_FOUND, message));
            }
        };
        let stop = cancel.child_token();
        let _entry = self.running.enter(&job.execution_id, Work::Job(job.lease()), &stop);
        let run = JobRun::new(Arc::clone(&self.backend), job.clone(), stop.clone(), self.options.lease);
        let (theirs, input) = (run.clone(), input_of(job));
        let span = spans::job(job);
        let work = within(inherited(), caught(async move { handler.run(theirs, input).await }));
        let mut task = Aborting(tokio::spawn(work.instrument(span.clone())));
        let reply = tokio::select! {
            biased;
            reply = &mut task.0 => reply,
            () = stop.cancelled() => {
                drop(timeout(LAST_WORDS, &mut task.0).await);
                return Ran::Interrupted;
            }
        };
        match reply {
            _ if run.is_superseded() => Ran::Interrupted,
            reply => match returned(reply).and_then(|result| result) {
                Ok(result) => Ran::Well(result),
                Err(error) => {
                    spans::failed(&span, &error.failure.code);
                    Ran::Badly(error)
                }
            },
        }
    }

    /// The run does not count: because the job is over, or because it is someone else's now.
    async fn stopped(&self, id: &JobId) -> Result<Verdict> {
        let stored = self.patiently(|| self.backend.jobs().get(id)).await?;
        let over = stored.is_none_or(|job| job.status.is_terminal());
        Ok(if over { Settlement::Done.into() } else { Verdict::Abandoned })
    }

    /// A job that could not be claimed.
    async fn not_ours(&self, id: &JobId, delivery: &Delivery) -> Result<Verdict> {
        let Some(job) = self.patiently(|| self.backend.jobs().get(id)).await? else {
            return Ok(Settlement::Done.into());
        };
        if !job.status.is_terminal() {
            let held = self.patiently(|| self.backend.jobs().held_until(id)).await?;
            let now = self.backend.now();
            let at = held.map_or(now, |until| until.min(now + LOOK_AGAIN)).max(now + SOON);
            return Ok(Settlement::SnoozeUntil(at).into());
        }
        if job.status == JobStatus::Failed && is_called(&job) {
            return self.tell_again(job, delivery).await;
        }
        // Ended without its message, for example reset when it had stalled too often: the one who waits must still hear.
        if job.status != JobStatus::Cancelled
            && let Some(reply) = &job.reply
            && let Some(waiting) = self.load(&reply.to).await?
            && waiting.driver.as_ref() == Some(&reply.message)
        {
            let changes = Changes {
                messages: vec![reply_message(reply, &job.tenant, json!({"job": job.id}))],
                settle: Some(Settle::new(delivery.lease.clone(), Settlement::Done)),
                ..Changes::default()
            };
            return match self.commit(&changes).await {
                Ok(_) => Ok(Verdict::Committed),
                Err(error) if error.is_fenced() => Ok(Verdict::Abandoned),
                Err(error) if error.is_conflict() => Ok(Settlement::Done.into()), // it is in the queue already
                Err(error) => Err(error),
            };
        }
        Ok(Settlement::Done.into())
    }

    /// A called step that failed without its message: the workflow must still hear, and hears it once.
    async fn tell_again(&self, job: Job, delivery: &Delivery) -> Result<Verdict> {
        let failure = job.error.clone().unwrap_or_else(|| Failure::new(code::JOB_FAILED, "left no error"));
        let mut changes =
            Changes { appends: told(&job, &Err(failure)).into_iter().collect(), ..Changes::default() };
        changes.settle = Some(Settle::new(delivery.lease.clone(), Settlement::Done));
        let data = json!({"job": job.id});
        let knock = job.reply.as_ref().map(|reply| reply_message(reply, &job.tenant, data));
        changes.messages.extend(knock.map(|knock| NewMessage { id: MessageId::generate(), ..knock }));
        match self.commit(&changes).await {
            Ok(_) => Ok(Verdict::Committed),
            Err(error) if error.is_fenced() => Ok(Verdict::Abandoned),
            Err(error) => Err(error),
        }
    }

    /// Fails the job that a message runs.
    pub(crate) async fn fail_job(&self, delivery: &Delivery, why: Failure) -> Result<Verdict> {
        let Some(id) = subject(delivery) else { return Ok(Settlement::Done.into()) };
        let nobody = WorkerId::generate();
        let Some(job) = self.patiently(|| self.backend.jobs().take_over(&id, &nobody)).await? else {
            return self.not_ours(&id, delivery).await;
        };
        let settle = Some(Settle::new(delivery.lease.clone(), Settlement::Done));
        let changes = ended(&job, Err(why), settle.clone());
        self.commit_job(&job, changes, JobStatus::Failed, settle).await
    }

    /// Runs a job here, without its message; whether this process could have it.
    pub(crate) async fn run_job_here(&self, id: &JobId) -> Result<bool> {
        self.local.holder().await?;
        let holder = WorkerId::generate();
        let _leaving = self.left.leaving(Thing::Holder(holder.clone()));
        self.patiently(|| self.backend.queue().register(&holder, self.options.lease)).await?;
        let Some(job) = self.patiently(|| self.backend.jobs().claim(id, &holder)).await? else {
            return Ok(false);
        };
        let cancel = CancellationToken::new();
        let ran = tokio::select! {
            ran = self.run_job(&job, &cancel) => ran,
            ran = self.keep(&holder, &cancel) => ran,
        };
        let changes = match ran {
            Ran::Interrupted => return Ok(false),
            Ran::Well(result) => ended(&job, Ok(result), None),
            Ran::Badly(error) if error.terminal || !job.may_retry() => ended(&job, Err(*error.failure), None),
            Ran::Badly(error) => retried(&job, *error.failure, None),
        };
        match self.commit_job(&job, changes, JobStatus::Completed, None).await? {
            Verdict::Committed => Ok(true),
            _ => Ok(false),
        }
    }

    /// Keeps a holder alive, and cancels what it does when it was found dead.
    async fn keep<T>(&self, holder: &WorkerId, cancel: &CancellationToken) -> T {
        let lease = self.options.lease;
        let mut pause = lease / 4;
        loop {
            sleep(jittered(pause)).await;
            pause = match self.backend.queue().extend(holder, lease).await {
                Ok(()) => lease / 4,
                Err(error) if error.is_fenced() => {
                    cancel.cancel();
                    return pending().await;
                }
                Err(error) => {
                    tracing::warn!(%holder, error = %error.chain(), "cannot extend the lease of a job");
                    lease / 20
                }
            };
        }
    }

    fn tell_of_job(&self, job: &Job, changes: &Changes, at: Timestamp) {
        let mut told = mainspring_core::Execution::new(job.execution_id.clone(), "", "", &job.step_id);
        told.tenant.clone_from(&job.tenant);
        for append in &changes.appends {
            self.listeners.tell(&told, &append.events, at);
        }
    }
}

fn subject(delivery: &Delivery) -> Option<JobId> {
    delivery.message.subject.as_deref().and_then(|id| JobId::new(id).ok())
}

/// The end of a job, for good.
fn ended(job: &Job, outcome: std::result::Result<Value, Failure>, settle: Option<Settle>) -> Changes {
    let outcome = if is_called(job) { outcome.map(nul::escape) } else { outcome };
    let mut changes = Changes { settle, appends: facts(job), ..Changes::default() };
    changes.appends.extend(told(job, &outcome));
    changes.jobs.push(match outcome {
        // It is told to the workflow, whose history keeps it.
        Ok(_) if is_called(job) => JobWrite::Complete(job.lease(), Value::Null),
        Ok(result) => JobWrite::Complete(job.lease(), result),
        Err(failure) => JobWrite::Fail(job.lease(), with_step(job, failure)),
    });
    let data = json!({"job": job.id});
    changes.messages.extend(job.reply.as_ref().map(|reply| reply_message(reply, &job.tenant, data)));
    changes
}

/// The end of one run; another will follow.
fn retried(job: &Job, failure: Failure, settle: Option<Settle>) -> Changes {
    let jobs = vec![JobWrite::Retry(job.lease(), with_step(job, failure))];
    Changes { jobs, settle, appends: facts(job), ..Changes::default() }
}

fn with_step(job: &Job, failure: Failure) -> Failure {
    Failure { step_id: Some(job.step_id.clone()), ..failure }
}

/// What is recorded of a run: that it was claimed, and from whom.
fn facts(job: &Job) -> Vec<Append> {
    let fact = |event_type: &str, data| NewEvent::new(event_type, data).about(job.step_id.clone());
    let mut facts = Vec::new();
    if job.lost > 0 {
        facts.push(fact(kind::JOB_SUPERSEDED, json!({"jobId": job.id, "lost": job.lost})));
    }
    facts.push(fact(kind::JOB_CLAIMED, json!({"jobId": job.id, "attempt": job.attempts})));
    vec![Append { tenant: job.tenant.clone(), ..Append::to(stream_of(&job.execution_id), facts) }]
}

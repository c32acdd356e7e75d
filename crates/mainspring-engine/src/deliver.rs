//! Driven by a worker: what a wake-up message leads to.
//!
//! The message is settled in the commit that ends the drive, so there is no moment in which an execution has no driver. A
//! message that is not its execution's driver is stale and goes away: that makes old timers harmless.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    BoxFuture, CancelSource, Delivery, Execution, ExecutionId, ExecutionStatus, Failure, JobId, NewEvent,
    Result, Settle, Settlement,
    event::kind,
    flow::{Answer, JOB_RUN, RESUME, WAKE, code, woken},
};
use mainspring_worker::{Deliver, Verdict, deadline, retry_delay, within_time, worker_lost};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    CancelRequest,
    drive::{Driven, Seat, Standing},
    engine::Inner,
    local::look,
};

/// How soon an execution is looked at again after the database gave up on it: no failure of its own.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How long whoever asked for a cancel may take to finish it.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

pub(crate) struct EngineDeliver(pub(crate) Arc<Inner>);

impl Deliver for EngineDeliver {
    fn deliver(&self, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            if !delivery.is_last_try() {
                return self.0.delivered(&delivery, &cancel).await;
            }
            let tried = within_time(deadline(&delivery), self.0.delivered(&delivery, &cancel)).await;
            let verdict = tried.unwrap_or_else(Verdict::Failed);
            match verdict.gives_up(&delivery) {
                Some(why) => self.0.give_up_on(&delivery, why.clone()).await,
                None => verdict,
            }
        })
    }

    /// A step that kills its workers fails; the execution goes on from that failure instead of being lost.
    fn lost(&self, delivery: Delivery) -> BoxFuture<'_, Verdict> {
        Box::pin(async move { self.0.give_up_on(&delivery, worker_lost(&delivery)).await })
    }

    fn beat(&self) -> BoxFuture<'_, ()> {
        self.0.workflows.kept.evict();
        Box::pin(look(&*self.0.backend, &self.0.running))
    }

    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.0.flows.publish(&*self.0.backend).await?;
            self.0.sweep().await
        })
    }
}

/// Why a message leads to no step.
enum Aside {
    /// It has done its part.
    Done,
    /// It came too early.
    Early(mainspring_core::Timestamp),
    /// The execution is to be cancelled.
    Cancel,
}

impl Inner {
    async fn delivered(&self, delivery: &Delivery, cancel: &CancellationToken) -> Verdict {
        match delivery.message.message_type.as_str() {
            WAKE => self.wake(delivery, cancel).await,
            JOB_RUN => self.deliver_job(delivery, cancel).await,
            RESUME => self.resume_kept(delivery).await,
            other => {
                let message = format!("the engine knows no messages of type `{other}`");
                Settlement::DeadLetter(Failure::new("UNKNOWN_MESSAGE", message)).into()
            }
        }
    }

    /// What becomes of a message that nobody will deliver again: whoever waits for it fails in the commit that ends it. When
    /// that cannot be done now, the message stays.
    async fn give_up_on(&self, delivery: &Delivery, why: Failure) -> Verdict {
        let failed = match delivery.message.message_type.as_str() {
            WAKE => Box::pin(self.fail_driven(delivery, why)).await,
            JOB_RUN => Box::pin(self.fail_job(delivery, why)).await,
            // Its token is spent: it is what the execution waits for.
            RESUME => Box::pin(self.apply_kept(delivery)).await,
            _ => return Settlement::DeadLetter(why).into(),
        };
        match failed {
            Ok(verdict) => verdict,
            Err(error) if delivery.is_last_try() => {
                tracing::warn!(message = %delivery.message.id, error = %error.chain(), "cannot be given up now");
                Settlement::SnoozeUntil(self.backend.now() + LONGEST_RETRY).into()
            }
            Err(error) => again(delivery, &error),
        }
    }

    async fn wake(&self, delivery: &Delivery, cancel: &CancellationToken) -> Verdict {
        let mut before = Vec::new();
        if delivery.lost > 0 {
            before.push(recovered("worker_lost", delivery.lost));
        }
        match Box::pin(self.drive_delivery(delivery, before, cancel)).await {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::warn!(message = %delivery.message.id, error = %error.chain(), "an execution cannot be driven now");
                again(delivery, &error)
            }
        }
    }

    async fn drive_delivery(
        &self,
        delivery: &Delivery,
        mut before: Vec<NewEvent>,
        cancel: &CancellationToken,
    ) -> Result<Verdict> {
        let Some(id) = subject(delivery) else { return Ok(Settlement::Done.into()) };
        let (message, worn) = (delivery.message.id.clone(), delivery.lost > 0);
        let seat = Seat { message, lease: delivery.lease.clone(), worn };
        loop {
            if cancel.is_cancelled() {
                return Ok(Verdict::Abandoned);
            }
            let Some(execution) = self.load(&id).await? else { return Ok(Settlement::Done.into()) };
            if crate::workflow::is_workflow(&execution) {
                let before = std::mem::take(&mut before);
                match Box::pin(self.wake_workflow(execution, delivery, before, &seat, cancel)).await? {
                    Some(verdict) => return Ok(verdict),
                    None => continue,
                }
            }
            let standing = match self.stand(execution, delivery, std::mem::take(&mut before)).await? {
                Ok(standing) => standing,
                Err(Aside::Done) => return Ok(Settlement::Done.into()),
                Err(Aside::Early(at)) => return Ok(Settlement::SnoozeUntil(at).into()),
                Err(Aside::Cancel) => {
                    self.finish_cancel(&id).await?;
                    return Ok(Settlement::Done.into());
                }
            };
            match self.drive(standing, Some(&seat), cancel, u32::MAX).await? {
                Driven::Rests(_) => return Ok(Verdict::Committed),
                Driven::Changed | Driven::Paused(_) => {}
                Driven::Stopped | Driven::Fenced => return Ok(Verdict::Abandoned),
            }
        }
    }

    /// What the message leads to, for the execution as it is stored.
    async fn stand(
        &self,
        execution: Execution,
        delivery: &Delivery,
        mut before: Vec<NewEvent>,
    ) -> Result<std::result::Result<Standing, Aside>> {
        if execution.driver.as_ref() != Some(&delivery.message.id) {
            return Ok(Err(Aside::Done));
        }
        Ok(match execution.status {
            ExecutionStatus::Completed | ExecutionStatus::Failed | ExecutionStatus::Cancelled => {
                Err(Aside::Done)
            }
            // Whoever asked for the cancel is about to finish it; when not, we do.
            ExecutionStatus::Cancelling => match execution.updated_at + CANCEL_GRACE {
                at if at > self.backend.now() => Err(Aside::Early(at)),
                _ => Err(Aside::Cancel),
            },
            ExecutionStatus::Pending | ExecutionStatus::Running => Ok(Standing::new(execution, before)),
            ExecutionStatus::Waiting => match execution.wake_at {
                Some(at) if at > self.backend.now() => Err(Aside::Early(at)),
                Some(_) => {
                    let (execution, resumed) = woken(execution);
                    before.extend(resumed);
                    Ok(Standing::new(execution, before))
                }
                None => match self.answer(&delivery.message.data).await? {
                    Some(answer) => Ok(Standing { execution, before, answer: Some(answer) }),
                    None => Err(Aside::Done),
                },
            },
        })
    }

    /// A cancel that someone asked for at `asked`: they are about to finish it; when not, we do.
    pub(crate) async fn finish_cancel_of(
        &self,
        id: &ExecutionId,
        asked: mainspring_core::Timestamp,
        now: mainspring_core::Timestamp,
    ) -> Result<Verdict> {
        let at = asked + CANCEL_GRACE;
        if at > now {
            return Ok(Settlement::SnoozeUntil(at).into());
        }
        self.finish_cancel(id).await?;
        Ok(Settlement::Done.into())
    }

    /// The end that a reply tells of.
    pub(crate) async fn answer(&self, data: &Value) -> Result<Option<Answer>> {
        if let Some(id) = data.get("child").and_then(Value::as_str) {
            let id = ExecutionId::new(id)?;
            let gone = Failure::new(code::CHILD_FAILED, "the child was deleted");
            return Ok(match self.load(&id).await? {
                Some(child) => Answer::of_child(&child),
                None => Some(Answer::Child { id, outcome: Err(gone) }),
            });
        }
        if let Some(id) = data.get("job").and_then(Value::as_str) {
            let id = JobId::new(id)?;
            let gone = Failure::new(code::JOB_FAILED, "the job was deleted");
            return Ok(match self.patiently(|| self.backend.jobs().get(&id)).await? {
                Some(job) => Answer::of_job(&job),
                None => Some(Answer::Job { id, outcome: Err(gone) }),
            });
        }
        Ok(None)
    }

    /// Fails the execution that a message drives.
    async fn fail_driven(&self, delivery: &Delivery, why: Failure) -> Result<Verdict> {
        let Some(id) = subject(delivery) else { return Ok(Settlement::Done.into()) };
        loop {
            let Some(execution) = self.load(&id).await? else { return Ok(Settlement::Done.into()) };
            if execution.driver.as_ref() != Some(&delivery.message.id) || execution.status.is_terminal() {
                return Ok(Settlement::Done.into());
            }
            if execution.status == ExecutionStatus::Cancelling {
                let request = CancelRequest { source: CancelSource::System, reason: None, clean_up: false };
                self.cancel(&id, &request, None).await?;
                return Ok(Settlement::Done.into());
            }
            let lost = (delivery.lost > 0).then(|| recovered("worker_lost", delivery.lost));
            let before = lost.into_iter().collect();
            let mut changes =
                mainspring_core::flow::failed(execution, before, why.clone(), self.backend.now());
            changes.settle = Some(Settle::new(delivery.lease.clone(), Settlement::Done));
            match self.commit(&changes).await {
                Ok(_) => return Ok(Verdict::Committed),
                Err(error) if error.is_fenced() => return Ok(Verdict::Abandoned),
                Err(error) if error.is_conflict() || error.is_commit_unknown() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The event of an execution that was taken over.
pub(crate) fn recovered(reason: &str, lost: u32) -> NewEvent {
    NewEvent::new(kind::EXECUTION_RECOVERED, json!({"reason": reason, "lost": lost}))
}

pub(crate) fn subject(delivery: &Delivery) -> Option<ExecutionId> {
    delivery.message.subject.as_deref().and_then(|id| ExecutionId::new(id).ok())
}

/// Later: it is the database that failed, not the execution, whose message has all the attempts there are.
pub(crate) fn again(delivery: &Delivery, error: &mainspring_core::Error) -> Verdict {
    let delay = retry_delay(delivery.failures).min(LONGEST_RETRY);
    Verdict::Settle(Settlement::RetryAfter { delay, error: Failure::new(error.code(), error.chain()) })
}

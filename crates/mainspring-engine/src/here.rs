//! Driven by this process, without a worker: one step at a time, or until the end.
//!
//! Whoever drives here takes hold first: one commit makes this process the holder and every older wake-up stale. An execution
//! that a worker may be in the middle of is left to it.

use std::time::Duration;

use mainspring_core::{
    Error, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, Failure, Result, Timestamp,
    flow::{Answer, woken},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine,
    drive::{Driven, Standing},
    engine::Inner,
    left::{Leaving, Thing},
    running::Driving,
    workflow::cleans_up,
};

const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// What one tick did.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Whether the execution is over.
    pub done: bool,
    /// Where it stands; `failed` when it does not exist.
    pub status: ExecutionStatus,
    /// When its wait ends.
    pub wake_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<Failure>,
}

impl Tick {
    fn of(execution: Execution) -> Self {
        Self {
            done: execution.status.is_terminal(),
            status: execution.status,
            wake_at: execution.wake_at,
            error: execution.error,
        }
    }
}

/// What there is to do for an execution that nobody here drives yet.
enum Turn {
    /// A step, once it is in hand.
    Step,
    /// It takes over the end of what it waited for.
    Reply(Answer),
    /// Nothing until this time.
    Sleep(Timestamp),
    /// Nothing until the job or the child it waits for has ended.
    Await,
    /// Nothing until someone outside does something.
    Outside,
    /// Nothing, ever.
    Over,
    /// The cancel that was asked for.
    Cancel,
    /// Someone else may be in the middle of a step.
    Elsewhere,
}

impl Engine {
    /// Takes at most one step. An execution that could go on is left to whoever is next: another tick, or a worker.
    ///
    /// # Errors
    /// Only those of the backend: what goes wrong in the execution is in the answer.
    pub async fn tick(&self, id: &ExecutionId) -> Result<Tick> {
        let inner = &*self.0;
        let Some(execution) = inner.load(id).await? else {
            let error = Failure::new("NOT_FOUND", format!("execution `{id}` does not exist"));
            return Ok(Tick {
                done: true,
                status: ExecutionStatus::Failed,
                wake_at: None,
                error: Some(error),
            });
        };
        let turn = inner.turn(&execution).await?;
        let leaving = inner.leaving(id);
        let Some(driving) = inner.running.drive(id) else {
            leaving.rest();
            return Ok(Tick::of(execution));
        };
        let standing = match turn {
            Turn::Step => match inner.take_hold(execution).await? {
                Some(standing) => standing,
                None => return self.now(id).await,
            },
            Turn::Reply(answer) => Standing { execution, before: Vec::new(), answer: Some(answer) },
            _ => {
                leaving.rest();
                return Ok(Tick::of(execution));
            }
        };
        match inner.drive_here(standing, 1, driving).await? {
            Driven::Rests(execution) | Driven::Paused(execution) => {
                leaving.rest();
                Ok(Tick::of(execution))
            }
            _ => self.now(id).await,
        }
    }

    async fn now(&self, id: &ExecutionId) -> Result<Tick> {
        match self.0.load(id).await? {
            Some(execution) => Ok(Tick::of(execution)),
            None => Err(Error::not_found("execution", id)),
        }
    }

    /// Drives an execution in this process until it is over, or until it waits for someone outside; it is then as returned.
    /// Timed waits are slept through, jobs and children of it are run here too unless a worker does.
    ///
    /// # Errors
    /// Not found; otherwise only those of the backend.
    pub async fn run(&self, id: &ExecutionId) -> Result<Execution> {
        Box::pin(self.0.run_here(id)).await
    }
}

impl Inner {
    pub(crate) async fn drive_here(
        &self,
        standing: Standing,
        steps: u32,
        driving: Driving,
    ) -> Result<Driven> {
        let driven = self.drive(standing, None, &CancellationToken::new(), steps).await;
        drop(driving);
        driven
    }

    /// What becomes of an execution when whoever drives it here goes away.
    pub(crate) fn leaving(&self, id: &ExecutionId) -> Leaving {
        self.left.leaving(Thing::Execution(id.clone()))
    }

    async fn run_here(&self, id: &ExecutionId) -> Result<Execution> {
        let leaving = self.leaving(id);
        let mut look = FIRST_LOOK;
        loop {
            let execution = self.load(id).await?.ok_or_else(|| Error::not_found("execution", id))?;
            let queue = execution.queue.clone();
            let revision = execution.revision;
            let pause = match self.turn(&execution).await? {
                Turn::Over | Turn::Outside => {
                    leaving.rest();
                    return Ok(execution);
                }
                // Whoever asked for the cancel is about to finish it; when not, we do.
                Turn::Cancel if look < LONGEST_LOOK => look,
                Turn::Cancel => {
                    self.finish_cancel(id).await?;
                    continue;
                }
                Turn::Sleep(at) => at.since(self.backend.now()),
                Turn::Await => {
                    if self.run_awaited(&execution).await? {
                        continue;
                    }
                    look
                }
                Turn::Elsewhere => {
                    self.sweep_orphans().await?;
                    look
                }
                turn @ (Turn::Step | Turn::Reply(_)) => match self.running.drive(id) {
                    Some(driving) => {
                        if self.take_turn(execution, turn, driving).await? {
                            look = FIRST_LOOK;
                            continue;
                        }
                        look
                    }
                    None => look,
                },
            };
            self.backend.queue().wait(&queue, pause.min(LONGEST_LOOK)).await;
            let moved = self.load(id).await?.is_some_and(|execution| execution.revision != revision);
            look = if moved { FIRST_LOOK } else { (look * 2).min(LONGEST_LOOK) };
        }
    }

    /// Whether anything came of it.
    async fn take_turn(&self, execution: Execution, turn: Turn, driving: Driving) -> Result<bool> {
        let (standing, steps) = match turn {
            Turn::Reply(answer) => (Standing { execution, before: Vec::new(), answer: Some(answer) }, 1),
            _ => match self.take_hold(execution).await? {
                Some(standing) => (standing, u32::MAX),
                None => return Ok(false),
            },
        };
        let driven = self.drive_here(standing, steps, driving).await?;
        Ok(matches!(driven, Driven::Rests(_) | Driven::Paused(_)))
    }

    async fn turn(&self, execution: &Execution) -> Result<Turn> {
        Ok(match execution.status {
            ExecutionStatus::Completed | ExecutionStatus::Failed | ExecutionStatus::Cancelled => Turn::Over,
            ExecutionStatus::Cancelling if cleans_up(execution) => {
                if self.is_free(execution).await? {
                    Turn::Step
                } else {
                    Turn::Elsewhere
                }
            }
            ExecutionStatus::Cancelling => Turn::Cancel,
            ExecutionStatus::Waiting => match (execution.wake_at, &execution.driver) {
                (Some(at), _) if at > self.backend.now() => Turn::Sleep(at),
                (Some(_), _) => Turn::Step,
                (None, None) => Turn::Outside,
                (None, Some(_)) => match self.awaited(execution).await? {
                    Some(Awaited::Ended(answer)) => Turn::Reply(answer),
                    _ => Turn::Await,
                },
            },
            ExecutionStatus::Pending | ExecutionStatus::Running => {
                if self.is_free(execution).await? {
                    Turn::Step
                } else {
                    Turn::Elsewhere
                }
            }
        })
    }

    /// Whether nobody else can be in the middle of a step: it is ours, or its message is in nobody's hands.
    async fn is_free(&self, execution: &Execution) -> Result<bool> {
        match (&execution.holder, &execution.driver) {
            (Some(holder), _) => Ok(self.local.is(holder).await),
            (None, Some(_)) => {
                let stats = self.patiently(|| self.backend.queue().stats(&execution.queue)).await?;
                Ok(stats.claimed == 0)
            }
            (None, None) => Ok(true),
        }
    }

    /// Makes this process the holder. `None` when someone else was faster.
    async fn take_hold(&self, mut execution: Execution) -> Result<Option<Standing>> {
        let holder = self.local.holder().await?;
        if execution.holder.as_ref() != Some(&holder) || execution.driver.is_some() {
            execution.holder = Some(holder);
            execution.driver = None;
            let write = ExecutionWrite::update(execution, Vec::new());
            let changes = mainspring_core::Changes { executions: vec![write.clone()], ..Default::default() };
            match self.commit(&changes).await {
                Ok(committed) => execution = write.applied(committed.at),
                Err(error) if error.is_conflict() || error.is_commit_unknown() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let (execution, before) = woken(execution);
        Ok(Some(Standing::new(execution, before)))
    }

    /// Runs the job or the child that an execution waits for; whether there was one to run.
    async fn run_awaited(&self, execution: &Execution) -> Result<bool> {
        match self.awaited(execution).await? {
            Some(Awaited::Child(id)) => {
                let child = Box::pin(self.run_here(&id)).await?;
                Ok(child.status.is_terminal())
            }
            Some(Awaited::Job(id)) => self.run_job_here(&id).await,
            Some(Awaited::Ended(_)) => Ok(true),
            None => Ok(false),
        }
    }

    /// The job or the child whose end is to wake `execution`.
    async fn awaited(&self, execution: &Execution) -> Result<Option<Awaited>> {
        let is_reply = |reply: &Option<mainspring_core::Reply>| {
            reply.as_ref().is_some_and(|reply| Some(&reply.message) == execution.driver.as_ref())
        };
        let children = self.patiently(|| self.backend.executions().find_children(&execution.id)).await?;
        if let Some(child) = children.into_iter().find(|child| is_reply(&child.reply)) {
            return Ok(Some(match Answer::of_child(&child) {
                Some(answer) => Awaited::Ended(answer),
                None => Awaited::Child(child.id),
            }));
        }
        let jobs = self.patiently(|| self.backend.jobs().get_by_execution(&execution.id)).await?;
        Ok(jobs.into_iter().find(|job| is_reply(&job.reply)).map(|job| match Answer::of_job(&job) {
            Some(answer) => Awaited::Ended(answer),
            None => Awaited::Job(job.id),
        }))
    }
}

/// What an execution waits for, when it is not someone outside.
enum Awaited {
    Child(ExecutionId),
    Job(mainspring_core::JobId),
    Ended(Answer),
}

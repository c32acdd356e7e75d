//! What a wake-up message of a workflow leads to.
//!
//! The message named in the row drives it. Any other one that knocks says that there is something to see: a parked execution
//! is woken by it, one that is live here is told, and one that is live elsewhere is knocked at again later.

use std::time::Duration;

use mainspring_core::{Delivery, Execution, ExecutionStatus, NewEvent, Result, Settlement};
use mainspring_worker::Verdict;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{cleanup::cleans_up, drive::Drove, outside::KNOCK};
use crate::{drive::Seat, engine::Inner, spans};

/// How long a knock waits until who drives here has seen it.
const PATIENCE: Duration = Duration::from_millis(200);
/// When one knocks again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a park takes, about.
const MOMENT: Duration = Duration::from_millis(2);
/// How soon another worker may have the code.
const NO_CODE: Duration = Duration::from_secs(5);

impl Inner {
    /// What becomes of the message; `None` when the execution has to be read again.
    pub(crate) async fn wake_workflow(
        &self,
        execution: Execution,
        delivery: &Delivery,
        before: Vec<NewEvent>,
        seat: &Seat,
        cancel: &CancellationToken,
    ) -> Result<Option<Verdict>> {
        if self.cancel_unstarted(&execution).await? {
            return Ok(Some(Settlement::Done.into()));
        }
        let drives = execution.driver.as_ref() == Some(&seat.message);
        let now = self.backend.now();
        match execution.status {
            ExecutionStatus::Completed | ExecutionStatus::Failed | ExecutionStatus::Cancelled => {
                return Ok(Some(Settlement::Done.into()));
            }
            ExecutionStatus::Cancelling if cleans_up(&execution) => {
                let parked = execution.driver.is_none() && execution.holder.is_none();
                match (drives, knocks(delivery)) {
                    (true, _) => {}
                    (false, true) if parked => {}
                    (false, true) => return Ok(Some(self.knock_at(&execution).await)),
                    (false, false) => return Ok(Some(Settlement::Done.into())),
                }
            }
            ExecutionStatus::Cancelling if drives => {
                let id = execution.id.clone();
                return self.finish_cancel_of(&id, execution.updated_at, now).await.map(Some);
            }
            ExecutionStatus::Cancelling => return Ok(Some(Settlement::Done.into())),
            ExecutionStatus::Pending | ExecutionStatus::Running if drives => {}
            ExecutionStatus::Pending | ExecutionStatus::Running => {
                return Ok(Some(if knocks(delivery) {
                    self.knock_at(&execution).await
                } else {
                    Settlement::Done.into()
                }));
            }
            ExecutionStatus::Waiting if drives => match execution.wake_at {
                Some(at) if at > now => return Ok(Some(Settlement::SnoozeUntil(at).into())),
                _ => {}
            },
            // Another one of many knocks has taken it up here since the row was read.
            ExecutionStatus::Waiting if knocks(delivery) && self.workflows.live(&execution.id).is_some() => {
                if self.seen_here(&execution).await {
                    return Ok(Some(Settlement::Done.into()));
                }
                // It is just being parked, and the row about to change.
                sleep(MOMENT).await;
                return Ok(None);
            }
            ExecutionStatus::Waiting if knocks(delivery) => {}
            ExecutionStatus::Waiting => return Ok(Some(Settlement::Done.into())),
        }
        let span = spans::drive(&execution);
        let driven = self.drive_workflow(execution, before, Some(seat), cancel).instrument(span);
        Ok(match Box::pin(driven).await? {
            Drove::Rests(_) => Some(Verdict::Committed),
            Drove::Asleep(execution) => Some(match execution.wake_at {
                Some(at) if drives => Settlement::SnoozeUntil(at).into(),
                _ => Settlement::Done.into(),
            }),
            Drove::Changed => None,
            Drove::Stopped | Drove::Fenced => Some(Verdict::Abandoned),
            Drove::Unknown(execution) => {
                tracing::warn!(
                    execution = %execution.id, workflow = %execution.flow_id, version = %execution.flow_version,
                    "no code for this workflow here; another worker may have it"
                );
                Some(Settlement::SnoozeUntil(self.backend.now() + NO_CODE).into())
            }
        })
    }

    /// Whoever drives it here sees that something came in; otherwise one knocks again.
    async fn knock_at(&self, execution: &Execution) -> Verdict {
        match self.seen_here(execution).await {
            true => Settlement::Done.into(),
            false => Settlement::SnoozeUntil(self.backend.now() + AGAIN).into(),
        }
    }

    /// Whether it is driven here, and its driver has looked since.
    async fn seen_here(&self, execution: &Execution) -> bool {
        let Some(live) = self.workflows.live(&execution.id) else { return false };
        let Some((number, mut covered)) = live.knock() else { return false };
        matches!(timeout(PATIENCE, covered.wait_for(|covered| *covered >= number)).await, Ok(Ok(_)))
    }
}

/// Whether a message says that there is something to see: sent from outside, or by a child or a job that has ended.
fn knocks(delivery: &Delivery) -> bool {
    let data = &delivery.message.data;
    data.get(KNOCK).is_some() || ["child", "job"].iter().any(|key| data.get(key).is_some())
}

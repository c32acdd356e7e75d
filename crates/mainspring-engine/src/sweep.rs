//! Sweeping: executions whose holder died, or whose caller went away, go on, and those that last too long are cancelled.
//!
//! Every worker sweeps, all of them at once if need be: each change is a compare-and-set, and losing one to another worker
//! means that it is done.

use mainspring_core::{
    Available, CancelSource, Changes, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, MessageId,
    NewEvent, Result, event::kind, flow::wake_message,
};
use serde_json::json;

use crate::{
    cancel::CancelRequest, deliver::recovered, engine::Inner, left::Thing, meter, workflow::cleans_up,
};

const BATCH: u32 = 100;

impl Inner {
    /// One round, bounded.
    pub(crate) async fn sweep(&self) -> Result<()> {
        self.sweep_orphans().await?;
        let late = self.backend.executions().find_timed_out_executions(BATCH).await?;
        self.cancel_late(late, "execution").await;
        let waits = self.backend.executions().find_timed_out_waits(BATCH).await?;
        self.cancel_late(waits, "wait").await;
        self.sweep_finished().await?;
        Ok(())
    }

    /// Executions that a dead process drove get a message instead.
    pub(crate) async fn sweep_orphans(&self) -> Result<()> {
        for orphan in self.backend.executions().find_orphans(BATCH).await? {
            let id = orphan.id.clone();
            report(&id, self.hand_over(orphan, "holder_lost").await);
        }
        Ok(())
    }

    /// What callers that went away left behind in this process. What is not settled yet stays for the next round.
    pub(crate) async fn clear_left(&self) {
        for (thing, since) in self.left.take() {
            let cleared = match &thing {
                Thing::Execution(id) => self.clear_execution(id).await,
                Thing::Holder(holder) => self.backend.queue().release(holder).await.map(|_| true),
            };
            let late = since.elapsed() >= self.options.lease;
            match cleared {
                Ok(cleared) if cleared || late => {}
                Ok(_) => self.left.put_back(thing, since),
                Err(error) => {
                    if !error.is_conflict() {
                        tracing::warn!(left = ?thing, error = %error.chain(), "cannot be taken back now");
                    }
                    self.left.put_back(thing, since);
                }
            }
        }
    }

    /// Whether nothing that was asked for it by someone who is gone can leave it to nobody.
    async fn clear_execution(&self, id: &ExecutionId) -> Result<bool> {
        let Some(_driving) = self.running.drive(id) else { return Ok(false) };
        let Some(execution) = self.backend.executions().get(id).await? else { return Ok(false) };
        match &execution.holder {
            Some(holder) if self.local.is(holder).await => {
                self.hand_over(execution, "caller_lost").await.map(|()| true)
            }
            _ => Ok(execution.status.is_terminal()),
        }
    }

    /// An execution that a process drove by itself gets a message instead.
    async fn hand_over(&self, mut execution: Execution, reason: &str) -> Result<()> {
        if execution.status == ExecutionStatus::Cancelling && !cleans_up(&execution) {
            return self.finish_cancel(&execution.id).await;
        }
        let message = MessageId::generate();
        let available = execution.wake_at.map_or(Available::Now, Available::At);
        execution.holder = None;
        execution.driver = Some(message.clone());
        let wake = wake_message(&execution, message, available);
        let write = ExecutionWrite::update(execution, vec![recovered(reason, 1)]);
        let changes = Changes { executions: vec![write], messages: vec![wake], ..Changes::default() };
        self.backend_commit(&changes).await?;
        meter::requeued();
        Ok(())
    }

    /// A commit that is not worth waiting for: the next round finds what is left.
    async fn backend_commit(&self, changes: &Changes) -> Result<()> {
        let committed = self.backend.commit(changes.clone()).await?;
        self.tell(changes, committed.at);
        Ok(())
    }

    async fn cancel_late(&self, late: Vec<Execution>, what: &str) {
        for execution in late {
            let ms = match what {
                "wait" => execution.timeouts.wait_timeout_ms,
                _ => execution.timeouts.execution_timeout_ms,
            };
            let why = NewEvent::new(kind::EXECUTION_TIMEOUT, json!({"what": what, "timeoutMs": ms}));
            let reason = format!("{what} took longer than {ms} ms");
            let request =
                CancelRequest { source: CancelSource::Timeout, reason: Some(reason), clean_up: true };
            report(&execution.id, self.cancel(&execution.id, &request, Some(why)).await.map(drop));
        }
    }
}

/// One that cannot be swept never stops the others.
fn report(id: &ExecutionId, swept: Result<()>) {
    match swept {
        Ok(()) => {}
        Err(error) if error.is_conflict() => {}
        Err(error) => tracing::warn!(execution = %id, error = %error.chain(), "cannot be swept now"),
    }
}

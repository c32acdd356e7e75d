//! Sweeping: executions whose holder died go on, and those that last too long are cancelled.
//!
//! Every worker sweeps, all of them at once if need be: each change is a compare-and-set, and losing one to another worker
//! means that it is done.

use mainspring_core::{
    Available, CancelSource, Changes, Execution, ExecutionStatus, ExecutionWrite, MessageId, NewEvent,
    Result, event::kind, flow::wake_message,
};
use serde_json::json;

use crate::{cancel::CancelRequest, deliver::recovered, engine::Inner};

const BATCH: u32 = 100;

impl Inner {
    /// One round, bounded.
    pub(crate) async fn sweep(&self) -> Result<()> {
        self.sweep_orphans().await?;
        let late = self.backend.executions().find_timed_out_executions(BATCH).await?;
        self.cancel_late(late, "execution").await;
        let waits = self.backend.executions().find_timed_out_waits(BATCH).await?;
        self.cancel_late(waits, "wait").await;
        Ok(())
    }

    /// Executions that a dead process drove get a message instead.
    pub(crate) async fn sweep_orphans(&self) -> Result<()> {
        for mut orphan in self.backend.executions().find_orphans(BATCH).await? {
            let id = orphan.id.clone();
            if orphan.status == ExecutionStatus::Cancelling {
                report(&id, self.finish_cancel(&id).await);
                continue;
            }
            let message = MessageId::generate();
            let available = orphan.wake_at.map_or(Available::Now, Available::At);
            orphan.holder = None;
            orphan.driver = Some(message.clone());
            let wake = wake_message(&orphan, message, available);
            let write = ExecutionWrite::update(orphan, vec![recovered("holder_lost", 1)]);
            let changes = Changes { executions: vec![write], messages: vec![wake], ..Changes::default() };
            report(&id, self.backend_commit(&changes).await);
        }
        Ok(())
    }

    /// A commit that is not worth waiting for: the next round finds what is left.
    async fn backend_commit(&self, changes: &Changes) -> Result<()> {
        let committed = self.backend.commit(changes.clone()).await?;
        for write in &changes.executions {
            self.listeners.tell(&write.execution, &write.events, committed.at);
        }
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
            let request = CancelRequest { source: CancelSource::Timeout, reason: Some(reason) };
            report(&execution.id, self.cancel(&execution.id, &request, Some(why)).await.map(drop));
        }
    }
}

/// One that cannot be swept never stops the others.
fn report(id: &mainspring_core::ExecutionId, swept: Result<()>) {
    match swept {
        Ok(()) => {}
        Err(error) if error.is_conflict() => {}
        Err(error) => tracing::warn!(execution = %id, error = %error.chain(), "cannot be swept now"),
    }
}

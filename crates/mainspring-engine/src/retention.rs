//! Retention: executions that have been over for long enough are removed, first what was sent to them and last the row with its
//! history, so that a crash in between leaves a row that is found again.

use mainspring_core::{Execution, ExecutionId, Result, StreamId};

use crate::{engine::Inner, workflow};

/// Most executions of one flow that one round removes.
const BATCH: u32 = 200;

impl Inner {
    /// One round, bounded.
    pub(crate) async fn sweep_finished(&self) -> Result<()> {
        for (flow_id, keep) in &self.options.retention {
            let before = self.backend.now() - *keep;
            let over = self.backend.executions().find_finished(flow_id, before, BATCH).await?;
            if over.is_empty() {
                continue;
            }
            for execution in &over {
                self.forget_what_was_sent(execution).await?;
            }
            let ids: Vec<ExecutionId> = over.into_iter().map(|execution| execution.id).collect();
            self.backend.executions().delete_finished(&ids).await?;
        }
        Ok(())
    }

    /// What was recorded about it beside its history, and what was sent to it.
    async fn forget_what_was_sent(&self, execution: &Execution) -> Result<()> {
        let inbox = workflow::is_workflow(execution).then(|| workflow::inbox_of(&execution.id));
        for name in std::iter::once(execution.stream()).chain(inbox) {
            let stream = StreamId::new(name).of_tenant(&*execution.tenant);
            self.backend.events().forget_stream(&stream).await?;
        }
        Ok(())
    }
}

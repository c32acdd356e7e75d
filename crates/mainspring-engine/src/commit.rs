//! Committing, with patience: a decision in hand is offered again until the database takes or refuses it.

use std::time::Duration;

use mainspring_core::{Changes, Committed, Execution, ExecutionId, Result, Timestamp};
use mainspring_worker::jittered;
use tokio::time::{Instant, sleep};

use crate::{ends::hint_of, engine::Inner, workflow::with_ends};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Inner {
    /// Commits and tells the listeners. Hiccups of the database are waited out for as long as a lease lasts.
    pub(crate) async fn commit(&self, changes: &Changes) -> Result<Committed> {
        let whole = with_ends(changes);
        let committed = self.patiently(|| self.backend.commit((*whole).clone())).await?;
        self.tell(changes, committed.at);
        Ok(committed)
    }

    /// Tells the listeners, and whoever waits for an end, what was committed.
    pub(crate) fn tell(&self, changes: &Changes, at: Timestamp) {
        for write in &changes.executions {
            self.listeners.tell(&write.execution, &write.events, at);
        }
        self.ends.tell(changes);
        if changes.settle.is_some() {
            let ended = changes.executions.iter().map(|write| &write.execution);
            for execution in ended.filter(|execution| execution.status.is_terminal()) {
                self.backend.queue().hint(&hint_of(&execution.id));
            }
        }
    }

    /// One execution by id, waiting out hiccups of the database.
    pub(crate) async fn load(&self, id: &ExecutionId) -> Result<Option<Execution>> {
        self.patiently(|| self.backend.executions().get(id)).await
    }

    /// Repeats what changed nothing because the database was busy or away.
    pub(crate) async fn patiently<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        patiently(self.options.lease, call).await
    }
}

/// Repeats what changed nothing because the database was busy or away, for as long as `patience` lasts.
pub(crate) async fn patiently<T, F>(patience: Duration, call: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let begin = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match call().await {
            Err(error) if error.is_retryable() && begin.elapsed() < patience => {
                tracing::warn!(error = %error.chain(), "the database is busy or away; trying again");
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            result => return result,
        }
    }
}

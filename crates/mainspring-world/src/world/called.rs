//! How far its code has seen a run: what tells a run whose code waits from one whose call was lost.
//!
//! The place is read before a call and kept beside the run after it, so it is never too high. When it is too low, since the
//! code itself ended a step or a wait, or this could not be kept, recovery calls the code once for nothing.

use mainspring_core::{Backend, ExecutionId, Result};
use mainspring_http::{Entrypoint, MessageData};
use serde_json::json;

use crate::{ids::is_world, storage::Known};

/// The large value of a run that holds the place.
const KEY: &str = "world.called";

/// A call of the code of a run that is about to be made.
pub(super) struct Called {
    run: ExecutionId,
    /// Of the last event it can see.
    position: i64,
}

impl Called {
    /// `None` when the message calls no code of a run that goes on.
    pub(super) async fn by(backend: &dyn Backend, message: &MessageData) -> Option<Self> {
        let run = message.data.get("runId").and_then(|id| id.as_str()).map(ExecutionId::new)?.ok()?;
        if message.queue_name.entrypoint() != Entrypoint::Flow {
            return None;
        }
        let position = position(backend, &run).await.unwrap_or_else(|error| {
            tracing::debug!(%run, error = %error.chain(), "it is not known how far the code sees");
            None
        })?;
        Some(Self { run, position })
    }

    /// The call was answered.
    pub(super) async fn keep(self, backend: &dyn Backend) {
        let Self { run, position: seen } = self;
        let kept: Result<()> = async {
            // Nobody asks about a run that is over.
            if position(backend, &run).await?.is_some() {
                backend.context().set(&run, KEY, json!(seen)).await?;
            }
            Ok(())
        }
        .await;
        if let Err(error) = kept {
            tracing::debug!(%run, error = %error.chain(), "how far the code saw is not kept");
        }
    }
}

/// Of the last event of a run that goes on.
async fn position(backend: &dyn Backend, run: &ExecutionId) -> Result<Option<i64>> {
    let row = backend.executions().get(run).await?;
    Ok(row.filter(|row| is_world(row) && !row.status.is_terminal()).map(|row| row.position))
}

/// The position of the last event that the code of a run has seen; 0 when that is none, or none came that it waits for.
pub(super) async fn seen(backend: &dyn Backend, known: &Known) -> Result<i64> {
    if known.state.woken == 0 {
        return Ok(0);
    }
    match backend.context().get(&known.row.id, KEY).await {
        Ok(position) => Ok(position.as_i64().unwrap_or(0)),
        Err(error) if error.is_not_found() => Ok(0),
        Err(error) => Err(error),
    }
}

//! Resuming: someone outside wakes a waiting execution with data.
//!
//! Spending the token, storing the data and pushing the wake-up are one commit: a token is never spent for nothing, and two
//! callers never both win.

use mainspring_core::{
    Error, ErrorKind, Execution, ExecutionId, Result, TokenHash, TokenSecret, flow::resumed,
};
use serde_json::Value;

use crate::{Engine, engine::Inner};

impl Engine {
    /// Spends a token and lets its execution go on. The data is in its context as `resumeData`.
    ///
    /// # Errors
    /// Not found when the token is unknown; conflict, saying which, when it was used, revoked or has expired, or when its
    /// execution does not wait; invalid when the data does not fit.
    pub async fn resume(&self, token: &TokenSecret, data: impl Into<Value>) -> Result<Execution> {
        let inner = &*self.0;
        let data = data.into();
        loop {
            let Some(found) = inner.patiently(|| inner.backend.tokens().get(token)).await? else {
                return Err(Error::new(ErrorKind::NotFound, "token not found"));
            };
            if let Some(refusal) = found.status.refusal() {
                return Err(Error::conflict(refusal));
            }
            let resumed = inner.resume_once(&found.execution_id, &data, Some(token.hash())).await?;
            if let Some(execution) = resumed {
                return Ok(execution);
            }
        }
    }

    /// Lets a waiting execution go on, without a token. The data is in its context as `resumeData`.
    ///
    /// # Errors
    /// Not found; conflict when it does not wait, or waits for a job or a child; invalid when the data does not fit.
    pub async fn resume_execution(&self, id: &ExecutionId, data: impl Into<Value>) -> Result<Execution> {
        let data = data.into();
        loop {
            if let Some(execution) = self.0.resume_once(id, &data, None).await? {
                return Ok(execution);
            }
        }
    }
}

impl Inner {
    /// `None` when someone changed the execution in the meantime, and it has to be looked at again.
    async fn resume_once(
        &self,
        id: &ExecutionId,
        data: &Value,
        token: Option<TokenHash>,
    ) -> Result<Option<Execution>> {
        let execution = self.load(id).await?.ok_or_else(|| Error::not_found("execution", id))?;
        let revision = execution.revision;
        let changes = resumed(execution, data.clone(), token, &self.options.limits)?;
        match self.commit(&changes).await {
            Ok(committed) => {
                let write = changes.executions.into_iter().next();
                Ok(write.map(|write| write.applied(committed.at)))
            }
            Err(error) if error.is_conflict() => {
                let moved = self.load(id).await?.is_none_or(|stored| stored.revision != revision);
                // Not the execution but the token was in the way: its row says why.
                if moved || token.is_some() { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }
}

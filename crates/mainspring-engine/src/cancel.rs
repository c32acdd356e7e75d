//! Cancelling an execution and its whole family.
//!
//! Members that are being driven get the intent first: from that commit on none of their steps can be committed, so no new
//! child can appear. What runs in this process is told at once, what runs elsewhere at its next heartbeat. Then all of them
//! end in one commit.

use std::{collections::HashSet, sync::Arc};

use futures_util::FutureExt;
use mainspring_core::{
    BoxFuture, CancelSource, Changes, Error, Execution, ExecutionId, ExecutionStatus, NewEvent, Result,
    Timestamp, TokenStatus,
    flow::{cancelled, cancelling},
};

use crate::{Engine, engine::Inner};

/// Cleans up after a cancelled execution.
pub(crate) type CancelHook = Arc<dyn Fn(Execution) -> BoxFuture<'static, ()> + Send + Sync>;

/// Most members of a family that one cancel ends.
const LARGEST_FAMILY: usize = 10_000;
/// How often a cancel looks again when others change its family.
const MOST_LOOKS: u32 = 100;

/// Who cancels, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// Who. Defaults to a user.
    pub source: CancelSource,
    /// Why.
    pub reason: Option<String>,
}

impl Default for CancelRequest {
    fn default() -> Self {
        Self { source: CancelSource::User, reason: None }
    }
}

impl<T: Into<String>> From<T> for CancelRequest {
    /// A user cancels, for this reason.
    fn from(reason: T) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }
}

/// What a cancel did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelResult {
    /// The execution that was asked for.
    pub execution_id: ExecutionId,
    /// Where it stood; `None` when it does not exist.
    pub previous_status: Option<ExecutionStatus>,
    /// Whether this call cancelled it: not when it was over already, or does not exist.
    pub cancelled: bool,
    /// Tokens of it and its family that worked until now.
    pub tokens_invalidated: u64,
    /// Members of its family that were cancelled with it.
    pub children_cancelled: u64,
    /// When.
    pub cancelled_at: Option<Timestamp>,
}

impl Engine {
    /// Cancels an execution and all its descendants: `engine.cancel(&id, "no longer wanted").await?`.
    ///
    /// # Errors
    /// Only those of the backend: cancelling what is over or does not exist is none.
    pub async fn cancel(&self, id: &ExecutionId, request: impl Into<CancelRequest>) -> Result<CancelResult> {
        self.0.cancel(id, &request.into(), None).await
    }
}

impl Inner {
    /// `why` goes into the history in front of the cancel.
    pub(crate) async fn cancel(
        &self,
        id: &ExecutionId,
        request: &CancelRequest,
        why: Option<NewEvent>,
    ) -> Result<CancelResult> {
        let mut result = CancelResult {
            execution_id: id.clone(),
            previous_status: None,
            cancelled: false,
            tokens_invalidated: 0,
            children_cancelled: 0,
            cancelled_at: None,
        };
        for _ in 0..MOST_LOOKS {
            let Some(execution) = self.load(id).await? else { return Ok(result) };
            let status = *result.previous_status.get_or_insert(execution.status);
            if execution.status.is_terminal() {
                // By someone who finished what this call began: then it was this call all the same.
                result.cancelled = !status.is_terminal() && execution.status == ExecutionStatus::Cancelled;
                result.cancelled_at = execution.cancellation.map(|record| record.cancelled_at);
                return Ok(result);
            }
            let family = self.family(execution).await?;
            if self.announce(&family, request).await? {
                continue;
            }
            if let Some(at) = self.end_family(&family, request, why.clone(), &mut result).await? {
                result.cancelled_at = Some(at);
                result.cancelled = true;
                self.clean_up(&family).await;
                return Ok(result);
            }
        }
        Err(Error::conflict(format!("the family of execution `{id}` changes too fast to be cancelled")))
    }

    /// Ends what was asked to be cancelled by someone who may be gone.
    pub(crate) async fn finish_cancel(&self, id: &ExecutionId) -> Result<()> {
        // Who and why stand in the row since the intent.
        let request = CancelRequest { source: CancelSource::System, reason: None };
        self.cancel(id, &request, None).await.map(drop)
    }

    /// The execution and all its descendants that are not over.
    async fn family(&self, head: Execution) -> Result<Vec<Execution>> {
        let mut seen = HashSet::from([head.id.clone()]);
        let mut family = vec![head];
        let mut next = 0;
        while let Some(member) = family.get(next) {
            let id = member.id.clone();
            let children = self.patiently(|| self.backend.executions().find_children(&id)).await?;
            // A child that is over may still have children of its own.
            family.extend(children.into_iter().filter(|child| seen.insert(child.id.clone())));
            if family.len() > LARGEST_FAMILY {
                return Err(Error::invalid("family", format!("has more than {LARGEST_FAMILY} members")));
            }
            next += 1;
        }
        family.retain(|member| !member.status.is_terminal());
        Ok(family)
    }

    /// Tells members that are being driven; whether there were any, so that the family has to be read again.
    async fn announce(&self, family: &[Execution], request: &CancelRequest) -> Result<bool> {
        let driven = |member: &&Execution| member.status == ExecutionStatus::Running;
        let mut any = false;
        for (i, member) in family.iter().enumerate().filter(|(_, member)| driven(member)) {
            any = true;
            let (source, reason) = match i {
                0 => (request.source, request.reason.as_deref()),
                _ => (CancelSource::Parent, Some("Parent cancelled")),
            };
            let changes = cancelling(member.clone(), source, reason, self.backend.now());
            match self.commit(&changes).await {
                Ok(_) => self.running.cancel(&member.id),
                Err(error) if error.is_conflict() || error.is_commit_unknown() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    /// The one commit. `None` when someone was faster.
    async fn end_family(
        &self,
        family: &[Execution],
        request: &CancelRequest,
        why: Option<NewEvent>,
        result: &mut CancelResult,
    ) -> Result<Option<Timestamp>> {
        let mut tokens = 0;
        for member in family {
            let all = self.patiently(|| self.backend.tokens().get_by_execution(&member.id)).await?;
            tokens += all.iter().filter(|token| token.status == TokenStatus::Pending).count() as u64;
        }
        let mut changes: Changes =
            cancelled(family.to_vec(), request.source, request.reason.as_deref(), self.backend.now());
        if let (Some(why), Some(write)) = (why, changes.executions.first_mut()) {
            write.events.insert(0, why);
        }
        result.tokens_invalidated = tokens;
        result.children_cancelled = family.len().saturating_sub(1) as u64;
        match self.commit(&changes).await {
            Ok(committed) => {
                family.iter().for_each(|member| self.running.cancel(&member.id));
                Ok(Some(committed.at))
            }
            Err(error) if error.is_conflict() || error.is_commit_unknown() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Calls the hooks of the flows. One that panics affects nobody.
    async fn clean_up(&self, family: &[Execution]) {
        for member in family {
            let Some(hook) = self.hooks.get(&member.flow_id) else { continue };
            let ended = match self.load(&member.id).await {
                Ok(Some(ended)) => ended,
                _ => member.clone(),
            };
            let cleaned = std::panic::AssertUnwindSafe(async { hook(ended).await }).catch_unwind().await;
            if cleaned.is_err() {
                tracing::error!(execution = %member.id, flow = %member.flow_id, "the clean-up of a cancel panicked");
            }
        }
    }
}

//! Cancelling an execution and its whole family.
//!
//! Members that are being driven get the intent first: from that commit on none of their steps can be committed, so no new
//! child can appear. What runs in this process is told at once, what runs elsewhere at its next heartbeat. Then all of them
//! end in one commit, but for workflows that have something to clean up: they are driven on, for that alone, and end then.

use std::{collections::HashSet, sync::Arc};

use futures_util::FutureExt;
use mainspring_core::{
    Available, BoxFuture, CancelSource, Changes, Error, Execution, ExecutionId, ExecutionStatus, MessageId,
    NewEvent, Result, Timestamp, TokenStatus,
    flow::{cancelled, cancelling, wake_message},
};

use crate::{
    Engine,
    engine::Inner,
    workflow::{cleans_up, has_cleanups},
};

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
    /// Whether workflows may first clean up what they noted with [`Cx::on_cancel`](crate::Cx::on_cancel): they are cancelled
    /// when that is done. Defaults to true; false ends those that cannot get to the end of it.
    pub clean_up: bool,
}

impl Default for CancelRequest {
    fn default() -> Self {
        Self { source: CancelSource::User, reason: None, clean_up: true }
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
    /// Whether this call cancelled it: not when it was over already, or does not exist. A workflow that still cleans up counts:
    /// nothing else of it goes on.
    pub cancelled: bool,
    /// It and members of its family that clean up before they end.
    pub cleaning_up: u64,
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
            cleaning_up: 0,
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
                if !result.cancelled {
                    // What was counted was of a commit that lost.
                    (result.children_cancelled, result.tokens_invalidated) = (0, 0);
                }
                return Ok(result);
            }
            let family = self.family(execution).await?;
            if self.announce(&family, request).await? {
                continue;
            }
            let (cleaning, ending): (Vec<_>, Vec<_>) =
                family.into_iter().partition(|member| request.clean_up && cleans_up(member));
            result.cleaning_up = cleaning.len() as u64;
            if let Some(at) = self.end_family(id, &ending, request, why.clone(), &mut result).await? {
                let intent = cleaning.first().filter(|member| member.id == *id);
                let intent = intent.and_then(|member| member.cancellation.as_ref());
                result.cancelled_at = intent.map(|record| record.cancelled_at).or(Some(at));
                result.cancelled = true;
                self.clean_up(&ending).await;
                return Ok(result);
            }
        }
        Err(Error::conflict(format!("the family of execution `{id}` changes too fast to be cancelled")))
    }

    /// Ends what was asked to be cancelled by someone who may be gone.
    pub(crate) async fn finish_cancel(&self, id: &ExecutionId) -> Result<()> {
        // Who and why stand in the row since the intent.
        let request = CancelRequest { source: CancelSource::System, ..CancelRequest::default() };
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

    /// Tells members that are being driven, and gives those that are parked and have something to clean up a driver; whether
    /// there were any, so that the family has to be read again.
    async fn announce(&self, family: &[Execution], request: &CancelRequest) -> Result<bool> {
        let told = |member: &&Execution| match member.status {
            ExecutionStatus::Running => true,
            ExecutionStatus::Waiting => request.clean_up && has_cleanups(member),
            _ => false,
        };
        let mut any = false;
        for (i, member) in family.iter().enumerate().filter(|(_, member)| told(member)) {
            any = true;
            let (source, reason) = match i {
                0 => (request.source, request.reason.as_deref()),
                _ => (CancelSource::Parent, Some("Parent cancelled")),
            };
            let mut changes = cancelling(member.clone(), source, reason, self.backend.now());
            if member.status == ExecutionStatus::Waiting {
                give_driver(&mut changes);
            }
            match self.commit(&changes).await {
                Ok(_) => self.running.cancel(&member.id),
                Err(error) if error.is_conflict() || error.is_commit_unknown() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    /// The one commit; when it happened. `None` when someone was faster.
    async fn end_family(
        &self,
        head: &ExecutionId,
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
        let whole = family.first().is_none_or(|first| first.id == *head);
        let (source, reason) = match whole {
            true => (request.source, request.reason.as_deref()),
            false => (CancelSource::Parent, Some("Parent cancelled")),
        };
        let mut changes: Changes = cancelled(family.to_vec(), source, reason, self.backend.now());
        if let (Some(why), Some(write), true) = (why, changes.executions.first_mut(), whole) {
            write.events.insert(0, why);
        }
        result.tokens_invalidated = tokens;
        result.children_cancelled = family.iter().filter(|member| member.id != *head).count() as u64;
        if changes.is_empty() {
            return Ok(Some(self.backend.now()));
        }
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
    pub(crate) async fn clean_up(&self, family: &[Execution]) {
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

/// Whoever claims the message drives it from now on.
fn give_driver(changes: &mut Changes) {
    let Some(write) = changes.executions.first_mut() else { return };
    let id = MessageId::generate();
    changes.messages.push(wake_message(&write.execution, id.clone(), Available::Now));
    write.execution.driver = Some(id);
    write.execution.holder = None;
}

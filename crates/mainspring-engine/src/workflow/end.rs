//! How a drive ends: the code has returned, may not go on, or is handed over.

use mainspring_core::{Error, ExecutionStatus, Failure, Result};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    Drift, INVALID_STEP, OTHER_TYPE, PANIC,
    drive::{Driver, Drove, Running},
    inbox,
    park::Then,
    register::Returned,
    state::Stop,
};
use crate::call::LAST_WORDS;

impl Driver<'_> {
    pub(super) async fn stopped(&mut self) -> Result<Drove> {
        let stop = self.live.lock().stop.take();
        match stop {
            Some(Stop::Again(_)) if self.execution.status == ExecutionStatus::Cancelling => {
                let failure = Failure::new(INVALID_STEP, "a clean-up cannot continue as a new execution");
                self.last(Then::End(Returned::Broken(failure))).await
            }
            Some(Stop::Again(input)) => self.go_on_anew(input).await,
            Some(Stop::Fail(failure)) => self.last(Then::End(Returned::Broken(failure))).await,
            None => Err(Error::internal("a workflow was stopped without a reason")),
        }
    }

    /// What is left in the inbox goes along.
    async fn go_on_anew(&mut self, input: Value) -> Result<Drove> {
        self.read_inbox().await?;
        let (mut changes, _) = self.changes(Then::Again(input));
        let (left, head) = {
            let state = self.live.lock();
            (state.inbox.left(), state.inbox.head)
        };
        let next = changes.executions.get(1).map(|write| write.execution.id.clone());
        if let Some(next) = next {
            changes.appends = inbox::move_on(&self.execution, &next, left, head);
        }
        self.offer(changes).await
    }

    pub(super) async fn conclude(&mut self, returned: Returned) -> Result<Drove> {
        if let Some(commit) = self.committing.take() {
            let done = commit.await;
            if let Some(drove) = self.after(done)? {
                return Ok(drove);
            }
        }
        if let Some(drove) = self.repaid() {
            return Ok(drove);
        }
        // Once more with what the code asked for while it was on its way out.
        let stop = self.live.lock().stop.is_some();
        if stop {
            return self.stopped().await;
        }
        let missing = {
            let state = self.live.lock();
            state.journal.next_key().or_else(|| state.journal.forgotten()).map(ToOwned::to_owned)
        };
        if self.policy == Drift::Fail
            && let Some(failure) = other_type(&returned)
        {
            return self.park_apart(failure).await;
        }
        match missing {
            Some(expected) if self.policy == Drift::Fail && !is_panic(&returned) => {
                self.park_drifted(&expected, "the end").await
            }
            _ => self.last(Then::End(returned)).await,
        }
    }

    /// Lets bodies say their last words, and keeps what they said.
    pub(super) async fn hand_over(&mut self, code: &mut Running) -> Result<Drove> {
        let last_words = std::future::poll_fn(|cx| match code.as_mut().poll(cx) {
            std::task::Poll::Pending if self.live.is_active() => std::task::Poll::Pending,
            _ => std::task::Poll::Ready(()),
        });
        drop(timeout(LAST_WORDS, last_words).await);
        if let Some(commit) = self.committing.take() {
            let done = commit.await;
            if let Some(drove) = self.after(done)? {
                return Ok(drove);
            }
        }
        if let Some(drove) = self.repaid() {
            return Ok(drove);
        }
        if self.live.lock().has_news() {
            let (changes, _) = self.changes(Then::Run);
            if let Err(error) = self.inner.backend.commit(changes).await {
                tracing::debug!(execution = %self.execution.id, error = error.code(), "last words were lost");
            }
        }
        Ok(Drove::Changed)
    }
}

/// The failure of code that asked for another type than is recorded, and ended with it.
pub(super) fn other_type(returned: &Returned) -> Option<Failure> {
    match returned {
        Returned::Broken(failure) if failure.code == OTHER_TYPE => Some(failure.clone()),
        _ => None,
    }
}

fn is_panic(returned: &Returned) -> bool {
    matches!(returned, Returned::Broken(failure) if failure.code == PANIC)
}

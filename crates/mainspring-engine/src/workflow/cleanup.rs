//! Cleaning up after a cancel: what a workflow noted for that case is done, as steps of its own, before it ends.
//!
//! ```text
//! cancel ──► cancelling · a driver                                                     one commit
//!   the code runs once more, to where its history ends and not a step further; what it noted by then is what there is to do
//!   the future is dropped ──► the clean-ups, the last noted first: steps, sleeps, children    journaled as ever
//!   the last one is done ──► cancelled · whoever waits is told                         with its last step: one commit
//! ```
//!
//! What is noted stands in the history before the next step begins, so a cancel finds it whoever asks and whatever crashes.

use std::{sync::Arc, task::Poll};

use futures_util::FutureExt;
use mainspring_core::{BoxFuture, Execution, ExecutionStatus};
use mainspring_worker::caught;
use serde_json::{Value, json};

use super::{Cx, flag::Flag, journal::Journal, live::Live, register::Returned, state::Batch};

/// In the row's context: how many clean-ups are noted.
const CLEANUPS: &str = "cleanups";
/// Polls of the code in a row before others get a turn.
const MOST_POLLS: u32 = 64;

/// What is to be done when the execution is cancelled.
pub(crate) struct Cleanup {
    name: String,
    run: Box<dyn FnOnce(Cx) -> BoxFuture<'static, ()> + Send>,
    cx: Cx,
}

impl Cleanup {
    /// The key it was noted under.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// A noted clean-up; see [`Cx::on_cancel`]. It is forgotten when this is dropped.
#[must_use = "the clean-up is forgotten when this is dropped"]
pub struct OnCancel {
    live: Arc<Live>,
    number: u64,
}

impl Cx {
    /// Notes what is to be done when the execution is cancelled: with a [`Cx`] of its own, whose steps are `name/…`, and which
    /// may take steps, sleep, and wait for children as ever. Noted for as long as the answer lives, so for the rest of the
    /// scope it is bound in. Several are done one after the other, the last noted first; what fails or panics in one does not
    /// keep the others from being done. An execution that ends by itself does none of them.
    ///
    /// ```
    /// # use mainspring_engine::{Cx, WorkflowResult, exponential};
    /// # async fn release(_: &str) -> Result<(), String> { Ok(()) } async fn hold() -> Result<String, String> { Ok(String::new()) }
    /// async fn book(cx: Cx, seat: String) -> WorkflowResult<String, String> {
    ///     let taken = seat.clone();
    ///     let _release = cx.on_cancel("release", async move |cx| {
    ///         cx.step("seat", async || release(&taken).await).retry(exponential(5)).await
    ///     });
    ///     let held = cx.step("hold", async || hold().await).await?; // from here on a cancel releases the seat
    ///     cx.signal::<()>("paid").await?;
    ///     Ok(held)
    /// }
    /// ```
    pub fn on_cancel<T: 'static, F, Fut>(&self, name: &str, clean_up: F) -> OnCancel
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let key = self.key(name);
        // In the history, so that the next body begins only when this is durable.
        self.live.mark(&key, |_| Some(Value::Null));
        let run = Box::new(move |cx| -> BoxFuture<'static, ()> { Box::pin(clean_up(cx).map(drop)) });
        let cleanup = Cleanup { name: key.clone(), run, cx: self.within(&key) };
        let number = self.live.note_cleanup(cleanup);
        OnCancel { live: Arc::clone(&self.live), number }
    }
}

impl Drop for OnCancel {
    fn drop(&mut self) {
        self.live.forget_cleanup(self.number);
    }
}

impl Live {
    fn note_cleanup(&self, cleanup: Cleanup) -> u64 {
        let (number, count) = {
            let mut state = self.lock();
            let number = state.number();
            state.cleanups.insert(number, cleanup);
            (number, state.cleanups.len())
        };
        self.show(CLEANUPS, None, json!(count));
        number
    }

    fn forget_cleanup(&self, number: u64) {
        let left = {
            let mut state = self.lock();
            // Of an execution that is parked, everything is dropped; nothing is forgotten.
            if state.closed || state.cleanups.remove(&number).is_none() {
                return;
            }
            state.cleanups.len()
        };
        self.show(CLEANUPS, None, json!(left));
    }

    /// From a replay that stood still at the end of its history to the clean-up: what that has recorded is `journal`.
    pub(super) fn thaw(&self, journal: Journal) -> Vec<Cleanup> {
        let mut state = self.lock();
        state.frozen = false;
        let before = std::mem::replace(&mut state.journal, journal);
        state.journal.follow(before);
        state.stop = None;
        state.batch = Batch::default();
        state.durable = state.recorded;
        state.turns.clear();
        state.waits.clear();
        state.gates.clear();
        std::mem::take(&mut state.cleanups).into_values().rev().collect()
    }
}

/// Whether something was noted for the case of a cancel.
pub(crate) fn has_cleanups(execution: &Execution) -> bool {
    super::is_workflow(execution)
        && execution.context.get(CLEANUPS).and_then(Value::as_u64).is_some_and(|count| count > 0)
}

/// Whether it was cancelled and has something to do before it ends.
pub(crate) fn cleans_up(execution: &Execution) -> bool {
    execution.status == ExecutionStatus::Cancelling && has_cleanups(execution)
}

/// Lets the code run to where its history ends, and no further. What it returned, when it got to its end.
pub(super) async fn replay<F>(code: &mut F, flag: &Arc<Flag>) -> Option<F::Output>
where
    F: Future + Unpin,
{
    let waker = std::task::Waker::from(Arc::clone(flag));
    std::future::poll_fn(|cx| {
        for _ in 0..MOST_POLLS {
            if !flag.take() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(returned) = code.poll_unpin(&mut std::task::Context::from_waker(&waker)) {
                return Poll::Ready(Some(returned));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Does them, one after the other.
pub(super) async fn clean_up(live: Arc<Live>, cleanups: Vec<Cleanup>) -> Returned {
    for cleanup in cleanups {
        let Cleanup { name, run, cx } = cleanup;
        let done = caught(async { run(cx).await }).await;
        if let Err(panic) = done {
            tracing::error!(execution = %live.facts.id, cleanup = %name, %panic, "a clean-up panicked");
        }
    }
    Returned::Output(Value::Null)
}

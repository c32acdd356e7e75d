//! Undoing: what was done is undone in reverse order, each in a step of its own.

use std::future::IntoFuture;

use mainspring_core::{BoxFuture, flow::RetryPolicy};
use serde::{Serialize, de::DeserializeOwned};

use super::{BodyWith, Cx, Step, StepError, WorkflowResult, exponential};

/// Compensations of what was done so far, taken as steps when the rest fails. Their names are taken when they are noted, so
/// they are the same at every replay.
///
/// ```
/// # use mainspring_engine::{Cx, WorkflowResult};
/// # async fn hold() -> Result<u32, String> { Ok(1) } async fn release(_: u32) -> Result<(), String> { Ok(()) }
/// # async fn pay() -> Result<u32, String> { Ok(1) }
/// async fn checkout(cx: Cx) -> WorkflowResult<u32, String> {
///     let mut saga = cx.saga();
///     let held = cx.step("reserve", async || hold().await).await?;
///     saga.undo("release", held, async |held| release(held).await);
///     let paid = cx.step("pay", async || pay().await).await;
///     saga.end(paid.map_err(Into::into)).await
/// }
/// ```
pub struct Saga<'a, E> {
    cx: Cx,
    policy: RetryPolicy,
    undos: Vec<BoxFuture<'a, Result<(), StepError<E>>>>,
}

impl<'a, E: Serialize + DeserializeOwned + Send + 'a> Saga<'a, E> {
    pub(crate) fn new(cx: Cx) -> Self {
        Self { cx, policy: exponential(5), undos: Vec::new() }
    }

    /// How often the compensations noted from now on are tried. Defaults to five times, with pauses that double.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Notes how to undo what was just done: `undo` gets a copy of `done` at every run.
    pub fn undo<V, T, F>(&mut self, name: &str, done: V, undo: F)
    where
        V: Clone + Send + Sync + 'a,
        T: Serialize + DeserializeOwned + Send + 'a,
        F: BodyWith<V, Result<T, E>, Fut: Send + 'a> + Send + Sync + 'a,
    {
        let work = Box::new(move |_run| -> BoxFuture<'a, Result<T, E>> { Box::pin(undo(done.clone())) });
        let step = Step::new(self.cx.clone(), name, work).retry(self.policy.clone()).into_future();
        self.undos.push(Box::pin(async move { step.await.map(drop) }));
    }

    /// Undoes everything, the last first. One that fails does not keep the others from being taken.
    ///
    /// # Errors
    /// The first failure.
    pub async fn compensate(mut self) -> Result<(), StepError<E>> {
        let mut first = Ok(());
        while let Some(undo) = self.undos.pop() {
            let undone = undo.await;
            first = first.and(undone);
        }
        first
    }

    /// `result`, after everything was undone when it is an error. A compensation that failed is in the history and in the
    /// log.
    ///
    /// # Errors
    /// That of `result`.
    pub async fn end<T, F>(self, result: WorkflowResult<T, F>) -> WorkflowResult<T, F> {
        if result.is_err() {
            let id = self.cx.id().clone();
            if self.compensate().await.is_err() {
                tracing::error!(execution = %id, "a compensation failed");
            }
        }
        result
    }
}

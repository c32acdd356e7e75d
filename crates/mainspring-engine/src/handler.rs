//! Handlers: named code that does a step. Typed at the edge, erased one step in.

use std::{marker::PhantomData, sync::Arc};

use mainspring_core::{BoxFuture, flow::code};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{HandlerError, Invocation, JobRun, Outcome};

/// Code that does the steps whose `type` is its name, in the commit-per-step loop: it runs, returns, and its outcome is
/// committed. For work that takes minutes, or saves checkpoints, see [`JobHandler`].
pub trait Handler: Send + Sync + 'static {
    /// The `type` of the steps it does.
    const NAME: &'static str;
    /// What kind of handler it is, for catalogues.
    const CATEGORY: &'static str = "custom";
    /// What it does, for catalogues.
    const DESCRIPTION: &'static str = "";
    /// What it makes of the step's input. JSON that does not fit is the step's failure `INPUT_ERROR`.
    type Input: DeserializeOwned + Send;
    /// Its output, which goes to the step's output key.
    type Output: Serialize + Send;

    /// Does the step once. It may run again for the same visit of the step: after a failure as the step's policy says, and
    /// after a crash before the outcome was committed; [`Invocation::idempotency_key`] is the same then.
    fn handle(
        &self,
        call: Invocation,
        input: Self::Input,
    ) -> impl Future<Output = Result<Outcome<Self::Output>, HandlerError>> + Send;
}

/// Code that does a step out of line, as a job: it may take hours, saves checkpoints, and reports progress.
pub trait JobHandler: Send + Sync + 'static {
    /// The `type` of the steps it does.
    const NAME: &'static str;
    /// What kind of handler it is, for catalogues.
    const CATEGORY: &'static str = "custom";
    /// What it does, for catalogues.
    const DESCRIPTION: &'static str = "";
    /// What it makes of the step's input.
    type Input: DeserializeOwned + Send;
    /// Its output, which goes to the step's output key.
    type Output: Serialize + Send;

    /// Does the job, or what is left of it after its last checkpoint.
    fn run(
        &self,
        job: JobRun,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, HandlerError>> + Send;
}

pub(crate) type StepReply = Result<Outcome<Value>, HandlerError>;

/// A [`Handler`] whose types are JSON.
pub(crate) trait ErasedHandler: Send + Sync {
    fn call<'a>(&'a self, call: Invocation, input: Value) -> BoxFuture<'a, StepReply>;
}

/// A [`JobHandler`] whose types are JSON.
pub(crate) trait ErasedJob: Send + Sync {
    fn run<'a>(&'a self, job: JobRun, input: Value) -> BoxFuture<'a, Result<Value, HandlerError>>;
}

fn read<T: DeserializeOwned>(input: Value) -> Result<T, HandlerError> {
    serde_json::from_value(input)
        .map_err(|e| HandlerError::terminal(code::INPUT_ERROR, format!("the input does not fit: {e}")))
}

struct Typed<H>(H);

impl<H: Handler> ErasedHandler for Typed<H> {
    fn call<'a>(&'a self, call: Invocation, input: Value) -> BoxFuture<'a, StepReply> {
        Box::pin(async move { self.0.handle(call, read(input)?).await?.erase() })
    }
}

pub(crate) fn erase<H: Handler>(handler: H) -> Arc<dyn ErasedHandler> {
    Arc::new(Typed(handler))
}

impl<H: JobHandler> ErasedJob for Typed<H> {
    fn run<'a>(&'a self, job: JobRun, input: Value) -> BoxFuture<'a, Result<Value, HandlerError>> {
        Box::pin(async move {
            let output = self.0.run(job, read(input)?).await?;
            serde_json::to_value(output).map_err(not_json)
        })
    }
}

pub(crate) fn erase_job<H: JobHandler>(handler: H) -> Arc<dyn ErasedJob> {
    Arc::new(Typed(handler))
}

struct Closure<F, I>(F, PhantomData<fn(I)>);

impl<F, I, Fut, R> ErasedHandler for Closure<F, I>
where
    F: Fn(Invocation, I) -> Fut + Send + Sync,
    I: DeserializeOwned + Send,
    Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Into<Outcome<Value>>,
{
    fn call<'a>(&'a self, call: Invocation, input: Value) -> BoxFuture<'a, StepReply> {
        match read(input) {
            Ok(input) => {
                let running = (self.0)(call, input);
                Box::pin(async move { running.await.map(Into::into) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl<F, I, Fut, R> ErasedJob for Closure<F, I>
where
    F: Fn(JobRun, I) -> Fut + Send + Sync,
    I: DeserializeOwned + Send,
    Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Serialize,
{
    fn run<'a>(&'a self, job: JobRun, input: Value) -> BoxFuture<'a, Result<Value, HandlerError>> {
        match read(input) {
            Ok(input) => {
                let running = (self.0)(job, input);
                Box::pin(async move {
                    let output = running.await?;
                    serde_json::to_value(output).map_err(not_json)
                })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

fn not_json(error: serde_json::Error) -> HandlerError {
    HandlerError::terminal(code::HANDLER_ERROR, format!("the output is not JSON: {error}"))
}

pub(crate) fn erase_job_fn<F, I, Fut, R>(function: F) -> Arc<dyn ErasedJob>
where
    F: Fn(JobRun, I) -> Fut + Send + Sync + 'static,
    I: DeserializeOwned + Send + 'static,
    Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Serialize + 'static,
{
    Arc::new(Closure(function, PhantomData))
}

pub(crate) fn erase_fn<F, I, Fut, R>(function: F) -> Arc<dyn ErasedHandler>
where
    F: Fn(Invocation, I) -> Fut + Send + Sync + 'static,
    I: DeserializeOwned + Send + 'static,
    Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Into<Outcome<Value>> + 'static,
{
    Arc::new(Closure(function, PhantomData))
}

//! Step handlers by name: what an application offers to whoever calls its step endpoint.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use mainspring_core::{BoxFuture, Error, Result, limits, nul};
use mainspring_http::{Call, Endpoint, Entrypoint, Reply};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// In the data of a message: its input has NUL in it, and is escaped as [`nul`] says.
pub(crate) const ESCAPED: &str = "escaped";

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepFailure {
    /// It may be tried again, after so long when it says.
    Retry {
        /// Why, for people.
        message: String,
        /// Not before.
        after: Option<Duration>,
    },
    /// No further run can help.
    Fatal(String),
}

impl StepFailure {
    /// It may be tried again.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry { message: message.into(), after: None }
    }

    /// It may be tried again after so long.
    pub fn retry_after(message: impl Into<String>, after: Duration) -> Self {
        Self::Retry { message: message.into(), after: Some(after) }
    }

    /// No further run can help.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal(message.into())
    }
}

impl From<StepFailure> for Reply {
    fn from(failure: StepFailure) -> Self {
        match failure {
            StepFailure::Retry { message, after } => {
                Self::Failed { error: message, fatal: false, retry_after: after }
            }
            StepFailure::Fatal(message) => Self::fatal(message),
        }
    }
}

/// One run of a step, as its handler sees it.
#[derive(Debug, Clone)]
pub struct StepContext {
    /// The step.
    pub step_name: String,
    /// The same for every run of this step, for systems outside that keep apart what they have done already.
    pub step_id: String,
    /// The run it belongs to.
    pub run_id: String,
    /// Which run this is: 1 for the first.
    pub attempt: u32,
    /// Cancelled when nobody waits for the step any more: its run was cancelled, or its worker lost it. The handler itself is
    /// dropped then, so this is for what it has begun besides.
    pub cancel: CancellationToken,
}

type Erased = Arc<dyn Fn(Value, StepContext) -> BoxFuture<'static, Result<Value, StepFailure>> + Send + Sync>;

/// Step handlers by name; an [`Endpoint`] whose steps answer with what they return.
///
/// ```
/// use mainspring_world::{StepFailure, StepHandlers};
///
/// let steps = StepHandlers::new().step("add", |(a, b): (i64, i64), _call| async move {
///     a.checked_add(b).ok_or_else(|| StepFailure::fatal("too large"))
/// })?;
/// # Ok::<(), mainspring_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct StepHandlers {
    handlers: BTreeMap<String, Erased>,
}

impl StepHandlers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    ///
    /// # Errors
    /// Invalid when it is no name; conflict when it is taken.
    pub fn step<F, I, O, Fut>(mut self, name: impl Into<String>, handler: F) -> Result<Self>
    where
        F: Fn(I, StepContext) -> Fut + Send + Sync + 'static,
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        Fut: Future<Output = Result<O, StepFailure>> + Send + 'static,
    {
        let name = name.into();
        limits::check_name("step.name", &name)?;
        let erased: Erased = Arc::new(move |input, call| match serde_json::from_value(input) {
            Ok(input) => {
                let running = handler(input, call);
                Box::pin(async move {
                    let not_json = |error: serde_json::Error| {
                        StepFailure::fatal(format!("the output is not JSON: {error}"))
                    };
                    serde_json::to_value(running.await?).map_err(not_json)
                })
            }
            Err(error) => {
                let failure = StepFailure::fatal(format!("the input does not fit: {error}"));
                Box::pin(std::future::ready(Err(failure)))
            }
        });
        match self.handlers.insert(name.clone(), erased) {
            None => Ok(self),
            Some(_) => Err(Error::conflict(format!("step `{name}` is registered twice"))),
        }
    }

    /// Runs a step.
    ///
    /// # Errors
    /// What the handler says; fatal when there is none of this name.
    pub async fn run(&self, input: Value, call: StepContext) -> Result<Value, StepFailure> {
        match self.handlers.get(&call.step_name) {
            Some(handler) => handler(input, call).await,
            None => Err(StepFailure::fatal(format!("no step is called `{}`", call.step_name))),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.handlers.keys()
    }
}

impl Endpoint for StepHandlers {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            if call.entrypoint() == Entrypoint::Flow {
                return Reply::BadRequest("this application has steps only".to_owned());
            }
            let mut message = call.message;
            let text = |data: &Value, key: &str| {
                data.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let cancel = CancellationToken::new();
            let context = StepContext {
                step_name: message.id,
                step_id: text(&message.data, "stepId"),
                run_id: text(&message.data, "workflowRunId"),
                attempt: message.attempt,
                cancel: cancel.clone(),
            };
            // Whoever hangs up drops this call in its middle.
            let hung_up = cancel.drop_guard();
            let input = message.data.get_mut("input").map(Value::take).unwrap_or_default();
            let escaped = message.data.get(ESCAPED) == Some(&Value::Bool(true));
            let input = if escaped { nul::unescape(input) } else { input };
            let ran = self.run(input, context).await;
            drop(hung_up.disarm());
            ran.map_or_else(Reply::from, Reply::Ok)
        })
    }
}

impl fmt::Debug for StepHandlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}

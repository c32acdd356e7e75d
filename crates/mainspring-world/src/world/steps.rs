//! Steps that workflows call: done by a handler of this process, or by whoever the invoker reaches.

use std::{sync::Arc, time::Duration};

use mainspring_core::{flow::code, limits, nul};
use mainspring_engine::{EngineBuilder, HandlerError, JobRun};
use mainspring_http::{Entrypoint, Invoker, MessageData, QueueName, Reply};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{circuit::Circuit, spans};
use crate::handlers::{ESCAPED, StepContext, StepFailure, StepHandlers};

/// The first pause after a call that did not come through, and the longest.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(30);

/// The failure code of a step's own failure.
const STEP_FAILED: &str = code::STEP_FAILED;

pub(super) fn here(engine: EngineBuilder, name: &str, steps: Arc<StepHandlers>) -> EngineBuilder {
    engine.step_fn(name, move |job: JobRun, input: Value| {
        let steps = Arc::clone(&steps);
        async move { steps.run(input, context(&job)).await.map_err(failed) }
    })
}

pub(super) fn elsewhere(
    engine: EngineBuilder,
    invoker: Arc<dyn Invoker>,
    circuit: Arc<Circuit>,
) -> EngineBuilder {
    engine.other_steps(move |job, input| {
        let (invoker, circuit) = (Arc::clone(&invoker), Arc::clone(&circuit));
        async move {
            tokio::select! {
                ended = invoke(&*invoker, &circuit, &job, input) => ended,
                // What is said after this does not count.
                () = job.cancel().cancelled() => Err(HandlerError::new(code::CANCELLED, "told to stop")),
            }
        }
    })
}

/// Which run this is; those that were lost with their worker are not counted.
fn attempt(job: &JobRun) -> u32 {
    job.attempt().saturating_sub(job.lost()).max(1)
}

fn context(job: &JobRun) -> StepContext {
    StepContext {
        step_name: job.handler().to_owned(),
        step_id: job.id().to_string(),
        run_id: job.execution_id().to_string(),
        attempt: attempt(job),
        cancel: job.cancel().clone(),
    }
}

fn failed(failure: StepFailure) -> HandlerError {
    match failure {
        StepFailure::Fatal(message) => HandlerError::terminal(STEP_FAILED, message),
        StepFailure::Retry { message, after } => {
            let error = HandlerError::new(STEP_FAILED, message);
            after.map_or(error.clone(), |after| error.retry_after(after))
        }
    }
}

/// Calls until there is an answer of the step itself: whoever cannot be reached has not failed, and uses up no attempt.
async fn invoke(
    invoker: &dyn Invoker,
    circuit: &Circuit,
    job: &JobRun,
    input: Value,
) -> Result<Value, HandlerError> {
    let queue = QueueName::new(Entrypoint::Step, job.handler())?;
    let mut data = json!({
        "stepId": job.id(),
        "workflowRunId": job.execution_id(),
        "stepName": job.handler(),
    });
    // Only what needs it is escaped: whoever is called may be written in any language.
    let plain = limits::check_json("step.input", &input).is_ok();
    data["input"] = if plain { input } else { nul::escape(input) };
    if !plain {
        data[ESCAPED] = json!(true);
    }
    let mut message = MessageData::new(queue, data);
    message.message_id = job.id().to_string();
    message.idempotency_key = Some(job.id().to_string());
    message.attempt = attempt(job);
    let mut pause = SOON;
    loop {
        circuit.enter().await;
        let reply = spans::invoke(invoker, message.clone()).await;
        let reached = !matches!(reply, Reply::Unauthorized | Reply::Unavailable { .. });
        if reached && circuit.taken() {
            tracing::info!(step = job.handler(), "the secret is taken; steps are called again");
        }
        let wait = match reply {
            Reply::Ok(output) => return Ok(output),
            Reply::Failed { error, fatal: true, .. } => {
                return Err(HandlerError::terminal(STEP_FAILED, error));
            }
            Reply::Failed { error, retry_after, .. } => {
                return Err(failed(StepFailure::Retry { message: error, after: retry_after }));
            }
            Reply::BadRequest(error) => return Err(HandlerError::terminal(code::INPUT_ERROR, error)),
            Reply::Again(after) => after,
            Reply::Unauthorized => {
                if circuit.refused() {
                    tracing::error!(
                        step = job.handler(),
                        "the secret is refused: this process calls no step until it is taken"
                    );
                }
                continue;
            }
            Reply::Unavailable { error, retry_after } => {
                tracing::warn!(step = job.handler(), %error, "a step cannot be reached now");
                let wait = retry_after.unwrap_or(pause);
                pause = (pause * 2).min(LATE);
                wait
            }
        };
        sleep(wait).await;
    }
}

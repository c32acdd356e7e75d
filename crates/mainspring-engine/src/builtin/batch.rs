//! `batch`: calls another handler for every item of its input's `items`.
//!
//! `{"handler": "charge", "concurrency": 5, "continueOnError": false}`. The output is `{"results": […], "errors": […],
//! "total", "succeeded", "failed"}`; results keep the order of the items, with `null` where one failed. Without
//! `continueOnError` the first failure is the step's. All of it is one step: what the items do takes effect together.

use futures_util::{StreamExt, TryStreamExt, stream};
use mainspring_core::Failure;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Handler, HandlerError, Invocation, Outcome, outcome::Kind};

const MOST_ITEMS: usize = 10_000;

pub(crate) struct Batch;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    handler: String,
    #[serde(default = "one")]
    concurrency: usize,
    #[serde(default)]
    continue_on_error: bool,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
pub(crate) struct Input {
    items: Vec<Value>,
}

impl Handler for Batch {
    const NAME: &'static str = "batch";
    const CATEGORY: &'static str = super::CONTROL;
    const DESCRIPTION: &'static str = "Calls another handler for every item";
    type Input = Input;
    type Output = Value;

    async fn handle(&self, call: Invocation, input: Input) -> Result<Outcome, HandlerError> {
        let config: Config = call.config_as()?;
        let total = input.items.len();
        if total > MOST_ITEMS {
            let message = format!("{total} items, at most {MOST_ITEMS} are allowed");
            return Err(HandlerError::terminal("INPUT_ERROR", message));
        }
        let calls: Vec<_> = input
            .items
            .into_iter()
            .enumerate()
            .map(|(index, item)| one_item(call.clone(), config.handler.clone(), index, item))
            .collect();
        let running = stream::iter(calls).buffered(config.concurrency.clamp(1, 100));
        let results: Vec<Result<Value, (usize, HandlerError)>> = if config.continue_on_error {
            running.collect().await
        } else {
            let all: Result<Vec<Value>, (usize, HandlerError)> = running.try_collect().await;
            all.map_err(|(index, error)| at_item(index, error))?.into_iter().map(Ok).collect()
        };
        let errors: Vec<Value> = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .map(|(index, error)| {
                json!({"index": index, "code": error.failure.code, "message": error.failure.message})
            })
            .collect();
        let failed = errors.len();
        let results: Vec<Value> = results.into_iter().map(Result::unwrap_or_default).collect();
        let output = json!({
            "results": results, "errors": errors, "total": total, "succeeded": total - failed, "failed": failed,
        });
        Ok(output.into())
    }
}

async fn one_item(
    call: Invocation,
    handler: String,
    index: usize,
    item: Value,
) -> Result<Value, (usize, HandlerError)> {
    match call.call_other(&handler, item).await {
        Ok(Outcome { kind: Kind::Success(output), .. }) => Ok(output),
        Ok(Outcome { kind: Kind::Failure(failure), .. }) => {
            Err((index, HandlerError { failure: Box::new(failure), terminal: false, delay: None }))
        }
        Ok(_) => {
            let message = format!("handler `{handler}` waits, which an item of a batch cannot");
            Err((index, HandlerError::terminal("INPUT_ERROR", message)))
        }
        Err(error) => Err((index, error)),
    }
}

fn at_item(index: usize, error: HandlerError) -> HandlerError {
    let HandlerError { failure, terminal, delay } = error;
    let message = format!("item {index}: {}", failure.message);
    HandlerError { failure: Box::new(Failure { message, ..*failure }), terminal, delay }
}

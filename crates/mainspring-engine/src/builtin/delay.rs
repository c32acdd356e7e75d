//! `delay`: waits for `ms` milliseconds, holding nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::{Handler, HandlerError, Invocation, Outcome};

pub(crate) struct Delay;

#[derive(Deserialize)]
struct Config {
    #[serde(alias = "duration", alias = "delayMs")]
    ms: u64,
}

impl Handler for Delay {
    const NAME: &'static str = "delay";
    const CATEGORY: &'static str = super::CONTROL;
    const DESCRIPTION: &'static str = "Waits for `ms` milliseconds";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, call: Invocation, _input: Value) -> Result<Outcome, HandlerError> {
        let Config { ms } = call.config_as()?;
        Ok(Outcome::wait(Duration::from_millis(ms), format!("delay of {ms} ms")))
    }
}

//! `delay`: waits, holding nothing, for the sum of `ms`, `seconds`, `minutes` and `hours`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::{Handler, HandlerError, Invocation, Outcome};

pub(crate) struct Delay;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    ms: u64,
    seconds: u64,
    minutes: u64,
    hours: u64,
}

impl Config {
    fn total(&self) -> Duration {
        let parts = [(self.seconds, 1_000), (self.minutes, 60_000), (self.hours, 3_600_000)];
        let ms = parts.iter().fold(self.ms, |sum, (n, each)| sum.saturating_add(n.saturating_mul(*each)));
        Duration::from_millis(ms)
    }
}

impl Handler for Delay {
    const NAME: &'static str = "delay";
    const CATEGORY: &'static str = super::CONTROL;
    const DESCRIPTION: &'static str = "Waits";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, call: Invocation, _input: Value) -> Result<Outcome, HandlerError> {
        let delay = call.config_as::<Config>()?.total();
        Ok(Outcome::wait(delay, format!("delay of {} ms", delay.as_millis())))
    }
}

//! `transform`: its output is its input. What it makes of the context is written in the step's selector.

use serde_json::Value;

use crate::{Handler, HandlerError, Invocation, Outcome};

pub(crate) struct Transform;

impl Handler for Transform {
    const NAME: &'static str = "transform";
    const CATEGORY: &'static str = super::DATA;
    const DESCRIPTION: &'static str = "Stores what the step's selector made of the context";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, _call: Invocation, input: Value) -> Result<Outcome, HandlerError> {
        Ok(input.into())
    }
}

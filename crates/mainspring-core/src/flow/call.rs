//! What an execution does next: the step, its input, and which attempt it is.

use serde_json::Value;

use super::{Flow, Step, code};
use crate::{Execution, Failure};

/// The next call of a handler.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCall<'a> {
    /// The step.
    pub step: &'a Step,
    /// What its selector made of the context.
    pub input: Value,
    /// 1 for the first run, 2 for the first retry.
    pub attempt: u32,
}

/// The call that is next for `execution`.
///
/// # Errors
/// Why the execution has failed instead, in the order of the checks: `MAX_STEPS`, `STEP_NOT_FOUND`, `INPUT_ERROR`. Hand it to
/// [`failed`](super::failed).
pub fn next_call<'a>(flow: &'a Flow, execution: &Execution, max_steps: u32) -> Result<StepCall<'a>, Failure> {
    if execution.step_count >= max_steps {
        return Err(Failure::new(
            code::MAX_STEPS,
            format!("ran {} steps, at most {max_steps} are allowed", execution.step_count),
        ));
    }
    let step = find(flow, execution)?;
    let input = step
        .input
        .resolve(&execution.context)
        .map_err(|failure| Failure { step_id: Some(step.id.clone()), ..failure })?;
    Ok(StepCall { step, input, attempt: attempt(execution, step) })
}

/// The step an execution stands at.
pub(super) fn find<'a>(flow: &'a Flow, execution: &Execution) -> Result<&'a Step, Failure> {
    flow.step(&execution.current_step).ok_or_else(|| {
        let message = format!("flow `{}` {} has no step `{}`", flow.id, flow.version, execution.current_step);
        Failure::new(code::STEP_NOT_FOUND, message)
    })
}

/// Which run of `step` the next or present one is.
pub(super) fn attempt(execution: &Execution, step: &Step) -> u32 {
    execution.retries.get(&step.id).copied().unwrap_or(0).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ExecutionId;

    #[test]
    fn the_checks_come_in_order() {
        // scenarios F14, F22
        let template = json!({"type": "template", "template": vec!["${big}"; 20]});
        let flow = Flow::builder("f", "1.0.0").step(Step::new("a", "x").input(template)).build().unwrap();
        let mut execution = Execution::new(ExecutionId::generate(), "f", "1.0.0", "a");
        assert_eq!(next_call(&flow, &execution, 1).unwrap().attempt, 1);

        execution.retries.insert("a".to_owned(), 2);
        assert_eq!(next_call(&flow, &execution, 1).unwrap().attempt, 3);

        execution.context.insert("big".to_owned(), json!("x".repeat(1_000_000)));
        let failure = next_call(&flow, &execution, 1).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.step_id.as_deref()), ("INPUT_ERROR", Some("a")));

        execution.current_step = "b".to_owned();
        assert_eq!(next_call(&flow, &execution, 1).unwrap_err().code, "STEP_NOT_FOUND");

        execution.step_count = 1;
        assert_eq!(next_call(&flow, &execution, 1).unwrap_err().code, "MAX_STEPS");
    }
}

//! Steps: created once, begun by one, over once.

use std::time::Duration;

use mainspring_core::{Error, NewEvent, Result};
use serde_json::json;

use super::{Asking, content};
use crate::{EventType, Fact, Step, StepStatus, event::logged};

pub(super) fn decide(asking: &Asking<'_>) -> Result<Vec<NewEvent>> {
    let step = asking.state.steps.get(asking.id()).map(|step| &step.entity);
    match (&asking.asked.fact, step) {
        (Fact::StepCreated(_), _) if asking.is_over() => Err(asking.over()),
        (Fact::StepCreated(_), None) => Ok(asking.as_asked()),
        (Fact::StepCreated(_), Some(_)) => Err(asking.exists("step")),
        (Fact::StepStarted { create: Some(_) }, _) if asking.is_over() => Err(asking.gone()),
        // Creating it is the claim: whoever finds it there has lost it.
        (Fact::StepStarted { create: Some(_) }, Some(_)) => Err(asking.exists("step")),
        (Fact::StepStarted { create: Some(step) }, None) => {
            let data = content(&Fact::StepCreated(step.clone()));
            Ok(vec![logged(EventType::StepCreated, Some(asking.id()), data), started(asking)])
        }
        (_, None) => Err(asking.missing("step")),
        (_, Some(step)) => {
            if step.status.is_terminal() {
                let (id, status) = (asking.id(), step.status.as_str());
                return Err(Error::conflict(format!("step `{id}` is {status}")));
            }
            // What runs may end after its run did; nothing begins then.
            if asking.is_over() && step.status != StepStatus::Running {
                return Err(asking.gone());
            }
            match &asking.asked.fact {
                Fact::StepStarted { .. } => start(asking, step),
                _ => Ok(asking.as_asked()),
            }
        }
    }
}

fn start(asking: &Asking<'_>, step: &Step) -> Result<Vec<NewEvent>> {
    if let Some(at) = step.retry_after
        && at > asking.now
    {
        let left = at.since(asking.now);
        let wait = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let text = format!("step `{}` is not to be begun before {at}", asking.id());
        return Err(Error::too_early(wait, text));
    }
    Ok(vec![started(asking)])
}

fn started(asking: &Asking<'_>) -> NewEvent {
    logged(EventType::StepStarted, Some(asking.id()), json!({}))
}

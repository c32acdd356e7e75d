//! Hooks: a token belongs to one of them at a time, and payloads come in until the run is over.

use mainspring_core::{Error, ExecutionId, NewEvent, Result};
use serde_json::json;

use super::Asking;
use crate::{
    EventType, Fact,
    event::logged,
    state::{HookState, Numbered},
};

/// A token that is taken is no error: it is recorded, and the run's code sees it.
pub(super) fn create(
    asking: &Asking<'_>,
    token: &str,
    taken_by: Option<&ExecutionId>,
) -> Result<Vec<NewEvent>> {
    if asking.is_over() {
        return Err(asking.over());
    }
    if asking.state.hooks.contains_key(asking.id()) {
        return Err(asking.exists("hook"));
    }
    let here = asking.state.hooks.values().filter_map(|hook| hook.entity.active());
    let here = here.into_iter().any(|hook| hook.token == token).then(|| asking.run_id());
    match here.or(taken_by) {
        None => Ok(asking.as_asked()),
        Some(run) => {
            let data = json!({"token": token, "conflictingRunId": run});
            Ok(vec![logged(EventType::HookConflict, Some(asking.id()), data)])
        }
    }
}

pub(super) fn decide(asking: &Asking<'_>) -> Result<Vec<NewEvent>> {
    let received = matches!(asking.asked.fact, Fact::HookReceived { .. });
    match asking.state.hooks.get(asking.id()) {
        Some(_) if asking.is_over() => Err(asking.gone()),
        Some(Numbered { entity: HookState::Active(_), .. }) => Ok(asking.as_asked()),
        Some(Numbered { entity: HookState::Disposed, .. }) if !received => {
            Err(Error::conflict(format!("hook `{}` was disposed of before", asking.id())))
        }
        None if asking.is_over() && received => Err(asking.gone()),
        Some(_) | None => Err(asking.missing("hook")),
    }
}

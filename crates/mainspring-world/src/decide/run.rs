//! Runs: created once, started once, over once.

use mainspring_core::{Error, ExecutionId, NewEvent, Result, Timestamp};
use serde_json::{Map, Value, json};

use super::{Asking, content};
use crate::{
    EventType, Fact, NewRun, RunEvent, RunStatus, SPEC_VERSION,
    event::{check_attributes, logged},
    state::set_attributes,
};

/// A run that does not exist.
pub(super) fn absent(id: &ExecutionId, asked: &RunEvent, now: Timestamp) -> Result<Vec<NewEvent>> {
    match &asked.fact {
        Fact::RunCreated(run) => Ok(vec![created(run)?]),
        // The message came before the run did: what it carries is enough to create it.
        Fact::RunStarted { run_input: Some(run) } => Ok(vec![created(run)?, started(now)]),
        _ => Err(Error::not_found("run", id)),
    }
}

fn created(run: &NewRun) -> Result<NewEvent> {
    if let Some(spec) = run.spec_version.filter(|spec| !(1..=SPEC_VERSION).contains(spec)) {
        let problem = format!("{spec} is not within 1 to {SPEC_VERSION}");
        return Err(Error::invalid("specVersion", problem));
    }
    Ok(logged(EventType::RunCreated, None, content(&Fact::RunCreated(run.clone()))))
}

/// The time is in the event, so that the row and the history say the same.
fn started(now: Timestamp) -> NewEvent {
    logged(EventType::RunStarted, None, json!({"startedAt": now}))
}

pub(super) fn decide(asking: &Asking<'_>) -> Result<Vec<NewEvent>> {
    let status = asking.state.run.status;
    match &asking.asked.fact {
        Fact::RunCreated(_) => Err(Error::conflict(format!("run `{}` exists", asking.run_id()))),
        Fact::RunStarted { .. } => match status {
            RunStatus::Pending => Ok(vec![started(asking.now)]),
            RunStatus::Running => Ok(Vec::new()),
            RunStatus::Paused => Err(asking.over()),
            _ => Err(asking.gone()),
        },
        Fact::RunPaused {} => match status {
            RunStatus::Pending | RunStatus::Running => Ok(asking.as_asked()),
            _ => Err(asking.over()),
        },
        Fact::RunResumed {} => match status {
            RunStatus::Paused => Ok(asking.as_asked()),
            _ => Err(Error::not_found("paused run", asking.run_id())),
        },
        // Once more changes nothing, and is recorded.
        Fact::RunCancelled { .. } if status == RunStatus::Cancelled => Ok(asking.as_asked()),
        Fact::RunCompleted { .. } | Fact::RunFailed { .. } | Fact::RunCancelled { .. } => {
            if asking.is_over() { Err(asking.over()) } else { Ok(asking.as_asked()) }
        }
        Fact::AttrSet { attributes } => attributes_set(asking, attributes),
        other => Err(Error::internal(format!("{} is not about a run", other.event_type()))),
    }
}

fn attributes_set(asking: &Asking<'_>, changes: &Map<String, Value>) -> Result<Vec<NewEvent>> {
    if asking.is_over() {
        return Err(asking.over());
    }
    if asking.asked.correlation_id.as_ref().is_some_and(|id| asking.state.marks.contains(id)) {
        return Err(asking.exists("attribute change"));
    }
    let mut after = asking.state.run.attributes.clone();
    set_attributes(&mut after, &json!({"attributes": changes}));
    check_attributes(&after)?;
    Ok(asking.as_asked())
}

//! The guards: what happens when an event is asked for, given what the run is like. Pure.

mod hook;
mod run;
mod step;
#[cfg(test)]
mod tests;
mod wait;

use mainspring_core::{Error, ExecutionId, NewEvent, Result, Timestamp};
use serde_json::Value;

use crate::{EventType, Fact, RunEvent, SPEC_VERSION, event::logged, state::RunState};

/// What a decision may know beside the run.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    /// The other run that has the token that is asked for.
    pub(crate) taken_by: Option<ExecutionId>,
}

/// The last version of the rules without events as the only write.
const LEGACY: u32 = 1;

/// The events that happen, in order; none when there is nothing to do.
///
/// # Errors
/// Not found (404), conflict (409), expired (410) or too early (425); invalid for a run of other rules.
pub(crate) fn decide(
    id: &ExecutionId,
    state: Option<&RunState>,
    asked: &RunEvent,
    moment: &Moment,
) -> Result<Vec<NewEvent>> {
    let Some(state) = state else { return run::absent(id, asked, moment.now) };
    check_spec(state, &asked.fact)?;
    if state.cancelling && asked.fact.event_type() != EventType::RunCancelled {
        return Err(Error::conflict(format!("run `{id}` is being cancelled")));
    }
    let asking = Asking { state, asked, now: moment.now };
    match &asked.fact {
        Fact::StepCreated(_)
        | Fact::StepStarted { .. }
        | Fact::StepCompleted { .. }
        | Fact::StepFailed { .. }
        | Fact::StepRetrying { .. } => step::decide(&asking),
        Fact::HookCreated { token, .. } => hook::create(&asking, token, moment.taken_by.as_ref()),
        Fact::HookReceived { .. } | Fact::HookDisposed {} => hook::decide(&asking),
        Fact::WaitCreated { .. } | Fact::WaitCompleted {} => wait::decide(&asking),
        _ => run::decide(&asking),
    }
}

/// One event that is asked for, and the run as it is.
struct Asking<'a> {
    state: &'a RunState,
    asked: &'a RunEvent,
    now: Timestamp,
}

impl Asking<'_> {
    fn run_id(&self) -> &ExecutionId {
        &self.state.run.run_id
    }

    /// The step, hook or wait it is about.
    fn id(&self) -> &str {
        self.asked.correlation_id.as_deref().unwrap_or_default()
    }

    fn is_over(&self) -> bool {
        self.state.run.status.is_terminal()
    }

    /// The event as it was asked for.
    fn as_asked(&self) -> Vec<NewEvent> {
        let correlation_id = self.asked.correlation_id.as_deref();
        vec![logged(self.asked.fact.event_type(), correlation_id, content(&self.asked.fact))]
    }

    /// The run is over, and it cannot be any more.
    fn over(&self) -> Error {
        Error::conflict(self.over_text())
    }

    /// The run is over, and whoever asks comes too late.
    fn gone(&self) -> Error {
        Error::expired(self.over_text())
    }

    fn over_text(&self) -> String {
        format!("run `{}` is {}", self.run_id(), self.state.run.status.as_str())
    }

    fn exists(&self, what: &str) -> Error {
        Error::conflict(format!("{what} `{}` of run `{}` exists", self.id(), self.run_id()))
    }

    fn missing(&self, what: &str) -> Error {
        Error::not_found(what, self.id())
    }
}

/// What a fact is, as an object.
fn content(fact: &Fact) -> Value {
    let mut value = serde_json::to_value(fact).unwrap_or_default();
    value.get_mut("eventData").map(Value::take).unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

fn check_spec(state: &RunState, fact: &Fact) -> Result<()> {
    let (id, spec) = (&state.run.run_id, state.run.spec_version);
    if spec > SPEC_VERSION {
        let problem = format!("run `{id}` is of version {spec}, at most {SPEC_VERSION} is supported here");
        return Err(Error::invalid("specVersion", problem));
    }
    let event_type = fact.event_type();
    let old =
        matches!(event_type, EventType::RunCancelled | EventType::WaitCompleted | EventType::HookReceived);
    if spec <= LEGACY && !old {
        let problem = format!("run `{id}` is of version {spec}, which has no `{event_type}`");
        return Err(Error::invalid("eventType", problem));
    }
    Ok(())
}

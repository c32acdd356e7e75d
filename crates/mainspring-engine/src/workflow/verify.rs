//! Replaying an exported history against the code at hand, without a database and without running a single body.

use std::{fmt, sync::Arc};

use mainspring_core::{Error, ExecutionStatus, Failure, Result};
use mainspring_worker::caught;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Cx, ERROR, ExportedHistory, WORKFLOW_ERROR,
    cleanup::replay,
    drive::Running,
    end::other_type,
    flag::Flag,
    live::{Facts, Live},
    recorded::History,
    register::Returned,
    state::{State, Stop},
    tail::tail,
};
use crate::Engine;

/// What code makes of a history.
#[derive(Debug, Clone, PartialEq)]
pub enum Replay {
    /// It takes the same steps in the same order, and ends as recorded if it has ended.
    Fits,
    /// It has a step that is not recorded in between. Executions that are under way take it when they come there; what is
    /// behind it was not looked at.
    Inserted {
        /// The step's key.
        step: String,
        /// What the history has next.
        before: String,
    },
    /// It is somewhere else than the history: an execution like this one would be parked.
    Drifted {
        /// What the history has next.
        expected: String,
        /// Where the code is.
        got: String,
    },
    /// A recorded result is not of the type the code asks for.
    OtherType {
        /// The step's key.
        step: String,
        /// Both types.
        problem: String,
    },
    /// It takes the same steps, and ends in another way.
    Differs {
        /// How it ended.
        recorded: Value,
        /// How it would end now.
        returned: Value,
    },
}

impl Replay {
    /// Whether an execution with this history can go on with the code.
    pub fn fits(&self) -> bool {
        matches!(self, Self::Fits | Self::Inserted { .. })
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fits => f.write_str("the code fits the history"),
            Self::Inserted { step, before } => {
                write!(
                    f,
                    "the code has step `{step}`, which is not recorded, where the history has step `{before}`"
                )
            }
            Self::Drifted { expected, got } => f.write_str(&apart(expected, got)),
            Self::OtherType { problem, .. } => f.write_str(problem),
            Self::Differs { recorded, returned } => {
                write!(f, "the history ends with {recorded}, but the code with {returned}")
            }
        }
    }
}

/// How code and history have drifted apart.
pub(super) fn apart(expected: &str, got: &str) -> String {
    format!("the history has step `{expected}` next, but the code is at `{got}`")
}

impl Engine {
    /// Replays an exported history against the code that is registered here: no body runs, and nothing is read or written.
    /// What is recorded since a cancel is left out.
    ///
    /// # Errors
    /// Not found: no code for this workflow and version.
    pub async fn verify_replay(&self, exported: &ExportedHistory) -> Result<Replay> {
        let inner = &self.0;
        let head = &exported.execution;
        let code = inner.workflows.code_of(&head.flow_id, &head.flow_version).ok_or_else(|| {
            Error::not_found("the code of workflow", format!("{} {}", head.flow_id, head.flow_version))
        })?;
        let History { journal, input, seed, .. } = History::read(tail(exported.recorded()));
        let facts = Facts {
            id: head.execution.clone(),
            flow: head.flow_id.clone(),
            root: head.execution.clone(),
            tenant: String::new(),
            queue: inner.options.queue.clone(),
            step_queue: inner.options.queue.clone(),
            seed: seed.unwrap_or_else(|| (head.execution.clone(), head.created_at)),
            metadata: Map::new(),
        };
        let (backend, cancel) = (Arc::clone(&inner.backend), CancellationToken::new());
        let live = Arc::new(Live::new(facts, backend, cancel, journal, Map::new(), true));
        live.lock().frozen = true;
        let cx = Cx::new(Arc::clone(&live));
        let running = async move { code.begin(cx, input).await };
        let mut running: Running = Box::pin(caught(running));
        let returned = replay(&mut running, &Flag::new())
            .await
            .map(|returned| returned.unwrap_or_else(|panic| Returned::Broken(panic.into())));
        let verdict = compare(exported, &mut live.lock(), returned);
        Ok(verdict)
    }
}

const THE_END: &str = "the end";

fn compare(exported: &ExportedHistory, state: &mut State, returned: Option<Returned>) -> Replay {
    let drifted = |expected: &str, got: &str| Replay::Drifted { expected: expected.into(), got: got.into() };
    let open = state.turns.values().find(|turn| turn.open.is_some()).map(|turn| turn.key.clone());
    let at = open.clone().or_else(|| state.turns.values().next().map(|turn| turn.key.clone()));
    let at = at.unwrap_or_else(|| "something that is not recorded".to_owned());
    let returned = match (state.stop.take(), returned) {
        (Some(Stop::Fail(failure)), _) => Some(Returned::Broken(failure)),
        (Some(Stop::Again(_)), _) => return Replay::Fits,
        (None, returned) => returned,
    };
    if let Some(Failure { message: problem, step_id, .. }) = returned.as_ref().and_then(other_type) {
        return Replay::OtherType { step: step_id.unwrap_or_default(), problem };
    }
    let expected = state.journal.next_key().or_else(|| state.journal.forgotten()).map(ToOwned::to_owned);
    match (expected, returned) {
        (Some(expected), Some(_)) => drifted(&expected, THE_END),
        (Some(expected), None) => {
            let admitted = |after| state.journal.admits(after);
            let inserted = state.turns.values().find(|turn| turn.open.is_some_and(admitted));
            match inserted {
                Some(turn) if !state.journal.is_exhausted() => {
                    Replay::Inserted { step: turn.key.clone(), before: expected }
                }
                _ => drifted(&expected, &at),
            }
        }
        (None, None) if is_of_its_own(exported) => drifted(THE_END, &at),
        (None, None) => Replay::Fits,
        (None, Some(returned)) => ended(exported, returned),
    }
}

/// Whether the recorded end is one that the code came to by itself.
fn is_of_its_own(exported: &ExportedHistory) -> bool {
    let head = &exported.execution;
    match head.status {
        ExecutionStatus::Completed => true,
        ExecutionStatus::Failed => head.error.as_ref().is_some_and(|error| error.code == WORKFLOW_ERROR),
        _ => false,
    }
}

fn ended(exported: &ExportedHistory, returned: Returned) -> Replay {
    let head = &exported.execution;
    let recorded = match (head.status, &head.error) {
        (ExecutionStatus::Completed, _) => json!({"output": head.output}),
        (ExecutionStatus::Failed, Some(error)) if error.code == WORKFLOW_ERROR => {
            json!({"error": error.details.get(ERROR)})
        }
        (ExecutionStatus::Failed, Some(error)) => json!({"failure": error.code}),
        _ => return Replay::Fits,
    };
    let returned = match returned {
        Returned::Output(output) => json!({"output": output}),
        Returned::App(error) => json!({"error": error}),
        Returned::Broken(failure) => json!({"failure": failure.code}),
    };
    if recorded == returned { Replay::Fits } else { Replay::Differs { recorded, returned } }
}

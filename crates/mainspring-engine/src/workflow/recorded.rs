//! What a history has for a drive: the input, the steps, and what was done after a cancel.

use mainspring_core::{ExecutionId, RecordedEvent, Timestamp, event::kind};
use serde_json::Value;

use super::{INPUT, fork::seed, journal::Journal};

/// What an execution did before, and after it was cancelled.
#[derive(Default)]
pub(super) struct History {
    pub(super) input: Value,
    /// For a fork: whose random numbers it goes on with.
    pub(super) seed: Option<(ExecutionId, Timestamp)>,
    pub(super) journal: Journal,
    pub(super) cleanup: Journal,
}

impl History {
    /// Reads what counts of a history.
    pub(super) fn read(standing: Vec<RecordedEvent>) -> Self {
        let mut history = Self::default();
        let mut cancelled = false;
        for recorded in standing {
            let mut event = recorded.event;
            match event.event_type.as_str() {
                kind::EXECUTION_CREATED => {
                    history.seed = seed(&event.data);
                    history.input = event.data.get_mut(INPUT).map(Value::take).unwrap_or_default();
                }
                kind::EXECUTION_CANCELLING => cancelled = true,
                _ if cancelled => history.cleanup.read(event),
                _ => history.journal.read(event),
            }
        }
        history
    }
}

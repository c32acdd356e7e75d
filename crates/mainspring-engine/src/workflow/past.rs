//! Going back: the part of a history that a fork shares, or that a rewind keeps.

use std::collections::HashSet;

use mainspring_core::{Error, ExecutionId, NewEvent, RecordedEvent, Result, event::kind};
use serde_json::{Value, json};

use super::{rounds::Advanced, tail::tail};

/// In the first event of a fork: the execution whose random numbers it goes on with.
pub(super) const SEED: &str = "seed";
/// In the first event of a fork: when that one was created.
pub(super) const SEED_AT: &str = "seedAt";
/// In the event of a rewind: the place of the first event that no longer counts.
const FROM: &str = "from";

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// To the beginning.
    ToStart,
    /// To just before the step of this key: `charge`, `charge#2`, `ship[3]/pack`.
    Before(String),
    /// To just before the last step that failed; to the end of what is recorded when none did.
    BeforeFailure,
}

impl<T: Into<String>> From<T> for Back {
    /// To just before this step.
    fn from(key: T) -> Self {
        Self::Before(key.into())
    }
}

/// What counts of a history: without what was rewound.
pub(super) fn standing(history: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    let mut standing: Vec<RecordedEvent> = Vec::with_capacity(history.len());
    for recorded in history {
        if let Some(from) = rewound_from(&recorded.event) {
            standing.retain(|event| event.position < from || !is_of_a_step(&event.event));
            continue;
        }
        standing.push(recorded);
    }
    standing
}

/// The place of the first event of a standing history that `back` is before; behind the last one for its end.
///
/// # Errors
/// Not found: a step of which nothing is recorded.
pub(super) fn place(standing: &[RecordedEvent], back: &Back) -> Result<i64> {
    let behind = standing.last().map_or(1, |last| last.position + 1);
    let first = |key: &str| {
        let about = |event: &&RecordedEvent| {
            event.event.subject.as_deref() == Some(key) && is_of_a_step(&event.event)
        };
        standing.iter().find(about).map(|event| event.position)
    };
    match back {
        Back::ToStart => Ok(standing.first().map_or(1, |first| first.position + 1)),
        Back::Before(key) => first(key).ok_or_else(|| Error::not_found("recorded step", key)),
        Back::BeforeFailure => {
            let failed = standing.iter().rfind(|event| event.event.event_type == kind::STEP_FAILED);
            let key = failed.and_then(|event| event.event.subject.as_deref());
            Ok(key.and_then(first).unwrap_or(behind))
        }
    }
}

/// The place of the first event that no longer counts, from the event of a rewind.
pub(super) fn rewound_from(event: &NewEvent) -> Option<i64> {
    let from = event.data.get(FROM).and_then(Value::as_i64);
    from.filter(|_| event.event_type == kind::EXECUTION_REWOUND)
}

/// The event of a rewind to `from`.
pub(super) fn rewound(from: i64, back: &Back) -> NewEvent {
    let step = match back {
        Back::Before(key) => Some(key),
        Back::ToStart | Back::BeforeFailure => None,
    };
    NewEvent::new(kind::EXECUTION_REWOUND, json!({FROM: from, "step": step}))
}

/// Children that began at `from` or later and are not known to have ended.
pub(super) fn open_children(standing: &[RecordedEvent], from: i64) -> Vec<ExecutionId> {
    let ended: HashSet<&str> = ends(standing, i64::MAX);
    let begun = standing.iter().filter(|event| {
        let key = event.event.subject.as_deref().unwrap_or_default();
        event.event.event_type == kind::CHILD_STARTED && event.position >= from && !ended.contains(key)
    });
    let ids = begun.filter_map(|event| event.event.data.get("childExecutionId")?.as_str());
    ids.map(|id| ExecutionId::from_stored(id.to_owned())).collect()
}

/// The events before `from` as another execution may have them: places in an inbox, and children and jobs that are not over,
/// stay with the execution they belong to.
pub(super) fn shared(standing: Vec<RecordedEvent>, from: i64) -> Vec<NewEvent> {
    let ended: HashSet<String> = ends(&standing, from).into_iter().map(ToOwned::to_owned).collect();
    let before: Vec<_> = standing.into_iter().filter(|recorded| recorded.position < from).collect();
    let kept = tail(before).into_iter().filter(|recorded| {
        let key = recorded.event.subject.as_deref().unwrap_or_default();
        let elsewhere =
            recorded.event.event_type == kind::CHILD_STARTED || recorded.event.data.get("jobId").is_some();
        let unfinished = elsewhere && !ended.contains(key);
        is_of_a_step(&recorded.event) && !unfinished
    });
    kept.map(|recorded| {
        let advanced = Advanced::read(&recorded.event);
        let NewEvent { event_type, subject, mut data, .. } = recorded.event;
        if let Some(advanced) = advanced {
            data = advanced.moved();
        } else if let Some(data) = data.as_object_mut() {
            data.remove("inbox");
        }
        NewEvent { subject, ..NewEvent::new(event_type, data) }
    })
    .collect()
}

/// Keys of steps that ended before `from`.
fn ends(standing: &[RecordedEvent], from: i64) -> HashSet<&str> {
    let ends = standing.iter().filter(|event| {
        let kinds = [kind::STEP_COMPLETED, kind::STEP_FAILED, kind::CHILD_FINISHED];
        event.position < from && kinds.contains(&&*event.event.event_type)
    });
    ends.filter_map(|event| event.event.subject.as_deref()).collect()
}

pub(super) fn is_of_a_step(event: &NewEvent) -> bool {
    const KINDS: [&str; 7] = [
        kind::STEP_COMPLETED,
        kind::STEP_FAILED,
        kind::STEP_WAITING,
        kind::STEP_RETRY,
        kind::CHILD_STARTED,
        kind::CHILD_FINISHED,
        kind::LOOP_ADVANCED,
    ];
    event.subject.is_some() && KINDS.contains(&&*event.event_type)
}

//! What a run waits for that only a message can bring: the flow when nothing else would wake it, steps that nobody has ended.
//!
//! Pure. A run that waits for a hook, for a time to come, or for a step that may not be begun yet is owed nothing, unless its
//! code has not seen everything that came meanwhile.

use mainspring_core::Timestamp;

use crate::{
    RunStatus, Step, StepStatus, WaitStatus,
    state::{Numbered, RunState},
};

/// What is owed to a run at a moment.
#[derive(Debug, Default)]
pub(crate) struct Owed<'s> {
    /// Its code is to be called.
    pub(crate) flow: bool,
    /// Something came that its code has not seen, and a call at a later time is not meant for that.
    pub(crate) woken: bool,
    /// These steps are to be done.
    pub(crate) steps: Vec<&'s Numbered<Step>>,
    /// When more may be owed though nothing happens.
    pub(crate) next: Option<Timestamp>,
}

impl Owed<'_> {
    pub(crate) fn is_nothing(&self) -> bool {
        !self.flow && !self.woken && self.steps.is_empty()
    }
}

/// `seen` is the position of the last event that its code has seen.
pub(crate) fn owed(state: &RunState, seen: i64, now: Timestamp) -> Owed<'_> {
    match state.run.status {
        RunStatus::Pending => Owed { flow: true, ..Owed::default() },
        RunStatus::Running => of_running(state, seen, now),
        _ => Owed::default(),
    }
}

fn of_running(state: &RunState, seen: i64, now: Timestamp) -> Owed<'_> {
    let waits =
        || state.waits.values().map(|wait| &wait.entity).filter(|wait| wait.status == WaitStatus::Waiting);
    let open: Vec<_> = state.steps.values().filter(|step| !step.entity.status.is_terminal()).collect();
    let later = |step: &Step| {
        (step.status == StepStatus::Pending).then_some(step.retry_after?).filter(|at| *at > now)
    };
    let times = waits().map(|wait| wait.resume_at).filter(|at| *at > now);
    let times = times.chain(open.iter().filter_map(|step| later(&step.entity)));
    let hooks = state.hooks.values().any(|hook| hook.entity.active().is_some());
    let parked = hooks || !open.is_empty() || waits().next().is_some();
    Owed {
        flow: !parked || waits().any(|wait| wait.resume_at <= now),
        woken: state.woken > seen,
        next: times.min(),
        steps: open.into_iter().filter(|step| later(&step.entity).is_none()).collect(),
    }
}

//! The storage of a World: runs, steps, hooks and waits to read, and one way to write.

mod events;
mod hooks;
mod known;
mod lanes;
mod plan;
mod runs;
mod steps;
mod token;
mod waits;

use std::{fmt, sync::Arc};

use mainspring_core::{Backend, DEFAULT_QUEUE, ExecutionId, Result, Settle, Timestamp};
use serde::Serialize;

use crate::{Event, Fact, Fault, Hook, Run, RunEvent, Step, Wait};

pub use events::Events;
pub use hooks::Hooks;
pub use runs::{RunFilter, Runs};
pub use steps::Steps;
pub use waits::Waits;

pub(crate) use known::Known;
pub(crate) use lanes::Lanes;
use plan::Ask;

/// What became of an event: the event as recorded, and what it is about as it is then. The times are those of the commit; in
/// the log they may be microseconds later.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The last event that happened; `None` when there was nothing to do.
    pub event: Option<Event>,
    /// The run, for an event about one.
    pub run: Option<Run>,
    /// The step.
    pub step: Option<Step>,
    /// The hook; `None` when its token was taken, or it was disposed of.
    pub hook: Option<Hook>,
    /// The wait.
    pub wait: Option<Wait>,
}

impl Created {
    fn stamp(&mut self, at: Timestamp) {
        if let Some(event) = &mut self.event {
            crate::entity::stamp(&mut event.created_at, at);
        }
        self.run.iter_mut().for_each(|run| run.stamp(at));
        self.step.iter_mut().for_each(|step| step.stamp(at));
        self.hook.iter_mut().for_each(|hook| hook.stamp(at));
        self.wait.iter_mut().for_each(|wait| wait.stamp(at));
    }
}

/// Runs and everything in them on any [`Backend`]; see the crate. A clone is the same storage.
#[derive(Clone)]
pub struct Storage {
    lanes: Arc<Lanes>,
}

impl Storage {
    /// The storage on this backend.
    pub fn new(backend: impl Into<Arc<dyn Backend>>) -> Self {
        Self::of_queue(backend.into(), DEFAULT_QUEUE)
    }

    /// The storage of a world; its runs say which queue they are called by.
    pub(crate) fn of_queue(backend: Arc<dyn Backend>, queue: &str) -> Self {
        Self { lanes: Arc::new(Lanes::new(backend, queue)) }
    }

    /// What it stands on.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        self.lanes.backend()
    }

    /// Lets a run fail, and settles a delivery in the same commit.
    ///
    /// # Errors
    /// As [`Events::create`]; fenced when the delivery's lease is lost.
    pub(crate) async fn fail(&self, run: &ExecutionId, error: Fault, settle: Option<Settle>) -> Result<()> {
        let event = RunEvent::from(Fact::RunFailed { error });
        event.check()?;
        self.lanes.ask(run, Ask { event, messages: Vec::new(), settle }).await.map(drop)
    }

    /// The runs.
    pub fn runs(&self) -> Runs<'_> {
        Runs(self)
    }

    /// The steps.
    pub fn steps(&self) -> Steps<'_> {
        Steps(self)
    }

    /// The events, and the one way to write.
    pub fn events(&self) -> Events<'_> {
        Events(self)
    }

    /// The hooks.
    pub fn hooks(&self) -> Hooks<'_> {
        Hooks(self)
    }

    /// The waits.
    pub fn waits(&self) -> Waits<'_> {
        Waits(self)
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Storage")
    }
}

/// Names an event among all: its run and its place. Events that came late are behind all others.
pub(crate) fn event_id(run: &ExecutionId, late: bool, position: i64) -> String {
    let run = run.as_str().trim_start_matches("wrun_");
    format!("wevt_{run}_{}{position:09}", if late { 'x' } else { 'p' })
}

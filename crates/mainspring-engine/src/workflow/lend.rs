//! Lending the execution to a step that commits by itself, and taking it back.

use mainspring_core::{Execution, ExecutionStatus, NewEvent, event::kind};
use serde_json::json;

use super::{
    drive::{Driver, Drove},
    state::{Batch, Loan},
    tx::Lent,
};

impl Driver<'_> {
    /// Lends the execution with all that is to be committed.
    pub(super) fn lend(&mut self) {
        let (mut batch, recorded) = self.live.take_batch();
        self.start(&mut batch);
        let context = self.live.lock().context.clone();
        let driver = self.seat.map(|seat| seat.message.clone());
        // A heartbeat that looks now must not take the step's commit for another's.
        self.entry = None;
        self.live.lend(Lent { execution: self.execution.clone(), driver, context, batch, recorded });
    }

    /// The end of the drive, when nobody knows what became of the execution.
    pub(super) fn take_back(&mut self) -> Option<Drove> {
        let Some(done) = self.live.take_back() else { return Some(Drove::Changed) };
        let (changes, committed, recorded) = *done;
        self.inner.tell(&changes, committed.at);
        self.after((changes, recorded, self.looked, Ok(committed))).ok().flatten()
    }

    /// Takes it back when it was given back; the end of the drive as [`take_back`](Self::take_back) says.
    pub(super) fn repaid(&mut self) -> Option<Drove> {
        let repaid = matches!(self.live.lock().loan, Loan::Repaid(_));
        if repaid { self.take_back() } else { None }
    }

    /// The first commit says that the execution has started.
    pub(super) fn start(&self, batch: &mut Batch) {
        if is_new(&self.execution) {
            batch.events.insert(0, NewEvent::new(kind::EXECUTION_STARTED, json!({})));
        }
    }
}

/// Whether nothing but its creation is recorded: it is pending, or was created as running by who drives it.
pub(super) fn is_new(execution: &Execution) -> bool {
    execution.status == ExecutionStatus::Pending || execution.position <= 1
}

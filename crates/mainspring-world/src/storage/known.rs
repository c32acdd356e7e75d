//! A run as it was read: its row, and what its events add up to.

use mainspring_core::{
    Backend, Execution, ExecutionId, RecordedEvent, Result, StreamId, StreamQuery,
    event::{EXECUTIONS, STREAMS},
};

use crate::state::{Keep, RunState};

/// Events of one look.
const LOOK: u32 = 10_000;

/// Consistent with the database as of the row's revision and the position of the late events.
pub(crate) struct Known {
    pub(crate) row: Execution,
    /// Position of the last event beside the history.
    pub(crate) late: i64,
    pub(crate) state: RunState,
}

/// The events that are recorded of a run when its row cannot change any more.
pub(crate) fn late_stream(row: &Execution) -> StreamId {
    StreamId::new(row.stream()).in_partition(STREAMS).of_tenant(&row.tenant)
}

pub(crate) fn history(row: &Execution) -> StreamId {
    StreamId::new(row.stream()).in_partition(EXECUTIONS).of_tenant(&row.tenant)
}

/// All events of a stream beyond `after`, up to `to`.
pub(crate) async fn tail(
    backend: &dyn Backend,
    stream: StreamId,
    after: i64,
    to: Option<i64>,
    mut each: impl FnMut(RecordedEvent),
) -> Result<i64> {
    let mut head = after;
    loop {
        let query = StreamQuery { from: Some(head + 1), to, limit: LOOK, ..StreamQuery::of(&stream) };
        let page = backend.events().read_page(query).await?.events;
        let full = page.len() >= LOOK as usize;
        for event in page {
            head = event.position;
            each(event);
        }
        if !full {
            return Ok(head);
        }
    }
}

impl Known {
    /// A run that is about to be created.
    pub(crate) fn new(row: Execution) -> Self {
        let state = RunState::of(&row, Keep::Open);
        Self { row, late: 0, state }
    }

    /// Reads a run from the beginning.
    pub(crate) async fn load(backend: &dyn Backend, id: &ExecutionId, keep: Keep) -> Result<Option<Self>> {
        let Some(row) = backend.executions().get(id).await? else { return Ok(None) };
        let mut state = RunState::of(&row, keep);
        let end = Some(row.position);
        tail(backend, history(&row), 0, end, |event| state.read(event)).await?;
        let mut known = Self { row, late: 0, state };
        known.read_late(backend).await?;
        Ok(Some(known))
    }

    /// Reads what is new; whether there was anything. False as well when the run is gone.
    pub(crate) async fn refresh(&mut self, backend: &dyn Backend) -> Result<bool> {
        let Some(row) = backend.executions().get(&self.row.id).await? else { return Ok(false) };
        let moved = row.revision != self.row.revision;
        if moved {
            let (from, end) = (self.row.position, Some(row.position));
            let state = &mut self.state;
            tail(backend, history(&row), from, end, |event| state.read(event)).await?;
            self.row = row;
        }
        let late = self.late;
        self.read_late(backend).await?;
        Ok(moved || self.late != late)
    }

    async fn read_late(&mut self, backend: &dyn Backend) -> Result<()> {
        if self.row.status.is_terminal() {
            let state = &mut self.state;
            self.late = tail(backend, late_stream(&self.row), self.late, None, |e| state.read(e)).await?;
        }
        Ok(())
    }
}

//! Runs: created, found, listed, cancelled.

use mainspring_core::{
    Error, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, Result, StreamQuery, Timestamp,
};

use super::{Created, Storage, known::history};
use crate::{
    Fact, NewRun, Page, Paging, Resolve, Run, RunStatus,
    state::{Keep, RunState, run_of_row},
};

const SIZE: u32 = 20;
/// In front of the version of an execution with code of the engine.
const WITH_CODE: &str = "fn-";

/// The runs; see [`Storage::runs`].
#[derive(Debug, Clone, Copy)]
pub struct Runs<'s>(pub(super) &'s Storage);

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only of this workflow.
    pub workflow_name: Option<String>,
    /// Only with this status.
    pub status: Option<RunStatus>,
}

impl Runs<'_> {
    /// Creates a run under a fresh id.
    ///
    /// # Errors
    /// As [`Events::create`](super::Events::create).
    pub async fn create(&self, run: NewRun) -> Result<Run> {
        self.0.events().create(None, Fact::RunCreated(run)).await.and_then(run_in)
    }

    /// A run.
    ///
    /// # Errors
    /// Not found.
    pub async fn get(&self, id: &ExecutionId, resolve: Resolve) -> Result<Run> {
        let row = self.0.backend().executions().get(id).await?;
        let row = row.filter(is_run).ok_or_else(|| Error::not_found("run", id))?;
        self.resolved(row, resolve).await
    }

    /// Those of `ids` that exist, in their order.
    ///
    /// # Errors
    /// Only those of the backend.
    pub async fn get_many(&self, ids: &[ExecutionId], resolve: Resolve) -> Result<Vec<Run>> {
        let mut rows = self.0.backend().executions().get_many(ids).await?;
        rows.retain(is_run);
        rows.sort_by_key(|row| ids.iter().position(|id| *id == row.id));
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            runs.push(self.resolved(row, resolve).await?);
        }
        Ok(runs)
    }

    /// A page of runs, the newest first.
    ///
    /// # Errors
    /// Invalid for a page that cannot be.
    pub async fn list(&self, filter: &RunFilter, paging: &Paging, resolve: Resolve) -> Result<Page<Run>> {
        let size = paging.size(SIZE)?;
        let after = paging.cursor_as(place)?;
        let mut rows = Vec::new();
        for status in statuses(filter.status) {
            rows.extend(self.rows(filter, status, after.clone(), size + 1).await?);
        }
        rows.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        let page = Page::of(rows, size, |row| format!("{}_{}", row.created_at.as_micros(), row.id));
        let mut data = Vec::with_capacity(page.data.len());
        for row in page.data {
            data.push(self.resolved(row, resolve).await?);
        }
        Ok(Page { data, cursor: page.cursor, has_more: page.has_more })
    }

    /// Cancels a run; doing so again is fine.
    ///
    /// # Errors
    /// As [`Events::create`](super::Events::create).
    pub async fn cancel(&self, id: &ExecutionId) -> Result<Run> {
        self.0.events().create(Some(id), Fact::RunCancelled { reason: None }).await.and_then(run_in)
    }

    /// Pauses a run.
    ///
    /// # Errors
    /// As [`Events::create`](super::Events::create).
    pub async fn pause(&self, id: &ExecutionId) -> Result<Run> {
        self.0.events().create(Some(id), Fact::RunPaused {}).await.and_then(run_in)
    }

    /// Lets a paused run go on.
    ///
    /// # Errors
    /// Not found when no such run is paused.
    pub async fn resume(&self, id: &ExecutionId) -> Result<Run> {
        self.0.events().create(Some(id), Fact::RunResumed {}).await.and_then(run_in)
    }

    /// `count` runs of one status at least, when there are as many.
    async fn rows(
        &self,
        filter: &RunFilter,
        status: Option<ExecutionStatus>,
        mut after: Option<(Timestamp, ExecutionId)>,
        count: usize,
    ) -> Result<Vec<Execution>> {
        let mut found = Vec::new();
        let limit = u32::try_from(count).unwrap_or(u32::MAX);
        while found.len() < count {
            let query = ExecutionFilter {
                flow_id: filter.workflow_name.clone(),
                status,
                after: after.take(),
                limit,
                ..ExecutionFilter::default()
            };
            let rows = self.0.backend().executions().list(query).await?;
            let full = rows.len() >= count;
            after = rows.last().map(|row| (row.created_at, row.id.clone()));
            let wanted = |row: &Execution| {
                is_run(row) && filter.status.is_none_or(|status| run_of_row(row).status == status)
            };
            found.extend(rows.into_iter().filter(wanted));
            if !full {
                break;
            }
        }
        Ok(found)
    }

    /// What it was started with is in its first event.
    async fn resolved(&self, row: Execution, resolve: Resolve) -> Result<Run> {
        if resolve == Resolve::None {
            return Ok(Run { output: None, ..run_of_row(&row) });
        }
        let first = StreamQuery { to: Some(1), limit: 1, ..StreamQuery::of(history(&row)) };
        let first = self.0.backend().events().read_page(first).await?.events.pop();
        let mut begun = RunState::of(&row, Keep::All);
        first.into_iter().for_each(|first| begun.read(first));
        let Run { input, execution_context, deployment_id, .. } = begun.run;
        Ok(Run { input, execution_context, deployment_id, ..run_of_row(&row) })
    }
}

fn is_run(row: &Execution) -> bool {
    crate::ids::is_world(row) || row.flow_version.starts_with(WITH_CODE)
}

fn run_in(created: Created) -> Result<Run> {
    created.run.ok_or_else(|| Error::internal("an event of a run answered none"))
}

/// The statuses of rows among which those of this status are.
fn statuses(status: Option<RunStatus>) -> Vec<Option<ExecutionStatus>> {
    let Some(status) = status else { return vec![None] };
    let of: &[ExecutionStatus] = match status {
        RunStatus::Pending => &[ExecutionStatus::Pending],
        RunStatus::Running => {
            &[ExecutionStatus::Running, ExecutionStatus::Waiting, ExecutionStatus::Cancelling]
        }
        RunStatus::Paused => &[ExecutionStatus::Waiting],
        RunStatus::Completed => &[ExecutionStatus::Completed],
        RunStatus::Failed => &[ExecutionStatus::Failed],
        RunStatus::Cancelled => &[ExecutionStatus::Cancelled],
    };
    of.iter().copied().map(Some).collect()
}

fn place(cursor: &str) -> Option<(Timestamp, ExecutionId)> {
    let (micros, id) = cursor.split_once('_')?;
    Some((Timestamp::from_micros(micros.parse().ok()?), ExecutionId::new(id).ok()?))
}

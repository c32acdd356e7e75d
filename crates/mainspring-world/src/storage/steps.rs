//! Steps as their events add up to.

use mainspring_core::{Error, EventQuery, Execution, ExecutionId, Result};

use super::{Storage, events::runs_of, known::Known};
use crate::{
    Order, Page, Paging, Resolve, Step,
    ids::is_world,
    page::page_of,
    state::{Keep, RunState},
};

const SIZE: u32 = 20;
/// Most events of one step that are read: more than it can have attempts.
const MOST_EVENTS: u32 = 10_000;

/// The steps; see [`Storage::steps`].
#[derive(Debug, Clone, Copy)]
pub struct Steps<'s>(pub(super) &'s Storage);

impl Steps<'_> {
    /// A step; without its run the first one of this id is found.
    ///
    /// # Errors
    /// Not found.
    pub async fn get(&self, run_id: Option<&ExecutionId>, step_id: &str, resolve: Resolve) -> Result<Step> {
        let runs = match run_id {
            Some(id) => vec![id.clone()],
            None => runs_of(self.0, step_id).await?,
        };
        for run in runs {
            let Some(row) = self.0.backend().executions().get(&run).await? else { continue };
            if let Some(step) = self.step(&row, step_id).await? {
                return Ok(resolved(step, resolve));
            }
        }
        Err(Error::not_found("step", step_id))
    }

    /// A page of a run's steps, the newest first unless the paging says otherwise.
    ///
    /// # Errors
    /// Not found; invalid for a page that cannot be.
    pub async fn list(&self, run_id: &ExecutionId, paging: &Paging, resolve: Resolve) -> Result<Page<Step>> {
        let all = |known: &Known| {
            let steps = known.state.steps.values();
            steps.map(|step| (step.number, step.entity.clone())).collect::<Vec<_>>()
        };
        let steps = match resolve {
            Resolve::None => self.0.lanes.view(run_id, all).await?,
            Resolve::All => Known::load(&**self.0.backend(), run_id, Keep::All).await?.as_ref().map(all),
        };
        let steps = steps.ok_or_else(|| Error::not_found("run", run_id))?;
        let mut page = page_of(steps, paging, (SIZE, Order::Descending))?;
        page.data = page.data.into_iter().map(|step| resolved(step, resolve)).collect();
        Ok(page)
    }

    async fn step(&self, row: &Execution, step_id: &str) -> Result<Option<Step>> {
        let mut state = RunState::of(row, Keep::All);
        if is_world(row) {
            let query = EventQuery {
                execution_id: Some(row.id.clone()),
                correlation_id: Some(step_id.to_owned()),
                limit: Some(MOST_EVENTS),
                ..EventQuery::default()
            };
            let events = self.0.backend().events().query(query).await?;
            events.into_iter().for_each(|event| state.read(event));
        } else if let Some(known) = Known::load(&**self.0.backend(), &row.id, Keep::All).await? {
            state = known.state;
        }
        Ok(state.steps.remove(step_id).map(|step| step.entity))
    }
}

fn resolved(mut step: Step, resolve: Resolve) -> Step {
    if resolve == Resolve::None {
        (step.input, step.output, step.error) = (None, None, None);
    }
    step
}

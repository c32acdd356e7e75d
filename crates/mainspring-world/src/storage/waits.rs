//! Waits as their events add up to.

use mainspring_core::{Error, ExecutionId, Result};

use super::Storage;
use crate::{Order, Page, Paging, Wait, page::page_of};

const SIZE: u32 = 100;

/// The waits; see [`Storage::waits`].
#[derive(Debug, Clone, Copy)]
pub struct Waits<'s>(pub(super) &'s Storage);

impl Waits<'_> {
    /// A wait of a run.
    ///
    /// # Errors
    /// Not found.
    pub async fn get(&self, run_id: &ExecutionId, wait_id: &str) -> Result<Wait> {
        let found = self.0.lanes.view(run_id, |known| known.state.waits.get(wait_id).cloned()).await?;
        let wait = found.flatten().ok_or_else(|| Error::not_found("wait", wait_id))?;
        Ok(wait.entity)
    }

    /// A page of a run's waits, the oldest first unless the paging says otherwise.
    ///
    /// # Errors
    /// Not found; invalid for a page that cannot be.
    pub async fn list(&self, run_id: &ExecutionId, paging: &Paging) -> Result<Page<Wait>> {
        let all = self.0.lanes.view(run_id, |known| {
            let waits = known.state.waits.values();
            waits.map(|wait| (wait.number, wait.entity.clone())).collect::<Vec<_>>()
        });
        let all = all.await?.ok_or_else(|| Error::not_found("run", run_id))?;
        page_of(all, paging, (SIZE, Order::Ascending))
    }
}

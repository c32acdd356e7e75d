//! Hooks: found by id or by token, for as long as their run is not over.

use mainspring_core::{Error, EventQuery, ExecutionId, Result};

use super::{Created, Storage, events::runs_of, known::Known, token};
use crate::{Fact, Hook, Order, Page, Paging, Resolve, RunEvent, names::log, page::page_of};

const SIZE: u32 = 100;
/// Events of one look.
const LOOK: u32 = 1_000;

/// The hooks; see [`Storage::hooks`].
#[derive(Debug, Clone, Copy)]
pub struct Hooks<'s>(pub(super) &'s Storage);

impl Hooks<'_> {
    /// A hook that is active.
    ///
    /// # Errors
    /// Not found, also when it was disposed of or its run is over.
    pub async fn get(&self, hook_id: &str, resolve: Resolve) -> Result<Hook> {
        for run in runs_of(self.0, hook_id).await? {
            if let Some(hook) = self.of(&run, hook_id).await? {
                return Ok(resolved(hook, resolve));
            }
        }
        Err(Error::not_found("hook", hook_id))
    }

    /// The active hook that has this token.
    ///
    /// # Errors
    /// Not found. The error does not repeat the token.
    pub async fn get_by_token(&self, text: &str, resolve: Resolve) -> Result<Hook> {
        let owner = token::look(&**self.0.backend(), text).await?.owner;
        let (run, hook_id) = owner.ok_or_else(token::unknown)?;
        let hook = self.of(&run, &hook_id).await?.ok_or_else(token::unknown)?;
        Ok(resolved(hook, resolve))
    }

    /// A page of the active hooks of a run, the oldest first unless the paging says otherwise.
    ///
    /// # Errors
    /// Not found; invalid for a page that cannot be.
    pub async fn list(&self, run_id: &ExecutionId, paging: &Paging, resolve: Resolve) -> Result<Page<Hook>> {
        let active = self.0.lanes.view(run_id, active).await?;
        let active = active.ok_or_else(|| Error::not_found("run", run_id))?;
        let mut page = page_of(active, paging, (SIZE, Order::Ascending))?;
        page.data = page.data.into_iter().map(|hook| resolved(hook, resolve)).collect();
        Ok(page)
    }

    /// A page of the active hooks of all runs, the oldest first. Reads the whole log, so it is for people and not for
    /// programs.
    ///
    /// # Errors
    /// Invalid for a page that cannot be, or that begins with the newest.
    pub async fn list_all(&self, paging: &Paging, resolve: Resolve) -> Result<Page<Hook>> {
        let size = paging.size(SIZE)?;
        if paging.order == Some(Order::Descending) {
            return Err(Error::invalid("order", "hooks of all runs come with the oldest first"));
        }
        let mut from = paging.cursor_as(|text| text.parse::<i64>().ok())?;
        let mut found = Vec::new();
        while found.len() <= size {
            let query = EventQuery {
                partition: Some(mainspring_core::event::EXECUTIONS.to_owned()),
                event_types: vec![log::HOOK_CREATED.to_owned()],
                after_position: from,
                limit: Some(LOOK),
                ..EventQuery::default()
            };
            let page = self.0.backend().events().query(query).await?;
            let full = page.len() >= LOOK as usize;
            for event in page {
                from = Some(event.global_position);
                let run = event.stream.strip_prefix("execution-");
                let run = run.map(|id| ExecutionId::from_stored(id.to_owned()));
                let (Some(run), Some(id)) = (run, event.event.subject) else { continue };
                let hook = self.of(&run, &id).await?;
                found.extend(hook.map(|hook| (event.global_position, resolved(hook, resolve))));
            }
            if !full {
                break;
            }
        }
        let page = Page::of(found, size, |(position, _)| position.to_string());
        let data = page.data.into_iter().map(|(_, hook)| hook).collect();
        Ok(Page { data, cursor: page.cursor, has_more: page.has_more })
    }

    /// Disposes of a hook: its token is free.
    ///
    /// # Errors
    /// Not found; conflict when it was before.
    pub async fn dispose(&self, run_id: &ExecutionId, hook_id: &str) -> Result<Created> {
        self.0.events().create(Some(run_id), RunEvent::about(hook_id, Fact::HookDisposed {})).await
    }

    async fn of(&self, run: &ExecutionId, hook_id: &str) -> Result<Option<Hook>> {
        let found = self.0.lanes.view(run, |known| {
            let hook = known.state.hooks.get(hook_id)?.entity.active()?;
            (!known.row.status.is_terminal()).then(|| hook.clone())
        });
        Ok(found.await?.flatten())
    }
}

/// Those of a run that is over are gone.
fn active(known: &Known) -> Vec<(u64, Hook)> {
    if known.row.status.is_terminal() {
        return Vec::new();
    }
    let hooks = known.state.hooks.values();
    hooks.filter_map(|hook| Some((hook.number, hook.entity.active()?.clone()))).collect()
}

fn resolved(mut hook: Hook, resolve: Resolve) -> Hook {
    if resolve == Resolve::None {
        hook.metadata = None;
    }
    hook
}

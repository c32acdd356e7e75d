//! Looking outside: what came into the inbox, and which children have ended.

use mainspring_core::{Execution, Failure, Result, event::STREAMS, flow::code};

use super::{child::end_of, drive::Driver, inbox, journal::End};

const PAGE: u32 = 1_000;

impl Driver<'_> {
    /// Sees what came in.
    pub(super) async fn look(&mut self) -> Result<()> {
        let (children, inbox, knocks) = {
            let state = self.live.lock();
            (state.awaited_children(), state.waits_for_inbox(), state.knocks)
        };
        if inbox {
            self.read_inbox().await?;
        }
        if !children.is_empty() {
            let stored = self.inner.patiently(|| self.inner.backend.executions().get_many(&children)).await?;
            for id in children {
                let child = stored.iter().find(|child| child.id == id).cloned();
                if let Some(end) = self.end_of(child).await? {
                    self.live.lock().ended.insert(id, end);
                }
            }
        }
        self.looked = knocks;
        self.live.wake_waits();
        Ok(())
    }

    async fn end_of(&mut self, mut child: Option<Execution>) -> Result<Option<End>> {
        loop {
            let Some(found) = child else {
                let gone = Failure::new(code::CHILD_FAILED, "the child was deleted");
                return Ok(Some(End::Broken(gone)));
            };
            match end_of(&found) {
                None => return Ok(None),
                Some(Ok(end)) => return Ok(Some(end)),
                Some(Err(next)) => child = self.inner.load(&next).await?,
            }
        }
    }

    pub(super) async fn read_inbox(&mut self) -> Result<()> {
        let (tenant, stream) = (&self.execution.tenant, inbox::stream(&self.execution.id));
        let events = self.inner.backend.events();
        loop {
            let from = self.live.lock().inbox.head + 1;
            let read = || events.read_stream(STREAMS, tenant, &stream, from, PAGE);
            let page = self.inner.patiently(read).await?;
            let last = page.len() < PAGE as usize;
            self.live.lock().receive(page);
            if last {
                return Ok(());
            }
        }
    }
}

//! What reactors decide, written by the one commit.

use mainspring_consumer::Commits;
use mainspring_core::{BoxFuture, Changes, Result};
use mainspring_events::PgEventStore;
use mainspring_pg::{Db, Hints};

use crate::commit::{commit_within, tell};

/// Everything a [`Changes`] can hold, in the transaction of a checkpoint.
pub(crate) struct CommitsAll {
    pub(crate) events: PgEventStore<'static>,
    pub(crate) hints: Option<Hints>,
}

impl Commits for CommitsAll {
    fn write<'a>(&'a self, tx: &'a Db<'a>, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            changes.check()?;
            commit_within(tx, &self.events, changes).await.map(drop)
        })
    }

    fn committed(&self, changes: &[&Changes]) {
        if let Some(hints) = &self.hints {
            tell(hints, changes.iter().copied());
        }
    }
}

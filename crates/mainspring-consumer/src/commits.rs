//! The seam through which a reactor's decision is written.

use mainspring_core::{BoxFuture, Changes, Error, EventStore, Result};
use mainspring_events::PgEventStore;
use mainspring_pg::Db;

/// Writes decisions inside a transaction. `mainspring` implements it for everything a [`Changes`] can hold.
pub trait Commits: Send + Sync + 'static {
    /// Writes `changes` through `tx`; durable with the commit of that transaction, or not at all.
    ///
    /// # Errors
    /// Fenced, conflict or invalid, as [`Changes`] says; the transaction is then rolled back.
    fn write<'a>(&'a self, tx: &'a Db<'a>, changes: &'a Changes) -> BoxFuture<'a, Result<()>>;

    /// Called after the commit: to wake whoever waits for what is new. Defaults to nothing.
    fn committed(&self, changes: &[&Changes]) {
        let _ = changes;
    }
}

/// Writes appends, and refuses everything else: what this crate can do alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct AppendsOnly;

impl Commits for AppendsOnly {
    fn write<'a>(&'a self, tx: &'a Db<'a>, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            changes.check()?;
            if !(Changes { appends: Vec::new(), ..changes.clone() }).is_empty() {
                return Err(Error::invalid("changes", "only appends can be committed without the facade"));
            }
            let log = PgEventStore::new(tx);
            for append in &changes.appends {
                log.append(append.clone()).await?;
            }
            Ok(())
        })
    }
}

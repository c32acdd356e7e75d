//! The log emptied together with what follows it.

use mainspring_core::{Error, Result};
use mainspring_events::{PgEventStore, Positions};
use mainspring_pg::{Db, row::get};

use crate::processors::Processors;

const HELD: &str = "SELECT name FROM {processors} WHERE holder IS NOT NULL AND expires_at > {now}() LIMIT 1";
const LOCK: &str = "LOCK TABLE {processors} IN SHARE ROW EXCLUSIVE MODE";
const SET_BACK: &str = "UPDATE {processors} SET position = 0, token = token + 1, holder = NULL, expires_at = NULL, updated_at = {now}()";
const NOT_PARKED: &str = "DELETE FROM {parked} k WHERE k.partition <> 'executions'";
const NO_DOCUMENTS: &str = "TRUNCATE {documents}";

impl Processors<'_> {
    /// Empties the log as [`PgEventStore::empty`] does, and with it the parked events; when positions begin anew all
    /// processors go back to the beginning. Documents are deleted too if so asked, whoever wrote them. All of it or
    /// nothing; a processor that runs goes on with what comes.
    ///
    /// # Errors
    /// Conflict, when positions are to begin anew while an instance runs a processor, or there are histories of executions.
    pub async fn empty_log(&self, positions: Positions, documents: OldDocuments) -> Result<()> {
        self.db().with_tx(async |tx| empty(tx, positions, documents).await).await
    }
}

/// What becomes of documents when the log is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldDocuments {
    /// They stay.
    Keep,
    /// They go.
    Delete,
}

async fn empty(tx: &Db<'_>, positions: Positions, documents: OldDocuments) -> Result<()> {
    if positions == Positions::Restart {
        tx.exec(LOCK, &[]).await?;
        if let Some(row) = tx.opt(HELD, &[]).await? {
            let name: String = get(&row, 0)?;
            return Err(Error::conflict(format!("processor `{name}` runs in an instance")));
        }
        tx.exec(SET_BACK, &[]).await?;
    }
    PgEventStore::new(tx).empty(positions).await?;
    tx.exec(NOT_PARKED, &[]).await?;
    if documents == OldDocuments::Delete {
        tx.exec(NO_DOCUMENTS, &[]).await?;
    }
    Ok(())
}

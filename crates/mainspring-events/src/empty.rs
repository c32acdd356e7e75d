//! The whole log emptied: for tests, and for those who start over.

use mainspring_core::{Error, Result};
use mainspring_pg::{Query, row::get};

use crate::PgEventStore;

const EMPTY: &str = "SELECT {empty_log}($1)";

/// What becomes of the positions of a log that is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Positions {
    /// Global positions go on, so that whoever follows the log goes on with it.
    #[default]
    GoOn,
    /// Global positions begin with 1 again. Nobody may write meanwhile, and whoever follows the log has to be set back to 0.
    Restart,
}

impl PgEventStore<'_> {
    /// Deletes every stream, archived or not, with its snapshots, in every partition; the partitions stay, and so do the
    /// histories of executions, without which those could not go on. Streams begin with position 1 again. It waits for
    /// whoever reads or writes the log, and they for it.
    ///
    /// # Errors
    /// Conflict, when positions are to begin anew and there are histories of executions.
    pub async fn empty(&self, positions: Positions) -> Result<()> {
        let query = Query::new(EMPTY).bind(positions == Positions::Restart);
        let answers = self.db().together(vec![query]).await?;
        match answers.first().and_then(|rows| rows.first()).map(|row| get(row, 0)).transpose()? {
            Some(true) => Ok(()),
            _ => Err(Error::conflict("positions cannot begin anew: executions have histories in the log")),
        }
    }
}

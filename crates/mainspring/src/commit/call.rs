//! What most batches are, as one call: executions that begin, go on or end, and their events.
//!
//! The call is its own transaction, and fails as a whole when one of its changes loses: then the two flights find out who. Every
//! row it writes bears its mark, so that a lost answer is not the end of it.

use std::time::SystemTime;

use mainspring_core::{Changes, Error, Result, Timestamp};
use mainspring_events::bind_histories;
use mainspring_executions::{bind_creates, bind_updates};
use mainspring_pg::{Query, Row, row::get};

use super::plan::{Outcome, writes};

const COMMIT: &str = "SELECT {commit}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
    $21, $22, $23, $24, $25, $26, $27, $28, $29)";

/// One batch as one statement.
pub(super) struct Call {
    query: Query,
    mark: i64,
}

impl Call {
    /// `None` when the batch holds anything else, or a change without an execution, which would bear no mark.
    pub(super) fn of(batch: &[&Changes]) -> Option<Self> {
        if !batch.iter().all(|changes| is_plain(changes)) {
            return None;
        }
        let mark = random()?;
        let (updates, creates) = (writes(batch, false), writes(batch, true));
        let query = bind_updates(Query::new(COMMIT).bind(mark), &updates)?;
        let query = bind_creates(query, &creates)?;
        let all: Vec<_> = updates.into_iter().chain(creates).collect();
        Some(Self { query: bind_histories(query, &all)?, mark })
    }

    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    pub(super) fn mark(&self) -> i64 {
        self.mark
    }

    /// When it was committed, from the call's answer.
    ///
    /// # Errors
    /// Internal, when the answer is another one's.
    pub(super) fn at(&self, rows: &[Row]) -> Result<Timestamp> {
        let row = rows.first().ok_or_else(|| Error::internal("{commit} answered no row"))?;
        Ok(get::<SystemTime>(row, 0)?.into())
    }
}

fn is_plain(changes: &Changes) -> bool {
    let Changes { executions, appends, messages, jobs, tokens, outputs, receipts, settle } = changes;
    !executions.is_empty()
        && (appends.is_empty() && messages.is_empty() && jobs.is_empty() && tokens.is_empty())
        && (outputs.is_empty() && receipts.is_empty() && settle.is_none())
}

/// Without randomness there is no mark, and no call.
fn random() -> Option<i64> {
    getrandom::u64().ok().map(u64::cast_signed)
}

/// Everybody won.
pub(super) fn won(batch: &[&Changes], at: Timestamp) -> Vec<Outcome> {
    batch.iter().map(|_| Outcome::Won { at: Some(at), appends: Vec::new() }).collect()
}

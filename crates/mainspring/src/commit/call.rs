//! What most batches are, as one call: executions that begin, go on or end, and their events; or appends to streams that are
//! expected at one position.
//!
//! The call is its own transaction, and fails as a whole when one of its changes loses: then the two flights find out who. Every
//! row it writes bears its mark, so that a lost answer is not the end of it.

use std::time::SystemTime;

use mainspring_core::{Changes, Error, Result, Timestamp};
use mainspring_events::{AppendCall, Decided, bind_histories};
use mainspring_executions::{bind_creates, bind_updates};
use mainspring_pg::{Query, Row, row::get};

use super::plan::{Outcome, writes};

const COMMIT: &str = "SELECT {commit_call}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
    $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)";

/// One batch as one statement.
pub(super) struct Call<'a> {
    pub(super) query: Query,
    pub(super) mark: i64,
    pub(super) of: Of<'a>,
}

/// What a call consists of.
pub(super) enum Of<'a> {
    /// Executions and their events.
    Executions,
    /// Appends.
    Appends(AppendCall<'a>),
}

impl<'a> Call<'a> {
    /// `None` when the batch holds anything else, or a change without a row of its own, which would bear no mark.
    pub(super) fn of(batch: &[&'a Changes]) -> Option<Self> {
        if batch.iter().all(|changes| is_history(changes)) {
            let mark = random()?;
            return Some(Self { query: histories(batch, mark)?, mark, of: Of::Executions });
        }
        if batch.iter().all(|changes| is_append(changes)) {
            let appends = AppendCall::of(batch.iter().flat_map(|changes| &changes.appends).collect())?;
            let mark = random()?;
            return Some(Self { query: appends.query(mark), mark, of: Of::Appends(appends) });
        }
        None
    }

    /// What became of everybody, from the call's answer: they won.
    ///
    /// # Errors
    /// Internal, when the answer is another one's.
    pub(super) fn made(&self, batch: &[&Changes], rows: &[Row]) -> Result<Vec<Outcome>> {
        match &self.of {
            Of::Executions => {
                let row = rows.first().ok_or_else(|| Error::internal("{commit_call} answered no row"))?;
                Ok(won(batch, Some(get::<SystemTime>(row, 0)?.into()), Vec::new()))
            }
            Of::Appends(appends) => {
                let (at, made) = appends.made(rows)?;
                Ok(won(batch, at, made))
            }
        }
    }
}

fn histories(batch: &[&Changes], mark: i64) -> Option<Query> {
    let (updates, creates) = (writes(batch, false), writes(batch, true));
    let query = bind_updates(Query::new(COMMIT).bind(mark), &updates)?;
    let query = bind_creates(query, &creates)?;
    let all: Vec<_> = updates.into_iter().chain(creates).collect();
    bind_histories(query, &all)
}

fn is_history(changes: &Changes) -> bool {
    let Changes { executions, appends, messages, jobs, tokens, outputs, receipts, settle } = changes;
    !executions.is_empty()
        && (appends.is_empty() && messages.is_empty() && jobs.is_empty() && tokens.is_empty())
        && (outputs.is_empty() && receipts.is_empty() && settle.is_none())
}

fn is_append(changes: &Changes) -> bool {
    let Changes { executions, appends, messages, jobs, tokens, outputs, receipts, settle } = changes;
    !appends.is_empty()
        && (executions.is_empty() && messages.is_empty() && jobs.is_empty() && tokens.is_empty())
        && (outputs.is_empty() && receipts.is_empty() && settle.is_none())
}

/// Without randomness there is no mark, and no call.
fn random() -> Option<i64> {
    getrandom::u64().ok().map(u64::cast_signed)
}

/// Everybody won, and this became of their appends.
pub(super) fn won(batch: &[&Changes], at: Option<Timestamp>, appends: Vec<Decided>) -> Vec<Outcome> {
    let mut appends = appends.into_iter();
    let outcome = |changes: &&Changes| {
        let appends = appends.by_ref().take(changes.appends.len()).collect();
        Outcome::Won { at, appends }
    };
    batch.iter().map(outcome).collect()
}

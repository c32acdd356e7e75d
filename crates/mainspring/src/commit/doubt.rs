//! What became of a call whose answer was lost.
//!
//! ```text
//! the two flights, with the same changes ──► somebody won: the call did nothing, and cannot any more
//!                                        └─► all lost:     whose mark do their rows bear?
//!                                                            ours      the call was committed, all of it
//!                                                            another's and one revision on: lost to them
//!                                                            else      nobody can say
//! ```
//! The call may still be under way on the server, or not have begun. That does no harm: it and the flights want the same rows at
//! the same revisions, and each is all or nothing, so only one of them can write. Rows that were written are read as they are,
//! so this holds after a crash of the server too.

use mainspring_core::{Changes, Error, ErrorKind, Expect, Result};
use mainspring_events::locate;
use mainspring_pg::{Db, backoff, row::get};
use tokio::time::Instant;

use super::{
    call::{Call, Of, won},
    plan::{Loss, Outcome, placed, won_appends, writes},
    transaction::flights,
};

const MARKS: &str = "SELECT id, revision, mark FROM {executions} WHERE id = ANY ($1)";

/// Finds out, as long as the database's deadlines allow, and commits the batch when the call did not.
///
/// # Errors
/// `CommitUnknown` when it could not be found out.
pub(super) async fn resolve(
    db: &Db<'static>,
    batch: &[&Changes],
    call: &Call<'_>,
    lost: Error,
) -> Result<(Vec<Outcome>, bool)> {
    let until = Instant::now() + db.resolve_within();
    for attempt in 1.. {
        match once(db, batch, call).await {
            Err(error) if is_passing(&error) && Instant::now() < until => backoff(attempt).await,
            Err(error) => {
                let message = "the answer of a commit was lost and the outcome could not be found out";
                let after = lost.chain();
                tracing::warn!(after, error = error.code(), "{message}");
                return Err(Error::new(ErrorKind::CommitUnknown, message).with_source(error));
            }
            Ok(found) => return Ok(found),
        }
    }
    Err(lost)
}

/// What the next moment may change: a server that starts, a lock that is held.
fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy)
}

async fn once(db: &Db<'static>, batch: &[&Changes], call: &Call<'_>) -> Result<(Vec<Outcome>, bool)> {
    let (mut outcomes, committed) = flights(db, batch).await?;
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Won { .. })) {
        return Ok((outcomes, committed));
    }
    let may_have_won: Vec<bool> = match &call.of {
        Of::Executions => {
            let marked = marks(db, batch).await?;
            if marked.iter().any(|(.., mark)| *mark == Some(call.mark)) {
                return Ok((won(batch, None, Vec::new()), true));
            }
            batch.iter().map(|changes| may_be_written(changes, &marked)).collect()
        }
        Of::Appends(appends) => {
            let heads = appends.heads(db, call.mark).await?;
            if heads.marked {
                let mut outcomes = won(batch, None, appends.moved());
                let rows = locate(db, won_appends(batch, &outcomes)).await?;
                placed(&[rows], &mut outcomes)?;
                return Ok((outcomes, true));
            }
            batch.iter().map(|changes| changes.appends.iter().all(|append| heads.may_hold(append))).collect()
        }
    };
    for (may_have_won, outcome) in may_have_won.into_iter().zip(&mut outcomes) {
        if let (true, Outcome::Lost { why, .. }) = (may_have_won, outcome) {
            let message = "the answer of a commit was lost, and others changed what it wrote since";
            *why = Loss::Error(Error::new(ErrorKind::CommitUnknown, message));
        }
    }
    Ok((outcomes, committed))
}

/// Whether others may have changed the executions after the call did.
fn may_be_written(changes: &Changes, marked: &[Marked]) -> bool {
    changes.executions.iter().all(|write| {
        let before = match write.expect {
            Expect::New => 0,
            Expect::Revision(revision) => revision,
        };
        let row = marked.iter().find(|(id, ..)| *id == write.execution.id.as_str());
        // One revision on it bears the mark of whoever wrote that; none when it was written in two flights.
        row.map_or(write.expect != Expect::New, |(_, revision, _)| *revision > before + 1)
    })
}

type Marked = (String, i64, Option<i64>);

async fn marks(db: &Db<'static>, batch: &[&Changes]) -> Result<Vec<Marked>> {
    let ids: Vec<String> = [false, true]
        .iter()
        .flat_map(|new| writes(batch, *new))
        .map(|write| write.execution.id.to_string())
        .collect();
    let rows = db.all(MARKS, &[&ids]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))).collect()
}

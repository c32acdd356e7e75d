//! The one commit: many [`Changes`](mainspring_core::Changes), one transaction, one call of the database or two round trips.
//!
//! ```text
//! commit(changes) ─► pending ─► batch ─► call, when it is executions and their events alone: everybody won ─► Ok to all
//!                                            │  anything else in it, or somebody lost   │ the answer is lost ─► doubt
//!                                            ▼
//!                                        flight 1: BEGIN, and every write that can lose a race
//!                                            │  who won?
//!                                            ├─ all: flight 2: everything else, COMMIT ─► Ok to all
//!                                            ├─ some lost, nothing of theirs was written: the same without them
//!                                            ├─ some lost half-way: ROLLBACK, again without them
//!                                            └─ a statement failed: ROLLBACK, halve until the guilty one is alone
//! ```
//!
//! [`call`] is a batch as one statement; [`doubt`] finds out what became of one whose answer was lost. [`plan`] says what the
//! statements of the flights are and who won; it runs nothing. [`transaction`] runs one batch to its end. [`group`]
//! gathers what many callers want at the same time. Nobody waits for a batch to fill: what arrives while one is under way
//! is the next one.

mod call;
mod doubt;
mod group;
mod meter;
mod plan;
mod transaction;

pub(crate) use group::{Appends, GroupCommit, hint, tell};
pub(crate) use transaction::{commit_alone, commit_batch, commit_within};

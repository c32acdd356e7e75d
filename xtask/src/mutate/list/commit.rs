//! Commits: whoever writes is who it says it is, and hears what became of it.

use super::{CONFORMANCE, mutant};
use crate::mutate::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "a call does not compare the revision",
        ("migrations/V26__commit_call.sql", " AND e.revision = u.expected", ""),
        "mainspring",
        &["writers_of_one_revision_win_once_and_positions_have_no_gap"],
    ),
    mutant(
        "a call does not ask where a history ends",
        ("migrations/V26__commit_call.sql", "(u.events = 0 OR e.position = u.before)", "true"),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a call revives what is over",
        ("migrations/V26__commit_call.sql", " AND e.status NOT IN ('completed', 'failed', 'cancelled')", ""),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a call whose answer was lost is not known by its mark",
        ("crates/mainspring/src/commit/doubt.rs", "*mark == Some(call.mark)", "mark.is_none()"),
        "mainspring",
        &["what_others_did_meanwhile_is_told_from_what_the_call_did"],
    ),
    mutant(
        "an append in one call does not compare the position",
        ("migrations/V25__append.sql", " AND s.stream_position = u.stream_position", ""),
        "mainspring",
        &["append_calls"],
    ),
    mutant(
        "an append whose answer was lost is not known by its mark",
        (
            "crates/mainspring-events/src/call.rs",
            "heads.marked |= get::<Option<i64>>(row, 2)? == Some(mark);",
            "heads.marked |= get::<Option<i64>>(row, 2)? == Some(mark + 1);",
        ),
        "mainspring",
        &["append_calls"],
    ),
    mutant(
        "a commit does not ask for the lease of its message",
        (
            "crates/mainspring/src/commit/plan.rs",
            "let held = self.settles.contains(&(settle.lease.seq, settle.lease.token));",
            "let held = true || self.settles.contains(&(settle.lease.seq, settle.lease.token));",
        ),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "names of statements outlive their transaction",
        (
            "crates/mainspring-pg/src/statements.rs",
            "let learned = prepared.map(drop);",
            "let learned = prepared.map(std::mem::forget);",
        ),
        "mainspring-tests",
        &["everything_works_through_a_pooler_that_knows_no_names_of_statements"],
    ),
    mutant(
        "an id that was handed out again after a crash answers for its first owner",
        ("crates/mainspring-pg/src/tx.rs", "same.then_some(Ending::Committed)", "Some(Ending::Committed)"),
        "mainspring-tests",
        &["an_id_that_was_handed_out_again_does_not_answer_for_the_lost_transaction"],
    ),
    mutant(
        "a commit does not look whether its receipts were written",
        ("crates/mainspring/src/commit/plan.rs", "check(written, &||", "check(written || true, &||"),
        "mainspring",
        CONFORMANCE,
    ),
];

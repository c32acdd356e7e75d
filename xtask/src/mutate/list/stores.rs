//! The other tables: executions, events, jobs, tokens, outputs and leases.

use super::{CONFORMANCE, mutant};
use crate::mutate::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "a write does not compare the revision",
        ("crates/mainspring-executions/src/sql/update.sql", " AND e.revision = u.expected", ""),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a write does not ask where a history ends",
        (
            "crates/mainspring-executions/src/sql/update.sql",
            "(u.events = 0 OR e.position = u.before)",
            "(u.before IS NOT NULL)",
        ),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a history does not take the position fence",
        ("crates/mainspring-events/src/sql/history.sql", "{event_fence}()", "0"),
        "mainspring",
        &["readers_of_the_log_wait_for_the_history_of_a_commit_that_is_open"],
    ),
    mutant(
        "a write revives what is over",
        (
            "crates/mainspring-executions/src/sql/update.sql",
            " AND e.status NOT IN ('completed', 'failed', 'cancelled')",
            "",
        ),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "an append does not take the position fence",
        ("crates/mainspring-events/src/sql/move.sql", "{event_fence}()", "0"),
        "mainspring-events",
        &["a_reader_that_minds_the_fence_skips_nothing"],
    ),
    mutant(
        "a job is ended without its claim",
        ("crates/mainspring-jobs/src/sql/settle.sql", " AND j.token = u.token", ""),
        "mainspring-jobs",
        &["a_zombie_writes_nothing", "a_batch_settles_what_still_stands_and_only_that"],
    ),
    mutant(
        "the job of a live holder is taken over",
        (
            "crates/mainspring-jobs/src/store.rs",
            "w.id = j.holder AND w.expires_at > c.at)))",
            "w.id = j.holder AND false)))",
        ),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a token works twice",
        ("crates/mainspring-tokens/src/write.rs", "t.status = 'pending' AND (t.expires_at", "(t.expires_at"),
        "mainspring-tokens",
        &["of_sixteen_callers_one_spends_it", "a_batch_spends_what_still_works_and_only_that"],
    ),
    mutant(
        "a token works after its time",
        ("crates/mainspring-tokens/src/write.rs", " AND (t.expires_at IS NULL OR t.expires_at > c.at)", ""),
        "mainspring-tokens",
        &["a_token_expires_by_the_clock_of_the_database", "a_batch_spends_what_still_works_and_only_that"],
    ),
    mutant(
        "a closed output stream is written to",
        ("crates/mainspring-output/src/sql/write.sql", "\n    WHERE s.closed_at IS NULL", ""),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a reader that was woken takes what was seen before",
        ("crates/mainspring-output/src/tail.rs", "look.number > begun ||", "look.number >= begun ||"),
        "mainspring-output",
        &["a_commit_wakes_the_reader_of_another_process"],
    ),
    mutant(
        "readers of a stream share no look that finds nothing",
        ("crates/mainspring-output/src/tail.rs", "look.number > begun ||", "false ||"),
        "mainspring-output",
        &["many_readers_at_the_tail_cost_about_as_much_as_one"],
    ),
    mutant(
        "old output streams of executions are deleted",
        ("crates/mainspring-output/src/store.rs", "owner = '' AND closed_at < $1", "closed_at < $1"),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a lease is taken before its time is over",
        ("crates/mainspring-leases/src/store.rs", "WHERE l.expires_at <= excluded.acquired_at", "WHERE true"),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a lease is released by anybody",
        (
            "crates/mainspring-leases/src/store.rs",
            "DELETE FROM {leases} WHERE name = $1 AND token = $2",
            "DELETE FROM {leases} WHERE name = $1 AND $2 = $2::bigint",
        ),
        "mainspring",
        CONFORMANCE,
    ),
];

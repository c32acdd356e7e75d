//! The guards, each with the tests that stand for it.

use super::Mutant;

const fn mutant(
    name: &'static str,
    (file, from, to): (&'static str, &'static str, &'static str),
    package: &'static str,
    tests: &'static [&'static str],
) -> Mutant {
    Mutant { name, file, from, to, package, tests }
}

const CONFORMANCE: &[&str] = &["the_stores_on_postgres_pass_every_suite"];

pub const MUTANTS: &[Mutant] = &[
    mutant(
        "a write does not compare the revision",
        ("crates/mainspring-executions/src/sql/update.sql", " AND e.revision = u.expected", ""),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a call does not compare the revision",
        ("migrations/V22__commit.sql", " AND e.revision = u.expected", ""),
        "mainspring",
        &["writers_of_one_revision_win_once_and_positions_have_no_gap"],
    ),
    mutant(
        "a call revives what is over",
        ("migrations/V22__commit.sql", " AND e.status NOT IN ('completed', 'failed', 'cancelled')", ""),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a call whose answer was lost is not known by its mark",
        ("crates/mainspring/src/commit/doubt.rs", "*mark == Some(call.mark())", "mark.is_none()"),
        "mainspring",
        &["what_others_did_meanwhile_is_told_from_what_the_call_did"],
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
        "done does not compare the lease",
        ("crates/mainspring-queue/src/settle.rs", " AND x.token = c.token\n", "\n"),
        "mainspring-queue",
        &["of_a_batch_each_is_fenced_by_its_own_token"],
    ),
    mutant(
        "other settlements do not compare the lease",
        (
            "crates/mainspring-queue/src/sql/settle.sql",
            "WHERE m.ctid = i.row AND m.token = i.token",
            "WHERE m.ctid = i.row",
        ),
        "mainspring",
        CONFORMANCE,
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
        "a claim waits for rows that others are claiming",
        (
            "crates/mainspring-queue/src/sql/claim_front.sql",
            "ELSE $2::bigint - (SELECT count(*) FROM suspects) END\n  FOR UPDATE SKIP LOCKED",
            "ELSE $2::bigint - (SELECT count(*) FROM suspects) END\n  FOR UPDATE",
        ),
        "mainspring-queue",
        &["a_claim_does_not_wait_for_one_that_is_under_way"],
    ),
    mutant(
        "a claim does not lock",
        (
            "crates/mainspring-queue/src/sql/claim_front.sql",
            "ELSE $2::bigint - (SELECT count(*) FROM suspects) END\n  FOR UPDATE SKIP LOCKED",
            "ELSE $2::bigint - (SELECT count(*) FROM suspects) END",
        ),
        "mainspring-queue",
        &["a_claim_does_not_wait_for_one_that_is_under_way", "concurrent_consumers_take_every_message_once"],
    ),
    mutant(
        "the limit of a claim is not fenced from the planner",
        (
            "crates/mainspring-queue/src/sql/claim_front.sql",
            "), others AS MATERIALIZED (",
            "), others AS NOT MATERIALIZED (",
        ),
        "mainspring-queue",
        &["a_claim_never_brings_more_than_its_limit_whatever_the_plan"],
    ),
    mutant(
        "a message that killed its worker is not blamed",
        (
            "crates/mainspring-queue/src/store.rs",
            "token = 0, lost = lost + 1 FROM dead",
            "token = 0 FROM dead",
        ),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a child goes with the first of its parents",
        (
            "migrations/V11__dependencies.sql",
            "WHERE c.seq <> ALL (doomed) AND NOT EXISTS (SELECT FROM {dependencies} d WHERE d.child = c.seq));",
            "WHERE c.seq <> ALL (doomed));",
        ),
        "mainspring",
        &["the_messages_that_wait_for_others_on_postgres_pass_their_suite"],
    ),
    mutant(
        "a touch does not put off when a message is taken back",
        (
            "crates/mainspring-queue/src/touch.rs",
            "{now}() + b.every_us * interval",
            "b.expires_at + 0 * interval",
        ),
        "mainspring",
        &["the_heartbeats_of_messages_on_postgres_pass_their_suite"],
    ),
    mutant(
        "a hint before the wait is lost",
        (
            "crates/mainspring-queue/src/store.rs",
            "self.looks.wait(hints, queue, timeout).await",
            "drop(hints.wait(queue, timeout).await)",
        ),
        "mainspring-queue",
        &["a_hint_between_a_claim_and_the_wait_is_not_lost"],
    ),
    mutant(
        "keys without a message are kept for ever",
        ("crates/mainspring-queue/src/sweep.rs", "        self.forget_keys().await?;\n", ""),
        "mainspring-queue",
        &["a_key_that_was_locked_while_its_message_ended_goes_with_the_sweep"],
    ),
    mutant(
        "a copied message forgets that its queue was created",
        ("crates/mainspring-queue/src/copy.rs", "Box::new(options.is_some())", "Box::new(false)"),
        "mainspring-queue",
        &["a_large_push_is_as_many_small_ones"],
    ),
    mutant(
        "a worker takes one more of a group",
        ("crates/mainspring-worker/src/seat.rs", "if *count >= most {", "if *count > most {"),
        "mainspring-worker",
        &["a_worker_holds_no_more_of_one_group_than_it_may"],
    ),
    mutant(
        "an append does not take the position fence",
        ("crates/mainspring-events/src/write.rs", "SELECT {event_fence}()", "SELECT 1"),
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
        "a stale wake-up drives",
        (
            "crates/mainspring-engine/src/deliver.rs",
            "if execution.driver.as_ref() != Some(&delivery.message.id) {\n            return Ok(Err(Aside::Done));",
            "if false {\n            return Ok(Err(Aside::Done));",
        ),
        "mainspring-engine",
        &["a_message_that_is_not_the_driver_calls_no_handler", "a_stale_timer_does_not_end_a_later_wait"],
    ),
    mutant(
        "a tick keeps its hold",
        (
            "crates/mainspring-engine/src/drive.rs",
            "let held = last && write",
            "let held = false && last && write",
        ),
        "mainspring-engine",
        &["what_a_tick_leaves_is_for_whoever_comes_next"],
    ),
    mutant(
        "progress does not forgive lost workers",
        (
            "crates/mainspring-engine/src/drive.rs",
            "seat.is_some_and(|seat| seat.worn)",
            "seat.is_some_and(|seat| seat.worn && false)",
        ),
        "mainspring-engine",
        &["workers_that_die_while_it_makes_progress_are_not_held_against_it"],
    ),
    mutant(
        "every takeover forgives lost workers",
        (
            "crates/mainspring-worker/src/runner.rs",
            "delivery.lost >= shared.options.max_lost",
            "delivery.lost > 1_000",
        ),
        "mainspring-engine",
        &["an_execution_that_kills_its_workers_fails", "a_step_that_kills_its_workers_is_found"],
    ),
    mutant(
        "a token resumes any wait",
        (
            "crates/mainspring-engine/src/place.rs",
            "wait.its_own || made >=",
            "true || wait.its_own || made >=",
        ),
        "mainspring-engine",
        &["a_token_made_from_outside_is_for_the_wait_it_was_made_in_or_names"],
    ),
    mutant(
        "a token outlives its wait",
        (
            "crates/mainspring-engine/src/place.rs",
            "Place::Over } else { Place::Resumed }",
            "Place::Here } else { Place::Here }",
        ),
        "mainspring-engine",
        &["the_answer_to_a_question_that_is_over_does_not_answer_the_next"],
    ),
    mutant(
        "a job's holder is waited for without end",
        ("crates/mainspring-engine/src/job_run.rs", "until.min(now + LOOK_AGAIN)", "until + LOOK_AGAIN * 4"),
        "mainspring-engine",
        &["a_job_of_a_dead_process_is_taken_over_as_soon_as_its_lease_is_over"],
    ),
    mutant(
        "names are resolved without a look at their addresses",
        (
            "crates/mainspring-engine/src/builtin/http.rs",
            "            access.check(name.as_str(), &addresses)?;\n",
            "",
        ),
        "mainspring-engine",
        &["a_host_in_a_private_network_is_refused_and_nothing_is_sent"],
    ),
    mutant(
        "addresses are connected to as they are",
        ("crates/mainspring-engine/src/builtin/http.rs", "        self.check(&config.url)?;\n", ""),
        "mainspring-engine",
        &["a_host_in_a_private_network_is_refused_and_nothing_is_sent"],
    ),
    mutant(
        "redirects are followed",
        (
            "crates/mainspring-engine/src/builtin/http.rs",
            ".redirect(Policy::none())",
            ".redirect(Policy::limited(3))",
        ),
        "mainspring-engine",
        &["a_redirect_into_a_private_network_is_not_followed"],
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
        "a receipt that is there is written again",
        ("crates/mainspring-queue/src/receipt.rs", "WHERE r.keep_until <= (SELECT at FROM c)", "WHERE true"),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a commit does not look whether its receipts were written",
        ("crates/mainspring/src/commit/plan.rs", "check(written, &||", "check(written || true, &||"),
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
    mutant(
        "an event is handled without a receipt",
        (
            "crates/mainspring-broker/src/deliver.rs",
            "settlement == Settlement::Done { vec![receipt.clone()] }",
            "settlement == Settlement::Done { Vec::new() }",
        ),
        "mainspring-broker",
        &["an_event_is_handled_once_however_often_it_is_sent"],
    ),
];

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_guard_stands_once_where_it_is_taken_out() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for Mutant { name, file, from, .. } in MUTANTS {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            assert_eq!(text.matches(from).count(), 1, "{name}: {file}");
        }
    }
}

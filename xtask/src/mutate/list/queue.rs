//! Queues and workers: claims, settlements, dependencies, keys and receipts.

use super::{CONFORMANCE, mutant};
use crate::mutate::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[
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
        "a claim picks in a subquery that the planner may run for each row",
        (
            "crates/mainspring-queue/src/sql/claim_return.sql",
            "m.ctid = ANY (ARRAY(SELECT row FROM next))",
            "m.ctid IN (SELECT x.ctid FROM {messages} x WHERE x.queue = $1 AND x.holder IS NULL AND x.lost < 2 \
             ORDER BY x.priority DESC, x.seq LIMIT $2 FOR UPDATE SKIP LOCKED)",
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
        &["dead_holders_on_postgres_keep_nobody_back"],
    ),
    mutant(
        "a delay does not forget lost workers",
        (
            "crates/mainspring-queue/src/sql/settle.sql",
            "CASE g.verdict WHEN 'snooze' THEN 0 ELSE g.lost END",
            "g.lost",
        ),
        "mainspring",
        &["dead_holders_on_postgres_keep_nobody_back"],
    ),
    mutant(
        "a failure forgets lost workers",
        (
            "crates/mainspring-queue/src/sql/settle.sql",
            "CASE g.verdict WHEN 'snooze' THEN 0 ELSE g.lost END",
            "0",
        ),
        "mainspring",
        &["dead_holders_on_postgres_keep_nobody_back"],
    ),
    mutant(
        "what is brought back keeps the workers it cost",
        ("migrations/V27__revive.sql", "0 AS lost", "x.lost"),
        "mainspring",
        &["dead_holders_on_postgres_keep_nobody_back"],
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
        "a receipt that is there is written again",
        ("crates/mainspring-queue/src/receipt.rs", "WHERE r.keep_until <= (SELECT at FROM c)", "WHERE true"),
        "mainspring",
        CONFORMANCE,
    ),
    mutant(
        "a lease from before the clock went back lasts until the clock is there again",
        ("crates/mainspring-queue/src/store.rs", "+ interval '1 second'", "+ interval '1 day'"),
        "mainspring-tests",
        &["a_clock_that_jumps_back_gives_a_dead_worker_no_hour"],
    ),
    mutant(
        "a token of a claim is handed out again after a failover",
        (
            "crates/mainspring-queue/src/sql/claim_take.sql",
            " * 1048576 + floor(random() * 1048576)::bigint",
            "",
        ),
        "mainspring-tests",
        &["a_standby_that_was_behind_takes_over_and_nothing_contradicts_itself"],
    ),
];

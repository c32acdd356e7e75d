//! The examples run, and what they assert holds.

use std::{path::PathBuf, process::Command};

/// Cargo builds examples beside the tests.
fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

fn runs(name: &str) {
    let output = Command::new(program(name)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} ended with {}: {said}", output.status);
    assert!(!output.stdout.is_empty(), "{name} has said nothing");
}

#[test]
fn checkout_is_undone_when_it_fails() {
    runs("checkout");
}

#[test]
fn approval_comes_from_a_human_or_a_deadline() {
    runs("approval");
}

#[test]
fn reminder_comes_after_thirty_days() {
    runs("reminder");
}

#[test]
fn fan_out_keeps_its_window() {
    runs("fan_out");
}

#[test]
fn polling_ends_when_the_service_is_done() {
    runs("polling");
}

#[test]
fn children_answer_their_parent() {
    runs("children");
}

#[test]
fn transfer_keeps_the_books_balanced() {
    runs("transfer");
}

#[test]
fn calculator_ends_with_the_average() {
    // A38
    runs("calculator");
}

#[test]
fn human_approval_waits_for_a_person() {
    // A39
    runs("human_approval");
}

#[test]
fn saga_is_undone_over_three_processes() {
    runs("saga");
}

#[test]
fn crash_me_goes_on_where_it_was_killed() {
    // W44, X1, fault F03
    runs("crash_me");
}

#[test]
fn a_world_in_one_process_publishes_what_it_does() {
    runs("world_same_process");
}

#[test]
fn a_world_with_a_worker_process_calls_the_application_over_http() {
    runs("world_worker_process");
}

#[test]
fn a_world_without_a_standing_process_loses_nothing() {
    runs("world_serverless");
}

#[test]
fn a_queue_of_ones_own_drives_a_world() {
    // W43
    runs("world_own_queue");
}

#[test]
fn steps_in_python_are_called_by_a_worker_in_rust() {
    runs("python_steps");
}

#[test]
fn hello_is_said_after_a_day() {
    runs("hello");
}

#[test]
fn a_schedule_fires_once_after_an_outage() {
    runs("schedule");
}

#[test]
fn unique_work_is_stored_once() {
    runs("unique");
}

#[test]
fn dead_letters_come_back_when_what_failed_is_mended() {
    runs("redrive");
}

#[test]
fn an_order_and_its_message_are_one_transaction() {
    runs("outbox");
}

#[test]
fn a_cart_has_a_table_inline_and_documents_behind() {
    runs("cart");
}

#[test]
fn tenants_see_what_is_theirs() {
    runs("tenants");
}

#[test]
fn a_web_service_starts_workflows_and_has_their_steps() {
    runs("http_service");
}

#[test]
fn a_stop_gives_back_what_it_cannot_finish() {
    runs("graceful");
}

#[test]
fn an_application_is_tested_without_a_database() {
    runs("testing");
}

#[test]
fn telemetry_is_exported_and_scraped() {
    runs("telemetry");
}

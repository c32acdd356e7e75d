//! The engine: who drives, who resumes, and where the handler `http` may go.

use super::mutant;
use crate::mutate::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[
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
];

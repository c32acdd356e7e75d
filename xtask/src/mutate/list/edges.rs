//! Where the outside comes in: HTTP, events of the broker, Redis.

use super::mutant;
use crate::mutate::Mutant;

const WAKES: &[&str] = &["wake::"];

pub(super) const MUTANTS: &[Mutant] = &[
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
    mutant(
        "a call that is given up leaves its run as it is",
        (
            "crates/mainspring-world/src/world/calls.rs",
            "match verdict.gives_up(&delivery) {",
            "match verdict.gives_up(&delivery).filter(|_| false) {",
        ),
        "mainspring-world",
        &["an_invoker_that_panics_or_never_answers_fails_the_run"],
    ),
    mutant(
        "a request is never too old",
        (
            "crates/mainspring-http/src/signature.rs",
            "now.since(made).max(made.since(now)) <= TOLERANCE",
            "made.since(now) <= TOLERANCE",
        ),
        "mainspring-http",
        &["what_is_old_or_of_the_future_or_seen_is_noticed"],
    ),
    mutant(
        "a guard does not ask for the age of a request",
        (
            "crates/mainspring-http/src/guard.rs",
            "=> signature::is_fresh(timestamp, now()),",
            "=> signature::is_fresh(timestamp, now()) || true,",
        ),
        "mainspring-http",
        &["passes_the_suite"],
    ),
    mutant(
        "a request that is repeated is let in",
        (
            "crates/mainspring-http/src/guard.rs",
            "Some(Known::New) => Admission::Granted,",
            "Some(Known::New | Known::Seen) => Admission::Granted,",
        ),
        "mainspring-http",
        &["passes_the_suite"],
    ),
    mutant(
        "what was seen is forgotten before its age refuses it",
        (
            "crates/mainspring-http/src/signature.rs",
            "halves.before = std::mem::take(&mut halves.now);",
            "halves.now.clear();",
        ),
        "mainspring-http",
        &["what_is_old_or_of_the_future_or_seen_is_noticed"],
    ),
    mutant(
        "a circuit does not open",
        (
            "crates/mainspring-http/src/client/breaker.rs",
            "State::Closed { .. } => self.state = open(self.pause),",
            "State::Closed { .. } => {}",
        ),
        "mainspring-http",
        &["the_circuit_opens_and_closes"],
    ),
    mutant(
        "everybody tries an open circuit at once",
        (
            "crates/mainspring-http/src/client/breaker.rs",
            "self.state = State::Trying { until: now + self.trial, pause };",
            "self.state = State::Open { until: now, pause };",
        ),
        "mainspring-http",
        &["it_opens_tries_one_and_closes"],
    ),
    mutant(
        "a late failure opens a circuit anew",
        (
            "crates/mainspring-http/src/client/breaker.rs",
            "State::Open { .. } => {}",
            "State::Open { pause, .. } => self.state = open(pause * 2),",
        ),
        "mainspring-http",
        &["it_opens_tries_one_and_closes"],
    ),
    mutant(
        "a ticket is taken twice",
        (
            "crates/mainspring-queue-redis/src/redis.rs",
            "if n > 0 then redis.call('DECRBY', KEYS[1], n) end",
            "",
        ),
        "mainspring-queue-redis",
        WAKES,
    ),
    mutant(
        "more tickets are taken than there is room for",
        (
            "crates/mainspring-queue-redis/src/redis.rs",
            "math.min(tonumber(held or 0), tonumber(ARGV[1]))",
            "tonumber(held or 0)",
        ),
        "mainspring-queue-redis",
        WAKES,
    ),
    mutant(
        "tickets are less than none",
        (
            "crates/mainspring-queue-redis/src/redis.rs",
            "if redis.call('INCRBY', KEYS[1], n) <= 0 then redis.call('DEL', KEYS[1]) else",
            "if redis.call('INCRBY', KEYS[1], n) == 0 then redis.call('DEL', KEYS[1]) else",
        ),
        "mainspring-queue-redis",
        WAKES,
    ),
    mutant(
        "what is claimed without a ticket leaves its ticket behind",
        ("crates/mainspring-pg/src/hints.rs", "if messages > tickets {", "if false && messages > tickets {"),
        "mainspring-queue-redis",
        &["what_is_claimed_without_a_ticket_takes_its_ticket_along"],
    ),
];

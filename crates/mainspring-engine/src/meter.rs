//! What the engine counts for whoever listens.

use std::time::Duration;

use mainspring_core::metric;
use metrics::{counter, histogram};

/// A step took so long. Of a key only what the code says is told: `ship[3]/pack#2` is `ship/pack`.
pub(crate) fn step(flow: &str, key: &str, took: Duration) {
    histogram!(metric::STEP_DURATION, "flow" => flow.to_owned(), "step" => name(key)).record(took);
}

/// A history was read.
pub(crate) fn replay(flow: &str, took: Duration) {
    histogram!(metric::REPLAY, "flow" => flow.to_owned()).record(took);
}

/// The code does not fit its history.
pub(crate) fn drifted(flow: &str) {
    counter!(metric::NONDETERMINISM, "flow" => flow.to_owned()).increment(1);
}

/// An execution whose driver had died got a message.
pub(crate) fn requeued() {
    counter!(metric::RECONCILER_REQUEUED).increment(1);
}

/// Without what counts: positions, ordinals and rounds.
fn name(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    let (mut inside, mut counting) = (false, false);
    for c in key.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            '#' | '@' => counting = true,
            '/' => {
                counting = false;
                name.push(c);
            }
            c if !inside && !counting => name.push(c),
            _ => {}
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_numbers_of_the_run() {
        for (key, expected) in [
            ("charge", "charge"),
            ("charge#2", "charge"),
            ("ship[3]/pack#12/seal", "ship/pack/seal"),
            ("loop@7/a", "loop/a"),
        ] {
            assert_eq!(name(key), expected);
        }
    }
}

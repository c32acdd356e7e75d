//! The guards, each with the tests that stand for it.

mod commit;
mod edges;
mod engine;
mod queue;
mod stores;

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

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    [commit::MUTANTS, queue::MUTANTS, stores::MUTANTS, engine::MUTANTS, edges::MUTANTS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_guard_stands_once_where_it_is_taken_out() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for Mutant { name, file, from, .. } in all() {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            assert_eq!(text.matches(from).count(), 1, "{name}: {file}");
        }
    }
}

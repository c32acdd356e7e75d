//! Queues that hold messages back, over random histories: `key_strict_fifo` and group limits against a small model (Q20, Q28).
//!
//! A failure prints its seed and what happened; `CONFORMANCE_SEED` repeats it.

mod crowd;
mod history;
mod model;

use mainspring_core::Backend;

use super::super::within_patience;
use crate::{Dice, TimeTravel};
use history::History;
use model::Kind;

/// `cases` histories of each kind, and a tenth as many crowds, at least one.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T), cases: u64) {
    let (seed, cases) = seeds(cases);
    for kind in [Kind::Keys, Kind::Groups, Kind::Tiers] {
        for seed in seed..seed + cases {
            let (backend, time) = fresh().await;
            let mut history = History::new(&backend, &time, kind, seed);
            let steps = 20 + seed % 80;
            let mut checked = Ok(());
            within_patience("a random history", async { checked = history.run(steps).await }).await;
            if let Err(problem) = checked {
                panic!("CONFORMANCE_SEED={seed}, {kind:?}: {problem}\n{}", history.told.join("\n"));
            }
        }
        for seed in seed..seed + cases.div_ceil(10) {
            let (backend, time) = fresh().await;
            let mut checked = Ok(());
            within_patience("a crowd", async { checked = crowd::run(&backend, &time, kind, seed).await })
                .await;
            if let Err(problem) = checked {
                panic!("CONFORMANCE_SEED={seed}, a crowd at {kind:?}: {problem}");
            }
        }
    }
}

/// The first seed and how many: the one that is to be repeated, or as many as asked from anywhere.
fn seeds(cases: u64) -> (u64, u64) {
    match std::env::var("CONFORMANCE_SEED") {
        Ok(seed) => (seed.parse().expect("a number"), 1),
        Err(_) => (Dice::any_seed(), cases),
    }
}

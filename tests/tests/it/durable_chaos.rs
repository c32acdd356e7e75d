//! Durable functions under everything at once (X1 to X3, faults F01 to F08, F14, F39, F53): a mix of all kinds, of which every
//! execution has to end as its twin did, which was run in peace.
//!
//! `CHAOS_SEED` repeats a run's decisions; `CHAOS_SECONDS` and `CHAOS_EXECUTIONS` make it longer, as `cargo xtask chaos` does.

use std::{collections::BTreeSet, time::Duration};

use mainspring::{Engine, ExecutionId};
use mainspring_testing::Faults;
use mainspring_tests::{
    Lab, PATIENCE,
    durable::{PERIOD, Record, bring_letters, builder, kind, open_accounts, records, start, wrong_books},
    storm::{Storm, number},
    until, worker,
};
use tokio::time::{Instant, sleep};

use crate::WORKER;

/// How each input ends when nothing happens.
async fn twins(lab: &Lab) -> Vec<Record> {
    let engine = builder(lab.stores(8), &lab.ledger, &Faults::none()).build().unwrap();
    let running = worker(&engine).start().unwrap();
    let mut ids = Vec::new();
    for n in 0..PERIOD {
        ids.push(start(&engine, n, &format!("twin-{n}")).await.id().clone());
    }
    lab.over(&ids).await;
    running.stop().await.unwrap();
    records(lab.near(), &ids).await.unwrap()
}

/// Starts them in the first half of the time, so that there is always something to disturb.
async fn start_all(engine: Engine, executions: u64, time: Duration) -> Vec<ExecutionId> {
    let (begin, mut ids) = (Instant::now(), Vec::new());
    for n in 0..executions {
        ids.push(start(&engine, n, &format!("{}-{n}", kind(n))).await.id().clone());
        let due = time.mul_f64(0.5 * n as f64 / executions as f64);
        sleep(due.saturating_sub(begin.elapsed())).await;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "for whoever repeats the run")]
async fn durable_functions_end_as_their_twins_whatever_happens() {
    let executions = number("CHAOS_EXECUTIONS", 400);
    let (mut storm, lab) = Storm::prepare().await;
    let seed = storm.seed;
    open_accounts(lab.near()).await;
    let engine = builder(lab.stores(4), &lab.ledger, &Faults::none()).build().unwrap();
    let letters = tokio::spawn(bring_letters(engine.clone(), lab.ledger.clone()));
    let twins = twins(&lab).await;
    let before = lab.ledger.len();

    let starting = tokio::spawn(start_all(engine, executions, storm.time));
    storm.rage(&lab, || lab.child(WORKER).durable().concurrency(16).max_lost(1_000)).await;
    let ids = starting.await.unwrap();
    let (begin, limit) = (Instant::now(), PATIENCE.max(storm.time));
    while !lab.are_over(&ids).await {
        if begin.elapsed() > limit {
            lab.over(&ids).await; // says what is not
        }
        sleep(Duration::from_millis(100)).await;
    }
    until("every invariant holds", async || lab.broken().await.is_empty()).await;
    storm.calm().await;
    letters.abort();

    let records = records(lab.near(), &ids).await.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    for (n, record) in (0..).zip(&records) {
        let twin = &twins[usize::try_from(n % PERIOD).unwrap()];
        assert_eq!(record, twin, "seed {seed}: {} is not as its twin", ids[usize::try_from(n).unwrap()]);
    }
    let transfers: Vec<_> = ids.iter().filter(|id| id.as_str().starts_with("transfer")).cloned().collect();
    let wrong = wrong_books(lab.near(), &transfers).await;
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    let (effects, repeats) = (lab.ledger.len() - before, lab.ledger.repeats().len());
    let processes: BTreeSet<u32> = lab.ledger.effects().iter().map(|effect| effect.process).collect();
    eprintln!(
        "chaos: {} executions as their twins, {effects} effects, {repeats} of them more than once, by {} processes; {:?}",
        ids.len(),
        processes.len() - 1,
        storm.blows,
    );
    assert!(processes.len() > 3, "too few processes had a part in it");
}

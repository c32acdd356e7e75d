//! A queue under everything at once (X1 to X3, faults F01 to F08, F14, F39, F47): worker processes are killed and stopped at random,
//! Postgres is killed and restarted, connections are cut. Nothing is lost, nothing is done twice, everything ends as it is to.
//!
//! `CHAOS_SEED` repeats a run's decisions; `CHAOS_SECONDS` and `CHAOS_MESSAGES` make it longer, as `cargo xtask chaos` does.

use std::{collections::BTreeSet, time::Duration};

use mainspring::{Names, PgStores, QueueDriver, QueueStats};
use mainspring_testing::Dice;
use mainspring_tests::{
    PATIENCE,
    chaos::{End, QUEUE, end_of, keep_book, message, read_book},
    eventually,
    storm::{Storm, number},
};
use tokio::time::sleep;

use crate::WORKER;

/// What a push said.
#[derive(Default)]
struct Pushed {
    accepted: BTreeSet<u64>,
    /// Nobody knows whether these were stored.
    unknown: BTreeSet<u64>,
}

/// Pushes messages in batches of any size, in the first half of the time, so that there is always something to lose.
async fn push_all(stores: PgStores<'static>, messages: u64, time: Duration, mut dice: Dice) -> Pushed {
    let (mut pushed, mut n) = (Pushed::default(), 0);
    let begin = tokio::time::Instant::now();
    while n < messages {
        let batch: Vec<u64> = (n..(n + 1 + dice.roll(60)).min(messages)).collect();
        n += batch.len() as u64;
        loop {
            match stores.queue.push(batch.iter().copied().map(message).collect()).await {
                Ok(()) => pushed.accepted.extend(&batch),
                // Not again: a plain push has no key that would tell the second one from the first.
                Err(error) if error.is_commit_unknown() => pushed.unknown.extend(&batch),
                Err(error) if error.is_retryable() => {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(error) => panic!("{error:?}"),
            }
            break;
        }
        let due = time.mul_f64(0.5 * n as f64 / messages as f64);
        sleep(due.saturating_sub(begin.elapsed())).await;
    }
    pushed
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "for whoever repeats the run")]
async fn a_queue_survives_everything_at_once() {
    let messages = number("CHAOS_MESSAGES", 10_000);
    let (mut storm, lab) = Storm::prepare().await;
    let (names, seed) = (Names::default(), storm.seed);
    keep_book(&lab.client().await, &names).await;
    let pushing = tokio::spawn(push_all(lab.stores(4), messages, storm.time, Dice::new(seed ^ 1)));
    storm.rage(&lab, || lab.child(WORKER).queue().concurrency(6)).await;

    let pushed = pushing.await.unwrap();
    let calm = |stats: QueueStats| stats.ready + stats.claimed + stats.deferred == 0;
    let drained = eventually("the queue is empty", async || {
        lab.near().queue.stats(QUEUE).await.is_ok_and(calm).then_some(())
    });
    tokio::time::timeout(PATIENCE.max(storm.time), drained).await.expect("the queue is empty in time");
    storm.calm().await;

    let book = read_book(&lab.client().await, &names).await;
    for page in &book {
        let right = match end_of(page.n) {
            End::Done => (page.done, page.dead) == (1, 0),
            End::Dead => (page.done, page.dead) == (0, 1),
        };
        assert!(right && !page.left, "seed {seed}: {page:?}");
        let known = pushed.accepted.contains(&page.n) || pushed.unknown.contains(&page.n);
        assert!(known, "seed {seed}: nobody pushed {page:?}");
    }
    let stored: BTreeSet<u64> = book.iter().map(|page| page.n).collect();
    let lost: Vec<_> = pushed.accepted.difference(&stored).collect();
    assert!(lost.is_empty(), "seed {seed}: accepted and lost: {lost:?}");
    let (runs, repeats) = (lab.ledger.len(), lab.ledger.repeats().len());
    eprintln!(
        "chaos: {} accepted, {} unknown, {} ended, {runs} runs, {repeats} ran more than once; {:?}",
        pushed.accepted.len(),
        pushed.unknown.len(),
        book.len(),
        storm.blows,
    );
    assert!(pushed.accepted.len() as u64 > messages / 2 && runs > stored.len());
}

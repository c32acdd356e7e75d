//! A queue under everything at once (X1 to X3, F01 to F08, F14, F39, F47): worker processes are killed and stopped at random,
//! Postgres is killed and restarted, connections are cut. Nothing is lost, nothing is done twice, everything ends as it is to.
//!
//! `CHAOS_SEED` repeats a run's decisions; `CHAOS_SECONDS` and `CHAOS_MESSAGES` make it longer, as `cargo xtask chaos` does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mainspring::{Migrator, Names, PgStores, QueueDriver, QueueStats, Settings};
use mainspring_testing::{ChildWorker, Cluster, ClusterOptions, Dice};
use mainspring_tests::{
    LEASE, Lab, PATIENCE,
    chaos::{End, QUEUE, end_of, keep_book, message, read_book},
    eventually,
};
use tokio::{task::block_in_place, time::sleep};

use crate::WORKER;

const CHILDREN: usize = 3;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    KillWorker,
    PauseWorker,
    KillPostgres,
    CutConnections,
}

const BLOWS: [Blow; 4] = [Blow::KillWorker, Blow::PauseWorker, Blow::KillPostgres, Blow::CutConnections];

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
    let (seconds, messages) = (number("CHAOS_SECONDS", 20), number("CHAOS_MESSAGES", 10_000));
    let seed = number("CHAOS_SEED", Dice::any_seed());
    eprintln!("chaos: CHAOS_SEED={seed} CHAOS_SECONDS={seconds} CHAOS_MESSAGES={messages}");
    let (mut dice, time) = (Dice::new(seed), Duration::from_secs(seconds));

    // What was acknowledged is with the kernel, as a throwaway cluster does not do by itself.
    let options = ClusterOptions::throwaway().setting("synchronous_commit", "on");
    let mut cluster = block_in_place(|| Cluster::start(options)).unwrap();
    let url = cluster.url("postgres");
    let settings = Settings::parse(&url).unwrap();
    let names = Names::default();
    Migrator::new(settings.clone(), names.clone()).up().await.unwrap();
    let lab = Lab::at(&url, settings);
    keep_book(&lab.client().await, &names).await;
    let spawn = || lab.child(WORKER).queue().concurrency(6).spawn();
    let mut children: Vec<ChildWorker> = (0..CHILDREN).map(|_| spawn()).collect();
    let pushing = tokio::spawn(push_all(lab.stores(4), messages, time, Dice::new(seed ^ 1)));

    let mut blows: BTreeMap<Blow, u32> = BTreeMap::new();
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < time {
        sleep(Duration::from_millis(200 + dice.roll(800))).await;
        // Each once, then as the dice fall, workers most of all.
        let next = BLOWS.into_iter().find(|blow| !blows.contains_key(blow));
        let blow = next.unwrap_or_else(|| BLOWS[[0, 0, 0, 1, 2, 3, 3][dice.index(7)]]);
        *blows.entry(blow).or_default() += 1;
        let which = dice.index(CHILDREN);
        match blow {
            Blow::KillWorker => {
                children[which].kill9().unwrap();
                children[which] = spawn();
            }
            Blow::PauseWorker => {
                children[which].stop().unwrap();
                sleep(LEASE * 2).await;
                children[which].cont().unwrap();
            }
            Blow::KillPostgres => {
                block_in_place(|| cluster.kill9()).unwrap();
                sleep(Duration::from_millis(dice.roll(1_500))).await;
                block_in_place(|| cluster.restart()).unwrap();
            }
            Blow::CutConnections => {
                const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
                let cut: i64 = lab.client().await.query_one(CUT, &[]).await.unwrap().get(0);
                assert!(cut > 0, "nobody was connected");
            }
        }
    }

    let pushed = pushing.await.unwrap();
    let calm = |stats: QueueStats| stats.ready + stats.claimed + stats.deferred == 0;
    let limit = PATIENCE.max(time);
    let drained = eventually("the queue is empty", async || {
        lab.near().queue.stats(QUEUE).await.is_ok_and(calm).then_some(())
    });
    tokio::time::timeout(limit, drained).await.expect("the queue is empty in time");
    for child in &mut children {
        child.terminate().unwrap();
        assert!(child.exit(PATIENCE).await.unwrap().success());
    }

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
        "chaos: {} accepted, {} unknown, {} ended, {runs} runs, {repeats} ran more than once; {blows:?}",
        pushed.accepted.len(),
        pushed.unknown.len(),
        book.len(),
    );
    assert!(pushed.accepted.len() as u64 > messages / 2 && runs > stored.len());
}

//! Everything at once: three workers, one of which is killed at random moments (fault F97 in small, I1 to I5).

use std::hash::{BuildHasher, RandomState};

use mainspring_tests::{Lab, eventually, order, worker};

use crate::WORKER;

const EXECUTIONS: usize = 300;

/// A number of which nobody knows beforehand what it will be, shown when the test fails.
#[allow(clippy::print_stderr, reason = "for whoever reads why the test failed")]
fn random(name: &str, from: usize, to: usize) -> usize {
    let spread = usize::try_from(RandomState::new().hash_one(name) % 1_000_000).unwrap();
    let number = from + spread % (to - from);
    eprintln!("{name}: {number}");
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_load_is_consistent_at_every_moment_and_complete_at_the_end() {
    let lab = Lab::new().await;
    let engines = [lab.engine(), lab.engine()];
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    let spawn = || lab.child(WORKER).concurrency(8).max_lost(10).spawn();
    let mut child = spawn();
    let creating = tokio::spawn({
        let engine = lab.engine();
        async move {
            let creates =
                (0..EXECUTIONS).map(|_| engine.create("order", serde_json::json!({})).into_future());
            let created = futures_util::future::join_all(creates).await;
            created.into_iter().map(|created| created.unwrap().execution.id).collect::<Vec<_>>()
        }
    });

    let all = EXECUTIONS * order::EFFECTS;
    let mut pids = vec![child.id()];
    for (name, from, to) in [("first kill", 1, all / 3), ("second kill", all / 3, all * 2 / 3)] {
        let moment = random(name, from, to);
        // Until then, and at the moment itself, everything has a driver.
        let reached = eventually("the load is there", async || {
            assert_eq!(lab.broken().await, Vec::<String>::new());
            let effects = lab.ledger.len();
            (effects >= moment).then_some(effects)
        });
        let effects = reached.await;
        child.kill9().unwrap();
        assert!(effects < all, "killed too late");
        assert_eq!(lab.broken().await, Vec::<String>::new());
        child = spawn();
        pids.push(child.id());
    }
    let ids = creating.await.unwrap();
    let report = lab.all_completed(&ids).await;
    assert_eq!(report.executions, 2 * EXECUTIONS as u64);
    for pid in &pids[..2] {
        assert!(!lab.ledger.by(*pid).is_empty(), "the killed child {pid} had done nothing");
    }
    for worker in workers {
        worker.stop().await.unwrap();
    }
    child.terminate().unwrap();
    assert!(child.exit(mainspring_tests::PATIENCE).await.unwrap().success());
}

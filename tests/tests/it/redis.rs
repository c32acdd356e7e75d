//! Processes are killed while Redis stands beside Postgres (fault F64, R15, W44).

use mainspring::{QueueDriver, QueueStats};
use mainspring_testing::redis_server;
use mainspring_tests::{
    Lab,
    called::Kind,
    chaos::{End, QUEUE, end_of, message},
    until,
};
use tokio::task::block_in_place;

use crate::{WORKER, hit, world_kills::killed_in};

const MESSAGES: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_had_taken_is_delivered_to_another() {
    // fault F64, R15: killed with what it had claimed, and with tickets it had not claimed for
    let Some(server) = block_in_place(|| redis_server(&[])) else { return };
    let lab = Lab::beside(server.url()).await;
    for nth in [1, 40, 120] {
        let faults = format!("handle.before=stop@{nth}");
        let mut child = lab.child(WORKER).queue().concurrency(8).faults(&faults).spawn();
        child.line("ready", mainspring_tests::PATIENCE).await.unwrap();
        lab.near().queue.push((0..MESSAGES).map(message).collect()).await.unwrap();
        hit(&mut child, "handle.before").await;
        child.kill9().unwrap();
    }
    let mut last = lab.child(WORKER).queue().concurrency(8).spawn();
    let dead = 3 * (0..MESSAGES).filter(|n| end_of(*n) == End::Dead).count() as u64;
    until("every message has ended", async || {
        let stats = lab.near().queue.stats(QUEUE).await.unwrap();
        stats == QueueStats { dead, ..QueueStats::default() }
    })
    .await;
    last.terminate().unwrap();
    assert!(last.exit(mainspring_tests::PATIENCE).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_step_that_is_called_it_runs_again_and_after_its_result_it_does_not() {
    // W44
    let Some(server) = block_in_place(|| redis_server(&[])) else { return };
    for (http, point, again) in [(false, "effect.after", vec![2]), (true, "result.after", vec![])] {
        let lab = Lab::beside(server.url()).await;
        let (repeats, found) = killed_in(&lab, Kind { http, apart: false }, point, 3).await;
        assert_eq!((repeats, found), (again, 0), "{point}");
    }
}

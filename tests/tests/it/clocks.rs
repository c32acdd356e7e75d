//! The database's clock jumps, and whole machines sleep (faults F43, F44, F46).

use std::time::Duration;

use mainspring_tests::{Lab, PATIENCE, Pair, Replication, until, worker};

use crate::{WORKER, hit};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_slept_for_an_hour_go_on_and_nothing_counts_twice() {
    // fault F46: every process stands, and so do their clocks; the database's goes on
    let lab = Lab::new().await;
    let ids = lab.create(&lab.engine(), 20).await;
    let mut children = [(); 2].map(|()| lab.child(WORKER).concurrency(4).spawn());
    until("work has begun", async || lab.ledger.len() >= 10).await;
    for child in &children {
        child.stop().unwrap();
    }
    lab.db().advance(HOUR).await;
    for child in &children {
        child.cont().unwrap();
    }
    lab.all_completed(&ids).await;
    for child in &mut children {
        child.terminate().unwrap();
        assert!(child.exit(PATIENCE).await.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_costs_leases_and_nothing_else() {
    // fault F43: everybody counts as dead for a moment, again and again
    let lab = Lab::new().await;
    let engines = [lab.engine(), lab.engine()];
    let ids = lab.create(&engines[0], 40).await;
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    for done in [20, 100, 200] {
        until("work goes on", async || lab.ledger.len() >= done).await;
        lab.db().advance(HOUR).await;
    }
    lab.all_completed(&ids).await;
    for worker in workers {
        worker.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_gives_a_dead_worker_no_hour() {
    // fault F43
    let lab = Lab::new().await;
    let engine = lab.engine();
    let ids = lab.create(&engine, 3).await;
    let mut child = lab.child(WORKER).faults("reserve.before=stop@1").spawn();
    hit(&mut child, "reserve.before").await;
    child.kill9().unwrap();
    lab.db().set_back(HOUR).await;
    let running = worker(&engine).start().unwrap();
    lab.all_completed(&ids).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_whose_clock_is_behind_takes_over() {
    // fault F44
    const AN_HOUR_BEHIND: &str =
        "CREATE OR REPLACE FUNCTION ms_now() RETURNS timestamptz LANGUAGE plpgsql STABLE
        AS $$ BEGIN RETURN pg_catalog.clock_timestamp() - interval '1 hour'; END $$";
    let mut pair = Pair::start(Replication::Synchronous).await;
    let lab = pair.lab();
    let engine = lab.engine();
    let ids = lab.create(&engine, 20).await;
    let running = worker(&engine).start().unwrap();
    until("work has begun", async || lab.ledger.len() >= 20).await;
    pair.fail_over();
    pair.client(&pair.second).await.batch_execute(AN_HOUR_BEHIND).await.unwrap();
    lab.all_completed(&ids).await;
    running.stop().await.unwrap();
}

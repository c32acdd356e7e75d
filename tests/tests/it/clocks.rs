//! The database's clock jumps, and whole machines sleep (faults F43, F44, F46), or are those of other
//! hosts (X5).

use std::time::{Duration, SystemTime};

use mainspring::{
    Available, ClaimRequest, Cx, Engine, EventStore as _, NewMessage, QueueDriver, Timestamp, WorkerId,
    Workflow, WorkflowResult,
};
use mainspring_tests::{LEASE, LOOK, Lab, PATIENCE, Pair, Replication, until, worker};
use serde_json::json;

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

const NAP: Workflow<(), String, String> = Workflow::new("nap");

async fn nap(cx: Cx, (): ()) -> WorkflowResult<String, String> {
    cx.sleep(LEASE).await;
    let seen = cx.now().to_string();
    Ok(cx.step("wake", async || Ok::<_, String>(seen.clone())).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_ten_minutes_ahead_or_behind_order_time_and_lease_as_all_others() {
    // X5: what a host's clock says is no part of anything; it is ten minutes from the database's, either way, for all here
    const TEN_MINUTES: Duration = Duration::from_secs(600);
    for ahead in [true, false] {
        let lab = Lab::new().await;
        if ahead {
            lab.db().set_back(TEN_MINUTES).await;
        } else {
            lab.db().advance(TEN_MINUTES).await;
        }
        let begin = database_time(&lab).await;
        let engine = lab.engine();
        // Leases: a worker that dies is followed after its lease, and one that lives keeps what it has.
        let mut ids = lab.create(&engine, 3).await;
        let mut dead = lab.child(WORKER).faults("reserve.before=stop@1").spawn();
        hit(&mut dead, "reserve.before").await;
        dead.kill9().unwrap();
        let mut live = lab.child(WORKER).concurrency(4).spawn();
        let here = worker(&engine).start().unwrap();
        ids.extend(lab.create(&engine, 3).await);
        let report = lab.all_completed(&ids).await;
        assert!(report.recovered <= 1, "whoever lives is not taken for dead: {report}");

        // Timers: not before their time, and not ten minutes after it.
        let naps =
            Engine::builder(lab.stores(4)).lease(LEASE).queue("naps").register(NAP, nap).build().unwrap();
        let napping = naps.worker().lease(LEASE).poll_interval(LOOK).start().unwrap();
        let handle = naps.start(NAP, &()).await.unwrap();
        let woken: Timestamp = handle.result().await.unwrap().parse().unwrap();
        napping.stop().await.unwrap();
        let created = lab.get(handle.id()).await.created_at;
        assert!(woken.since(created) >= LEASE && woken.since(created) < PATIENCE, "{created} {woken}");
        let queue = &lab.near().queue;
        let due = created + TEN_MINUTES / 2;
        let mut later = NewMessage::new("later", "t", json!(1));
        later.available = Available::At(due);
        queue.push(vec![later]).await.unwrap();
        let claim = || queue.claim(ClaimRequest::new("later", WorkerId::generate(), LEASE, 1));
        assert!(claim().await.unwrap().deliveries.is_empty());
        lab.db().advance(TEN_MINUTES / 2).await;
        until("it is due", async || !claim().await.unwrap().deliveries.is_empty()).await;

        // Order: each history in that of its times, and all of them in the database's.
        let end = database_time(&lab).await;
        ids.push(handle.id().clone());
        for id in &ids {
            let history = lab.near().events.get_by_execution(id).await.unwrap();
            let times: Vec<_> = history.iter().map(|recorded| recorded.created_at).collect();
            assert!(times.is_sorted(), "{times:?}");
            assert!(times.iter().all(|at| (begin..=end).contains(at)), "{begin} {times:?} {end}");
        }
        here.stop().await.unwrap();
        live.terminate().unwrap();
        assert!(live.exit(PATIENCE).await.unwrap().success());
    }
}

async fn database_time(lab: &Lab) -> Timestamp {
    let row = lab.client().await.query_one("SELECT ms_now()", &[]).await.unwrap();
    row.get::<_, SystemTime>(0).into()
}

//! Postgres dies, or its sessions do, while two workers and a crowd of callers are at it (X3, faults F14, F39).

use std::time::Duration;

use mainspring::{Engine, ExecutionId, WorkerHandle};
use mainspring_testing::{Cluster, ClusterOptions};
use mainspring_tests::{LEASE, Lab, until, worker};
use serde_json::json;
use tokio::{
    task::{JoinHandle, JoinSet, block_in_place},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// Creates `order` with a key until it is acknowledged.
async fn insist(engine: &Engine, key: usize) -> ExecutionId {
    loop {
        let create = engine.create("order", json!({})).idempotency_key(format!("order {key}"));
        match create.await {
            Ok(created) => return created.execution.id,
            // The only answers there may be: nothing happened, or nobody knows, and the key makes it safe to ask again.
            Err(error) if error.is_retryable() || error.is_commit_unknown() => {
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Ten callers, each of which insists on ten executions and on more until `calm`, one after the other has ended.
pub(crate) fn crowd(engine: &Engine, calm: &CancellationToken) -> JoinHandle<Vec<ExecutionId>> {
    let mut running = JoinSet::new();
    for caller in 0..10 {
        let (engine, calm) = (engine.clone(), calm.clone());
        running.spawn(async move {
            let mut ids: Vec<ExecutionId> = Vec::new();
            while ids.len() < 10 || !calm.is_cancelled() {
                let id = insist(&engine, caller * 1_000 + ids.len()).await;
                ids.push(id.clone());
                let over = async || matches!(engine.get(&id).await, Ok(Some(e)) if e.status.is_terminal());
                while !over().await && !calm.is_cancelled() {
                    sleep(Duration::from_millis(20)).await;
                }
            }
            ids
        });
    }
    tokio::spawn(async move { running.join_all().await.concat() })
}

/// Everything the crowd was promised came true.
pub(crate) async fn all_done(lab: &Lab, crowd: JoinHandle<Vec<ExecutionId>>, workers: [WorkerHandle; 2]) {
    let ids = crowd.await.unwrap();
    let report = lab.all_completed(&ids).await;
    assert!(
        ids.len() >= 100 && report.executions == 2 * ids.len() as u64,
        "one order and its parcel each: {report}"
    );
    for worker in workers {
        worker.stop().await.unwrap();
    }
}

/// Kills Postgres under load each time so many effects were done, and restarts it after so long.
async fn kill(moments: &[(usize, Duration)]) {
    // What was acknowledged is with the kernel, as a throwaway cluster does not do by itself.
    let options = ClusterOptions::throwaway().setting("synchronous_commit", "on");
    let mut cluster = block_in_place(|| Cluster::start(options)).unwrap();
    let lab = Lab::on(&cluster).await;
    let engines = [lab.engine(), lab.engine()];
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    let (calm, caller) = (CancellationToken::new(), lab.engine());
    let crowd = crowd(&caller, &calm);

    for (effects, outage) in moments {
        until("the load is there", async || lab.ledger.len() >= *effects).await;
        block_in_place(|| cluster.kill9()).unwrap();
        sleep(*outage).await;
        block_in_place(|| cluster.restart()).unwrap();
    }
    calm.cancel();
    all_done(&lab, crowd, workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_postgres_loses_nothing_that_was_acknowledged() {
    // fault F14, X3
    kill(&[(50, Duration::ZERO), (300, Duration::ZERO)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_a_lease_fails_no_execution() {
    // faults F14, F16, X3: no attempt is used up because the database is away
    kill(&[(100, LEASE * 3 / 2), (400, LEASE * 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_all_the_time_sessions_cost_nothing_but_time() {
    // faults F39, F15
    const KILL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let lab = Lab::new().await;
    let admin = lab.client().await;
    let engines = [lab.engine(), lab.engine()];
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    let (calm, caller) = (CancellationToken::new(), lab.engine());
    let crowd = crowd(&caller, &calm);
    until("the load is there", async || lab.ledger.len() >= 20).await;

    let (mut every, mut terminated) = (interval(Duration::from_millis(200)), 0);
    for _ in 0..15 {
        every.tick().await;
        terminated += admin.query_one(KILL, &[]).await.unwrap().get::<_, i64>(0);
    }
    assert!(terminated >= 15, "only {terminated} sessions were there to be terminated");
    calm.cancel();
    all_done(&lab, crowd, workers).await;
}

//! The server has no room left: for connections, for locks, for rows, for its log (faults F20 to F23).

use std::{sync::Arc, time::SystemTime};

use futures_util::future::join_all;
use mainspring::{Error, ErrorKind, NewMessage, QueueDriver, Worker, WorkerEvent};
use mainspring_testing::{Action, Cluster, ClusterOptions, Faults};
use mainspring_tests::{LEASE, Lab, order, until, worker};
use serde_json::json;
use tokio::{sync::Notify, task::block_in_place};
use tokio_util::sync::CancellationToken;

use crate::postgres::{all_done, crowd};

/// A server of our own, whose commits are with the kernel when they are acknowledged.
fn server(settings: &[(&str, &str)]) -> Cluster {
    let options = ClusterOptions::throwaway().setting("synchronous_commit", "on");
    let options = settings.iter().fold(options, |options, (name, value)| options.setting(name, value));
    block_in_place(|| Cluster::start(options)).unwrap()
}

/// Nothing was changed, it may work later, and the server's own code says why.
fn check_pressure(error: &Error, code: &str) {
    assert!(error.kind() == ErrorKind::Busy && error.to_string().contains(code), "{error:?}");
}

/// Waits for the first failure of this worker in which the server says `code`.
fn fails(worker: Worker, code: &'static str) -> (Worker, Arc<Notify>) {
    let failed = Arc::new(Notify::new());
    let tell = failed.clone();
    let worker = worker.on_event(move |event| match event {
        WorkerEvent::Failing { error, .. } if error.chain().contains(code) => tell.notify_one(),
        _ => {}
    });
    (worker, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_has_no_connection_left_those_that_are_open_are_used() {
    // fault F22
    const LISTENING: &str =
        "SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'";
    let cluster = server(&[("max_connections", "16")]);
    let lab = Lab::on(&cluster).await;
    let engine = lab.engine();
    let running = worker(&engine).start().unwrap();
    let mut ids = lab.create(&engine, 2).await;
    lab.over(&ids).await;
    let few = lab.stores(4).queue;
    few.stats("q").await.unwrap(); // opens one

    let mut taken = vec![lab.client().await];
    let listener: i32 = taken[0].query_one(LISTENING, &[]).await.unwrap().get(0);
    let refused = loop {
        match lab.settings().connect().await {
            Ok(session) => taken.push(session),
            Err(error) => break error,
        }
    };
    check_pressure(&refused, "53300");
    let newcomer = lab.stores(4).queue;
    check_pressure(&newcomer.push(vec![NewMessage::new("q", "t", json!(1))]).await.unwrap_err(), "53300");
    for read in join_all((0..20).map(|_| few.stats("q"))).await {
        read.unwrap(); // one after the other
    }
    ids.extend(lab.create(&engine, 5).await);
    lab.over(&ids).await;
    let still: i32 = taken[0].query_one(LISTENING, &[]).await.unwrap().get(0);
    assert!(listener != 0 && still == listener, "the listener keeps its place: {listener}, {still}");

    drop(taken);
    until("there is room again", async || newcomer.stats("q").await.is_ok()).await;
    lab.all_completed(&ids).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_has_no_room_for_locks_work_waits_and_nothing_is_used_up() {
    // fault F23
    const FILL: &str = "SELECT pg_advisory_lock(n) FROM generate_series($1::bigint, $1 + 1000000) n";
    let cluster = server(&[("max_locks_per_transaction", "10"), ("max_connections", "20")]);
    let lab = Lab::on(&cluster).await;
    let (engine, greedy) = (lab.engine(), lab.client().await);
    let mut ids = lab.create(&engine, 10).await;
    let (worker, failed) = fails(worker(&engine), "53200");
    let running = worker.start().unwrap();
    let mut first = 0_i64;
    let refused = loop {
        assert!(greedy.execute(FILL, &[&first]).await.is_err(), "a million locks fit");
        first += 1_000_000; // what others give back in between is taken, too
        match engine.create("order", json!({})).await {
            Ok(created) => ids.push(created.execution.id),
            Err(error) => break error,
        }
    };
    check_pressure(&refused, "53200");
    failed.notified().await;
    greedy.execute("SELECT pg_advisory_unlock_all()", &[]).await.unwrap();
    ids.extend(lab.create(&engine, 1).await);
    lab.all_completed(&ids).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_table_has_no_room_to_grow_work_waits_and_nothing_is_used_up() {
    // fault F20
    let mut cluster = server(&[]);
    let lab = Lab::on(&cluster).await;
    let engine = lab.engine();
    let mut ids = lab.create(&engine, 5).await;
    // A page for each message: the table is soon at the limit, which has to be over a file of the log.
    lab.client().await.batch_execute("ALTER TABLE ms_messages SET (fillfactor = 10)").await.unwrap();
    cluster.limit_files(Some((17 << 20) + 4096));
    block_in_place(|| cluster.restart()).unwrap();
    // One is in the middle of a step all the time.
    let (faults, go_on) = (Faults::none(), Arc::new(Notify::new()));
    faults.arm("reserve.before", 1, Action::Pause(Arc::clone(&go_on)));
    let holder = order::builder(lab.stores(4), &lab.ledger, &faults).build().unwrap();
    let holding = worker(&holder).concurrency(1).start().unwrap();
    faults.wait_fired("reserve.before", 1).await;
    let queue = &lab.near().queue;
    let ballast = || (0..500).map(|n| NewMessage::new("ballast", "t", json!(n))).collect();
    let mut pushed = 0;
    let refused = loop {
        match queue.push(ballast()).await {
            Ok(()) => pushed += 500,
            Err(error) if error.kind() == ErrorKind::Unavailable => {} // connections from before the restart
            Err(error) => break error,
        }
        assert!(pushed < 100_000, "the table grows");
    };
    check_pressure(&refused, "53100");
    until("not one page is left", async || {
        queue.push(vec![NewMessage::new("ballast", "t", json!(1))]).await.is_err()
    })
    .await;
    check_pressure(&engine.create("order", json!({})).await.unwrap_err(), "53100");
    let admin = lab.client().await;
    const HOLDER: &str = "SELECT holder FROM ms_messages WHERE holder IS NOT NULL";
    let busy: String = admin.query_one(HOLDER, &[]).await.unwrap().get(0);
    let lease = async || {
        const LEASE_OF: &str = "SELECT expires_at FROM ms_workers WHERE id = $1";
        admin.query_one(LEASE_OF, &[&busy]).await.unwrap().get::<_, SystemTime>(0)
    };
    let full = lease().await;
    let (worker, failed) = fails(worker(&engine), "53100");
    let running = worker.start().unwrap();
    failed.notified().await;
    until("who works keeps its lease", async || lease().await > full + 2 * LEASE).await;
    go_on.notify_one();

    admin.batch_execute("DELETE FROM ms_messages WHERE queue = 'ballast'").await.unwrap();
    let room = async || {
        admin.batch_execute("VACUUM ms_messages").await.unwrap();
        Some(engine.create("order", json!({})).await.ok()?.execution.id)
    };
    ids.push(mainspring_tests::eventually("there is room again", room).await);
    let report = lab.all_completed(&ids).await;
    assert_eq!(report.recovered, 0, "nobody was taken for dead: {report}");
    running.stop().await.unwrap();
    holding.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_log_has_no_room_the_server_ends_and_nothing_acknowledged_is_lost() {
    // fault F21, T22
    const WRITES: &str = "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 40000)";
    let options = ClusterOptions::throwaway().setting("synchronous_commit", "on");
    let mut cluster = block_in_place(|| Cluster::start(options.setting("wal_level", "replica"))).unwrap();
    let lab = Lab::on(&cluster).await;
    let engines = [lab.engine(), lab.engine()];
    cluster.limit_files(Some(12 << 20));
    block_in_place(|| cluster.restart()).unwrap();
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    let (calm, caller) = (CancellationToken::new(), lab.engine());
    let crowd = crowd(&caller, &calm);
    until("the load is there", async || lab.ledger.len() >= 50).await;
    let ended = lab.client().await.batch_execute(WRITES).await;
    assert!(ended.is_err(), "the log has room for it");
    let log = cluster.log_path();
    let over = async || std::fs::read_to_string(&log).unwrap().contains("PANIC");
    until("the server gives up", over).await;
    cluster.limit_files(None);
    block_in_place(|| cluster.restart()).unwrap();
    calm.cancel();
    all_done(&lab, crowd, workers).await;
}

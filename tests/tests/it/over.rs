//! A database that is full of what is over (fault F29).

use mainspring_pg::Session;
use mainspring_tests::{Lab, until, worker};

/// As many as this of each, on top of one of an execution that ended.
const ROWS: i64 = 40_000;

/// Copies of what one execution left behind, without statistics, as after a busy hour without vacuum.
const FILL: [&str; 3] = [
    "INSERT INTO ms_executions SELECT (jsonb_populate_record(e, jsonb_build_object('id', 'over' || n,
       'root_execution_id', 'over' || n))).* FROM ms_executions e, generate_series(1, $1::bigint) n WHERE e.flow_id = 'order'",
    "INSERT INTO ms_jobs SELECT (jsonb_populate_record(j, jsonb_build_object('id', 'over' || n,
       'execution_id', 'over' || n))).* FROM ms_jobs j, generate_series(1, $1::bigint) n",
    "INSERT INTO ms_dead_letters (queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, data,
       reason, dead_at) SELECT 'default', 0, -n, 1, 0, 0, 1, now(), 'over' || n, '', 't', '{}', '{}', now()
     FROM generate_series(1, $1::bigint) n",
];

/// Rows and entries of indexes that all sessions that have ended since then read, by table.
async fn read(client: &Session) -> Vec<(String, i64)> {
    const READ: &str = "SELECT t.relname::text, (t.seq_tup_read + coalesce(t.idx_tup_fetch, 0)
        + coalesce((SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid), 0))::bigint
        FROM pg_stat_user_tables t ORDER BY 1";
    client.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
    client.query(READ, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_costs_those_nothing_that_work() {
    // fault F29: whatever the plans say, no statement of a worker reads through what is over
    const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let lab = Lab::new().await;
    let work = async |count: usize| {
        let lab = Lab::at(lab.db().url(), lab.settings().clone()); // with sessions of its own, which end with it
        let engine = lab.engine();
        let running = worker(&engine).start().unwrap();
        let ids = lab.create(&engine, count).await;
        lab.over(&ids).await;
        running.stop().await.unwrap();
    };
    work(1).await;
    let client = lab.client().await;
    for sql in FILL {
        assert_eq!(client.execute(sql, &[&ROWS]).await.unwrap(), u64::try_from(ROWS).unwrap(), "{sql}");
    }
    drop(client); // and tells what it read
    let client = lab.client().await;
    let alone = async || client.query_one(OTHERS, &[]).await.unwrap().get::<_, i64>(0) == 0;
    until("the sessions have ended", alone).await;
    let before = read(&client).await;
    work(10).await;
    until("the sessions have ended", alone).await;
    for ((table, before), (_, after)) in before.into_iter().zip(read(&client).await) {
        assert!(after - before < ROWS / 2, "{} rows of {table} were read", after - before);
    }
}

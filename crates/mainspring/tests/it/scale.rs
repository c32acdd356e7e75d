//! Tables of 100,000 rows: what runs all the time reads a few of them (X12).

use std::{collections::BTreeMap, time::Duration};

use mainspring::{
    Backend, ChunkQuery, ClaimRequest, EventQuery, ExecutionFilter, ExecutionId, ExecutionStatus, JobStatus,
    MessageId, MessageQuery, OutputStream, PgStores, StreamId, StreamQuery, WorkerId,
};
use mainspring_testing::TestDb;

/// Rows of each table, in one database: waiting and ended executions, each with a history, a job, a token and a value; messages
/// in every state; a long stream and many short ones.
const FILL: &str = "
INSERT INTO {executions} (id, status, revision, position, flow_id, flow_version, current_step, queue, wake_at, deadline_at,
    execution_timeout_ms, wait_timeout_ms, root_execution_id, idempotency_key, idempotency_expires_at, created_at, updated_at,
    finished_at, context, retries, metadata, attributes)
  SELECT 'e' || n, CASE n % 2 WHEN 0 THEN 'completed' ELSE 'waiting' END, 1, 1, 'f' || n % 10, '1.0.0', 's', 'default',
    CASE n % 2 WHEN 1 THEN now() + interval '1 day' END, now() + interval '30 days', 1000, 1000, 'e' || n, 'k' || n,
    now() + interval '1 day', now() - n * interval '1 second', now(), CASE n % 2 WHEN 0 THEN now() END, '{}', '{}', '{}', '{}'
  FROM generate_series(1, 100000) n;
INSERT INTO {events_executions} (partition, tenant, stream, stream_position, created_at, type, data)
  SELECT 'executions', '', 'execution-e' || n, 1, now(), 'execution.created', '{}' FROM generate_series(1, 100000) n;
INSERT INTO {streams} (partition, tenant, stream, stream_position, created_at)
  SELECT 'streams', '', 's' || n, 1, now() FROM generate_series(1, 100000) n;
INSERT INTO {events_streams} (partition, tenant, stream, stream_position, created_at, type, data)
  SELECT 'streams', '', 's' || n, 1, now(), 'added', '{}' FROM generate_series(1, 100000) n;
INSERT INTO {jobs} (id, execution_id, step_id, handler, status, input, stalled_after_ms, max_attempts, created_at, updated_at,
    holder, heartbeat_at, finished_at)
  SELECT 'j' || n, 'e' || n, 's', 'h', CASE n % 2 WHEN 0 THEN 'completed' ELSE 'running' END, '{}', 86400000, 3, now(), now(),
    CASE n % 2 WHEN 1 THEN 'w' END, CASE n % 2 WHEN 1 THEN now() END, CASE n % 2 WHEN 0 THEN now() END
  FROM generate_series(1, 100000) n;
INSERT INTO {resume_tokens} (hash, id, execution_id, step_id, status, metadata, created_at, expires_at)
  SELECT sha256(n::text::bytea), 't' || n, 'e' || n, 's', 'pending', '{}', now(), now() + interval '1 day'
  FROM generate_series(1, 100000) n;
INSERT INTO {context_values} (execution_id, key, data, size_bytes, created_at)
  SELECT 'e' || n, 'k', '1', 1, now() FROM generate_series(1, 100000) n;
INSERT INTO {messages} (queue, priority, max_attempts, created_at, id, tenant, type, data)
  SELECT 'default', 0, 5, now(), 'm' || n, '', 't', '{}' FROM generate_series(1, 100000) n;
INSERT INTO {deferred} (available_at, queue, priority, max_attempts, created_at, id, tenant, type, data)
  SELECT now() + interval '1 day', 'default', 0, 5, now(), 'd' || n, '', 't', '{}' FROM generate_series(1, 100000) n;
INSERT INTO {finished} (state, finished_at, queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant,
    type, data, keep_until, managed)
  SELECT 'done', now(), 'kept', 0, -n, 0, 0, 0, 5, now(), 'f' || n, '', 't', '{}', now() + interval '1 day', true
  FROM generate_series(1, 100000) n;
INSERT INTO {dead_letters} (reason, dead_at, queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant,
    type, data)
  SELECT '{\"code\": \"C\", \"message\": \"m\"}', now() - n * interval '1 second', 'default', 0, -n, 5, 0, 0, 5, now(), 'x' || n, '', 't', '{}' FROM generate_series(1, 100000) n;
INSERT INTO {output_streams} (owner, name, chunks, created_at)
  SELECT 'e' || n, 'out', 1, now() FROM generate_series(1, 100000) n;
INSERT INTO {output_chunks} (stream, index, data) SELECT id, 0, '' FROM {output_streams};
ANALYZE;
";

/// Rows read one after the other, by table; sessions report when they end.
async fn read_in_order(db: &TestDb) -> BTreeMap<String, i64> {
    let session = db.client().await;
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while session.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let sql = "SELECT relname::text, coalesce(seq_tup_read, 0)::bigint FROM pg_stat_user_tables";
    session.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn stores(db: &TestDb) -> PgStores<'static> {
    let names = db.names();
    let options = mainspring::PgStoreOptions {
        table_prefix: names.prefix().to_owned(),
        schema: names.schema().to_owned(),
        ..Default::default()
    };
    let settings = db.settings().clone();
    mainspring::create_pg_stores(mainspring::pool(&settings, 2).unwrap(), options).unwrap()
}

/// Everything that runs all the time, or that a person asks for page by page. A worker that ends is not: what it holds is looked
/// for in the whole table, since an index of holders would cost every claim.
async fn look_at_everything(stores: &PgStores<'static>) {
    let worker = WorkerId::generate();
    let (id, soon) = (ExecutionId::new("e777").unwrap(), Duration::from_secs(30));
    let queue = stores.queue();
    queue.register(&worker, soon).await.unwrap();
    let claimed = queue.claim(ClaimRequest::new("default", worker.clone(), soon, 100)).await.unwrap();
    assert_eq!(claimed.deliveries.len(), 100);
    queue.extend(&worker, soon).await.unwrap();
    queue.maintain().await.unwrap();
    assert_eq!(queue.dead_letters("default", 10).await.unwrap().len(), 10);
    let one = MessageQuery { ids: vec![MessageId::new("f777").unwrap()], ..MessageQuery::default() };
    assert_eq!(stores.queues().find_messages("kept", one).await.unwrap().len(), 1);

    let executions = stores.executions();
    assert!(executions.get(&id).await.unwrap().is_some());
    assert!(executions.find_by_idempotency_key("", "f7", "k777").await.unwrap().is_some());
    for filter in [
        ExecutionFilter { limit: 10, ..ExecutionFilter::default() },
        ExecutionFilter { status: Some(ExecutionStatus::Waiting), limit: 10, ..ExecutionFilter::default() },
        ExecutionFilter { flow_id: Some("f7".into()), limit: 10, ..ExecutionFilter::default() },
    ] {
        assert_eq!(executions.list(filter).await.unwrap().len(), 10);
    }
    assert!(executions.find_waiting(10).await.unwrap().is_empty()); // none is due
    assert!(executions.find_children(&id).await.unwrap().is_empty());
    assert!(executions.find_timed_out_executions(10).await.unwrap().is_empty());
    assert!(executions.find_timed_out_waits(10).await.unwrap().is_empty());
    executions.find_orphans(10).await.unwrap();

    let old = stores.now() - Duration::from_secs(3_600);
    assert_eq!(stores.jobs().get_by_execution(&id).await.unwrap().len(), 1);
    assert_eq!(stores.jobs().list_by_status(JobStatus::Running, 10).await.unwrap().len(), 10);
    assert!(stores.jobs().find_stalled(10).await.unwrap().is_empty());
    assert_eq!(stores.jobs().delete_old(old).await.unwrap(), 0);
    assert_eq!(stores.tokens().get_by_execution(&id).await.unwrap().len(), 1);
    assert_eq!(stores.tokens().cleanup_expired().await.unwrap(), 0);
    assert_eq!(stores.context().keys(&id).await.unwrap(), ["k"]);

    let stream = StreamId::new("s777");
    assert_eq!(stores.events().read_page(StreamQuery::of(stream)).await.unwrap().events.len(), 1);
    let history = EventQuery { execution_id: Some(id.clone()), ..EventQuery::default() };
    assert_eq!(stores.events().query(history).await.unwrap().len(), 1);
    let first = EventQuery { limit: Some(10), ..EventQuery::default() };
    assert_eq!(stores.events().query(first).await.unwrap().len(), 10);
    let chunks = stores.outputs().get_chunks(ChunkQuery::of(OutputStream::of(&id, "out"))).await.unwrap();
    assert_eq!(chunks.chunks.len(), 1);

    // What an operator asks of one execution, or of the newest ones.
    for sql in [
        "SELECT * FROM {v_steps} WHERE execution_id = 'e777'",
        "SELECT * FROM {v_waits} WHERE execution_id = 'e777'",
        "SELECT * FROM {v_executions} WHERE execution_id = 'e777'",
        "SELECT * FROM {v_executions} WHERE status = 'failed' AND created_at > {now}() - interval '24 hours'",
        "SELECT * FROM {v_queues}",
    ] {
        stores.db().all(sql, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_hundred_thousand_rows_of_everything_are_not_walked_through() {
    let db = TestDb::new().await;
    db.client().await.batch_execute(&db.names().render(FILL)).await.unwrap();
    let before = read_in_order(&db).await;
    let stores = stores(&db);
    look_at_everything(&stores).await;
    drop(stores);
    for (table, after) in read_in_order(&db).await {
        let read = after - before.get(&table).copied().unwrap_or(0);
        assert!(read < 10_000, "{read} rows of {table} were read one after the other");
    }
}

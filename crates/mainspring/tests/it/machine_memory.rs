//! Connecting to machine memory: A27 to A31.

use std::sync::Arc;

use futures_util::future::join_all;
use mainspring::{
    MachineMemoryConfig, MemoryConnection, Migrate, PgMachineMemory, broker::Metadata,
    connect_machine_memory, release_machine_memory,
};
use mainspring_testing::{Spans, TestDb};
use serde_json::{Map, json};
use tokio::net::TcpListener;

fn config(db: &TestDb) -> MachineMemoryConfig {
    let connection_string = Some(db.url().to_owned());
    let config = MemoryConnection { connection_string, max: 2, ..MemoryConnection::default() };
    MachineMemoryConfig { config, ..MachineMemoryConfig::default() }
}

#[tokio::test]
async fn machine_memory_is_connected_migrated_and_released() {
    // A27, A30, A31
    let db = TestDb::empty().await;
    let refused = connect_machine_memory(&config(&db)).await.err().unwrap();
    assert!(refused.to_string().contains("executions is missing"), "{refused}");
    for (spelling, kept) in [
        ("create_if_not_exists", false),
        ("if_tables_dont_exist", true),
        ("noop", true),
        ("dangerousely_force_migration", false),
    ] {
        let migrate: Migrate = spelling.parse().unwrap();
        let memory = connect_machine_memory(&MachineMemoryConfig { migrate, ..config(&db) }).await.unwrap();
        assert_eq!(memory.read("s").await.unwrap().is_some(), kept, "{spelling}");
        if !kept {
            let about = Metadata { source: "a".into(), ..Metadata::default() };
            memory.write("s", Map::new(), None, &about).await.unwrap();
        }
        memory.validate_table_structure().await.unwrap();
        release_machine_memory(&memory);
        assert!(memory.read("s").await.is_err());
    }
    assert!("create".parse::<Migrate>().is_err());
    let error =
        connect_machine_memory(&MachineMemoryConfig { version: 2, ..config(&db) }).await.err().unwrap();
    assert!(error.to_string().contains("Unsupported PostgreSQL machine memory version: 2"), "{error}");
}

#[tokio::test]
async fn machine_memory_refuses_tables_that_are_not_its_own() {
    // A28, A29
    for (sql, problem) in [
        ("DROP TABLE ms_executions CASCADE", "executions is missing"),
        ("DROP TABLE ms_leases", "leases is missing"),
        ("DROP TABLE ms_receipts", "receipts is missing"),
        ("ALTER TABLE ms_leases ALTER token TYPE integer", "token is integer, not"),
        ("ALTER TABLE ms_leases DROP COLUMN holder", "holder"),
    ] {
        let db = TestDb::new().await;
        db.client().await.batch_execute(sql).await.unwrap();
        let error = connect_machine_memory(&config(&db)).await.err().unwrap();
        assert!(error.to_string().contains(problem), "{sql}: {error}");
    }
}

#[test]
fn options_read_as_the_seed_writes_them() {
    let config: MachineMemoryConfig = serde_json::from_value(json!({
        "version": 1,
        "config": {
            "host": "db", "port": 5433, "user": "me", "password": "sec@ret/", "database": "app", "max": 20,
            "idleTimeoutMillis": 30000, "connectionTimeoutMillis": 5000, "statementTimeoutMillis": 30000,
            "queryTimeoutMillis": 30000, "enableOtel": true,
            "lockConfig": {"maxRetries": 5, "initialDelayMs": 50, "backoffExponent": 2, "ttlMs": 180_000},
            "enableCleanup": true
        },
        "migrate": "create_if_not_exists"
    }))
    .unwrap();
    assert_eq!((config.config.lock_config.max_retries, config.migrate), (5, Migrate::CreateIfMissing));
    assert!(!format!("{config:?}").contains("sec@ret"));
    assert!(serde_json::from_value::<MachineMemoryConfig>(json!({"migrate": "always"})).is_err());
    assert!(serde_json::from_value::<MachineMemoryConfig>(json!({"tables": {"state": "x"}})).is_err());
}

/// Connected with these options of the seed beside the address, under a name of its own.
async fn connected(db: &TestDb, name: &str, options: serde_json::Value) -> Arc<PgMachineMemory> {
    let url = db.url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let mut config = json!({"connectionString": format!("{url}{sign}application_name={name}")});
    config.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let config = serde_json::from_value(json!({"config": config})).unwrap();
    Arc::new(connect_machine_memory(&config).await.unwrap())
}

/// So many reads of this memory, all of them under way at the same time.
fn reads(
    memory: &Arc<PgMachineMemory>,
    count: usize,
) -> Vec<tokio::task::JoinHandle<mainspring::Result<()>>> {
    let read = |_| {
        let memory = Arc::clone(memory);
        tokio::spawn(async move { memory.read("s").await.map(drop) })
    };
    (0..count).map(read).collect()
}

/// How many connections of this name there are, until they are so many.
async fn has_connections(db: &TestDb, name: &str, count: i64, state: &str) {
    const COUNT: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND (state = $2 OR $2 = '')";
    let client = db.client().await;
    while client.query_one(COUNT, &[&name, &state]).await.unwrap().get::<_, i64>(0) != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_has_as_many_connections_as_is_said_and_gives_up_waiting_for_one() {
    // A31: max, connectionTimeoutMillis
    let db = TestDb::new().await;
    let memory = connected(&db, "a31-pool", json!({"max": 3})).await;
    let hasty = connected(&db, "a31-wait", json!({"max": 1, "connectionTimeoutMillis": 100})).await;
    let mut blocker = db.client().await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE ms_executions").await.unwrap();
    let under_way = reads(&memory, 12);
    has_connections(&db, "a31-pool", 3, "active").await;
    let first = reads(&hasty, 1);
    has_connections(&db, "a31-wait", 1, "active").await;
    // Its only connection is in use, and stays so.
    assert!(hasty.read("s").await.unwrap_err().is_retryable());
    has_connections(&db, "a31-pool", 3, "").await;
    lock.rollback().await.unwrap();
    for read in join_all(under_way.into_iter().chain(first)).await {
        read.unwrap().unwrap();
    }
    has_connections(&db, "a31-pool", 3, "").await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_time_that_is_said() {
    // A31: connectionTimeoutMillis against a listener that never answers
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = json!({"config": {"host": "127.0.0.1", "port": port, "connectionTimeoutMillis": 120}});
    let config = serde_json::from_value(config).unwrap();
    let error = connect_machine_memory(&config).await.err().unwrap();
    assert!(error.chain().contains("120ms"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_may_take_as_long_as_the_shorter_of_its_limits_says() {
    // A31: statementTimeoutMillis, queryTimeoutMillis
    let db = TestDb::new().await;
    for (options, shown) in [
        (json!({}), "30s"),
        (json!({"queryTimeoutMillis": 1500}), "1500ms"),
        (json!({"statementTimeoutMillis": 700, "queryTimeoutMillis": 1500}), "700ms"),
        (json!({"statementTimeoutMillis": 0}), "30s"),
        (json!({"statementTimeoutMillis": 0, "queryTimeoutMillis": 0}), "0"),
        (json!({"statementTimeoutMillis": 90_000, "queryTimeoutMillis": 120_000}), "90s"),
    ] {
        let memory = connected(&db, "a31-limit", options).await;
        let row = memory.db().one("SHOW statement_timeout", &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), shown);
    }
    let memory = connected(&db, "a31-query", json!({"queryTimeoutMillis": 100})).await;
    let mut blocker = db.client().await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE ms_executions").await.unwrap();
    assert!(memory.read("s").await.is_err());
    lock.rollback().await.unwrap();
    assert!(memory.read("s").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nobody_uses_are_closed_after_the_time_that_is_said() {
    // A31: idleTimeoutMillis
    let db = TestDb::new().await;
    let options = |idle: u64| json!({"max": 2, "idleTimeoutMillis": idle});
    let (brief, keeps) =
        (connected(&db, "a31-brief", options(50)).await, connected(&db, "a31-keeps", options(0)).await);
    for memory in [&keeps, &brief] {
        for read in join_all(reads(memory, 8)).await {
            read.unwrap().unwrap();
        }
    }
    has_connections(&db, "a31-brief", 0, "").await;
    let kept =
        keeps.db().one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a31-keeps'", &[]);
    assert!(kept.await.unwrap().get::<_, i64>(0) > 0);
    brief.read("s").await.unwrap();
}

#[tokio::test]
async fn calls_are_spans_where_that_is_asked_for() {
    // A31: enableOtel
    let db = TestDb::new().await;
    let spans = Spans::default();
    let _seen = tracing::subscriber::set_default(spans.clone());
    let calls = async |memory: &PgMachineMemory| {
        let about = Metadata { source: "a".into(), ..Metadata::default() };
        memory.read("s").await.unwrap();
        memory.write("s", Map::new(), None, &about).await.unwrap();
        assert!(memory.write("s", Map::new(), Some(7), &about).await.is_err());
        let lock = memory.lock("s").await.unwrap().unwrap();
        memory.unlock(&lock).await.unwrap();
        memory.descendants_of_root("s").await.unwrap();
        memory.root_of("s").await.unwrap();
        memory.cleanup("s").await.unwrap();
    };
    let named = |call: &str| spans.named(&format!("PostgresMachineMemory.v1.{call}"));
    let all = ["read", "write", "lock", "unlock", "getSubjectsByRoot", "getRootSubject", "cleanup"];
    for (enabled, count) in [(false, 0), (true, 1)] {
        let options = json!({"enableOtel": enabled, "enableCleanup": true});
        calls(&*connected(&db, "a31-otel", options).await).await;
        for call in all {
            assert_eq!(named(call).len(), if call == "write" { 2 * count } else { count }, "{call}");
        }
    }
    let field = |call: &str, n: usize, name: &str| named(call)[n].field(name).map(ToOwned::to_owned);
    assert_eq!(field("read", 0, "available").as_deref(), Some("0"));
    assert_eq!(
        (field("write", 0, "version").as_deref(), field("write", 0, "otel.status_code")),
        (Some("1"), None)
    );
    assert_eq!(field("write", 1, "otel.status_code").as_deref(), Some("error"));
    assert!(field("write", 1, "otel.status_description").unwrap().contains("version mismatch"));
    assert_eq!(
        (field("lock", 0, "acquired"), field("lock", 0, "attempts")),
        (Some("1".into()), Some("1".into()))
    );
    assert_eq!(
        (field("cleanup", 0, "skipped"), field("getRootSubject", 0, "isRoot")),
        (Some("0".into()), Some("1".into()))
    );
}

#[tokio::test]
async fn a_cleanup_that_fails_half_way_removes_nothing() {
    // A24: an error between the state and the lock
    let db = TestDb::new().await;
    let memory = connected(&db, "a24", json!({"enableCleanup": true})).await;
    let about = Metadata { source: "a".into(), ..Metadata::default() };
    let data = json!({"executionStatus": "normal"}).as_object().cloned().unwrap();
    memory.write("s", data.clone(), None, &about).await.unwrap();
    let lock = memory.lock("s").await.unwrap();
    let client = db.client().await;
    const REFUSE: &str = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
        CREATE TRIGGER refuse BEFORE DELETE ON ms_leases FOR EACH ROW EXECUTE FUNCTION refuse()";
    client.batch_execute(REFUSE).await.unwrap();
    assert!(memory.cleanup("s").await.is_err());
    let kept = memory.read("s").await.unwrap().unwrap();
    assert_eq!((kept.data, kept.revision), (data.clone(), 1));
    assert_eq!(memory.locked("s").await.unwrap(), lock);
    // It goes on as if nobody had asked.
    assert_eq!(memory.write("s", data, Some(1), &about).await.unwrap(), 2);
    client.batch_execute("DROP TRIGGER refuse ON ms_leases").await.unwrap();
    assert!(memory.cleanup("s").await.unwrap());
    assert_eq!((memory.read("s").await.unwrap(), memory.locked("s").await.unwrap()), (None, None));
}

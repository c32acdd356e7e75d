//! Connecting to machine memory: A27 to A31.

use mainspring::{
    MachineMemoryConfig, MemoryConnection, Migrate, broker::Metadata, connect_machine_memory,
    release_machine_memory,
};
use mainspring_testing::TestDb;
use serde_json::{Map, json};

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
            "connectionTimeoutMillis": 5000, "statementTimeoutMillis": 30000,
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

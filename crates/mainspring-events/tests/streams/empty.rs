//! E19: partitions dropped, the whole log emptied; and partitions and tenants made for all. On Postgres and, where it is a
//! matter of the trait, in memory.

use mainspring_core::{
    Append, EventStore, Execution, ExecutionId, ExecutionWrite, NewEvent, StreamId,
    event::{EXECUTIONS, STREAMS},
};
use mainspring_events::{EventStoreExt, GlobalReader, PgEventStore, Positions, history_query};
use mainspring_testing::{MemoryBackend, TestDb};
use serde_json::json;

use crate::event;

async fn append(store: &impl EventStore, stream: impl Into<StreamId>, events: usize) {
    store.append(Append::to(stream, vec![event("e"); events])).await.unwrap();
}

async fn a_dropped_partition_is_gone(store: &impl EventStore) {
    let of = |tenant: &str| StreamId::new("s").in_partition("billing").of_tenant(tenant);
    store.create_partition("billing").await.unwrap();
    store.create_tenant("billing", "acme").await.unwrap();
    for (stream, events) in [(of("acme"), 3), (of(""), 2), (StreamId::new("s"), 1)] {
        append(store, stream, events).await;
    }
    store.archive(&of("")).await.unwrap();
    assert_eq!(store.drop_partition("billing").await.unwrap(), 5);
    assert!(store.drop_partition("billing").await.unwrap_err().is_not_found());
    assert!(store.append(Append::to(of("acme"), vec![event("e")])).await.unwrap_err().is_not_found());
    assert!(store.partitions().await.unwrap().is_empty());
    assert_eq!(store.query(mainspring_core::EventQuery::default()).await.unwrap().len(), 1);

    // Made again it is empty, and nothing of it is archived.
    assert!(store.create_partition("billing").await.unwrap());
    append(store, of(""), 1).await;
    assert_eq!(store.position("billing", "", "s").await.unwrap(), 1);
    for always in [STREAMS, EXECUTIONS] {
        assert!(store.drop_partition(always).await.unwrap_err().is_invalid());
    }
}

async fn partitions_and_tenants_are_made_for_all(store: &impl EventStore) {
    for partition in ["billing", "stock"] {
        store.create_partition(partition).await.unwrap();
    }
    store.create_tenant("stock", "acme").await.unwrap();
    assert_eq!(store.create_tenant_in_all("acme").await.unwrap(), ["billing"]);
    assert_eq!(store.create_tenant_in_all("other").await.unwrap(), ["billing", "stock"]);
    assert_eq!(store.create_partition_for_all("mail").await.unwrap(), ["acme", "other"]);
    assert!(store.create_partition_for_all("mail").await.unwrap().is_empty());
    assert_eq!(store.partitions().await.unwrap()["mail"], ["acme", "other"]);
}

#[tokio::test]
async fn partitions_come_and_go_on_both_stores() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    a_dropped_partition_is_gone(&log).await;
    a_dropped_partition_is_gone(&MemoryBackend::new()).await;
    log.drop_partition("billing").await.unwrap();
    partitions_and_tenants_are_made_for_all(&log).await;
    partitions_and_tenants_are_made_for_all(&MemoryBackend::new()).await;
}

#[tokio::test]
async fn an_emptied_log_has_nothing_but_histories() {
    let db = TestDb::new().await;
    let log = PgEventStore::new(&db.db());
    let reader = GlobalReader::new(&db.db()).unwrap();
    log.create_partition("billing").await.unwrap();
    let fill = async || {
        append(&log, "a", 2).await;
        append(&log, "b", 1).await;
        append(&log, StreamId::new("a").in_partition("billing"), 1).await;
        log.archive(&"b".into()).await.unwrap();
    };
    fill().await;
    log.empty(Positions::GoOn).await.unwrap();
    assert!(!log.restore(&"b".into()).await.unwrap());
    assert!(log.query(mainspring_core::EventQuery::default()).await.unwrap().is_empty());
    fill().await;
    assert_eq!((log.head(&"a".into()).await.unwrap().position, reader.last().await.unwrap()), (2, 8));

    log.empty(Positions::Restart).await.unwrap();
    append(&log, "a", 1).await;
    assert_eq!((log.head(&"a".into()).await.unwrap().position, reader.last().await.unwrap()), (1, 1));

    // With the history of an execution positions go on.
    let execution = Execution::new(ExecutionId::new("e").unwrap(), "f", "1.0.0", "s");
    let write = ExecutionWrite::create(execution, vec![NewEvent::new("execution.created", json!({}))]);
    db.db().run(history_query(&[&write]).unwrap()).await.unwrap();
    assert!(log.empty(Positions::Restart).await.unwrap_err().is_conflict());
    assert_eq!(log.position(STREAMS, "", "a").await.unwrap(), 1, "nothing was deleted");
    log.empty(Positions::GoOn).await.unwrap();
    assert_eq!(log.position(EXECUTIONS, "", "execution-e").await.unwrap(), 1);

    // A failed transaction of the caller's empties nothing.
    append(&log, "a", 1).await;
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    log.on(&tx).empty(Positions::GoOn).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(log.position(STREAMS, "", "a").await.unwrap(), 1);
}

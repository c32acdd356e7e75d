//! The caller's own transaction: what is written through it is durable with it, or not at all.

use mainspring::{
    Backend, Changes, Execution, ExecutionId, ExecutionStore, ExecutionWrite, Job, JobWrite, NewEvent,
    NewMessage, QueueDriver,
};
use mainspring_events::GlobalReader;
use mainspring_testing::TestDb;
use serde_json::json;

fn execution(name: &str) -> Execution {
    Execution::new(ExecutionId::new(name).unwrap(), "f", "1.0.0", "s")
}

fn wake() -> NewMessage {
    NewMessage::new("q", "wake", json!({}))
}

#[tokio::test]
async fn stores_on_a_transaction_commit_and_roll_back_with_it() {
    let (stores, db) = crate::fresh().await;
    let mut client = db.client().await;
    client.batch_execute("CREATE TABLE orders (id text PRIMARY KEY)").await.unwrap();

    for (name, commits) in [("kept", true), ("dropped", false)] {
        let tx = client.transaction().await.unwrap();
        let here = stores.on(&tx);
        here.executions.create(execution(name)).await.unwrap();
        here.queue.push(vec![wake()]).await.unwrap();
        let changes = Changes {
            executions: vec![ExecutionWrite::create(execution(&format!("{name}-2")), vec![])],
            messages: vec![wake()],
            ..Changes::default()
        };
        here.commit(changes).await.unwrap();
        tx.execute("INSERT INTO orders VALUES ($1)", &[&name]).await.unwrap();
        assert!(
            stores.executions.get(&ExecutionId::new(name).unwrap()).await.unwrap().is_none(),
            "not visible outside"
        );
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        let found = stores.executions.get(&ExecutionId::new(format!("{name}-2")).unwrap()).await.unwrap();
        assert_eq!(found.is_some(), commits, "{name}");
    }
    assert_eq!(stores.queue.stats("q").await.unwrap().ready, 2);
}

#[tokio::test]
async fn a_refused_commit_leaves_the_callers_transaction_usable() {
    let (stores, db) = crate::fresh().await;
    stores.executions.create(execution("taken")).await.unwrap();
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    let here = stores.on(&tx);
    let changes = Changes {
        executions: vec![
            ExecutionWrite::create(execution("new"), vec![]),
            ExecutionWrite::create(execution("taken"), vec![]),
        ],
        ..Changes::default()
    };
    assert!(here.commit(changes).await.unwrap_err().is_conflict());
    // A statement that fails aborts the transaction; it has to come back from that too.
    let orphan = Job::new(ExecutionId::new("nobody").unwrap(), "s", "h", json!(1));
    let orphan = Changes { jobs: vec![JobWrite::Create(Box::new(orphan))], ..Changes::default() };
    here.commit(orphan).await.unwrap_err();
    let twice =
        vec![ExecutionWrite::create(execution("x"), vec![]), ExecutionWrite::create(execution("x"), vec![])];
    let twice = Changes { executions: twice, ..Changes::default() };
    assert!(here.commit(twice).await.unwrap_err().is_invalid());
    here.executions.create(execution("other")).await.unwrap();
    tx.commit().await.unwrap();
    assert!(stores.executions.get(&ExecutionId::new("new").unwrap()).await.unwrap().is_none());
    assert!(stores.executions.get(&ExecutionId::new("other").unwrap()).await.unwrap().is_some());
}

#[tokio::test]
async fn readers_of_the_log_wait_for_the_history_of_a_commit_that_is_open() {
    // E12, E13: events with something beside their data go another way than the others.
    for beside in [None, Some("request-1".to_owned())] {
        let (stores, db) = crate::fresh().await;
        let reader = GlobalReader::new(stores.db()).unwrap();
        let create = |name: &str| {
            let event = NewEvent { correlation_id: beside.clone(), ..NewEvent::new("made", json!({})) };
            let write = ExecutionWrite::create(execution(name), vec![event]);
            Changes { executions: vec![write], ..Changes::default() }
        };
        let seen = async || {
            let page = reader.read(0, reader.settled().await.unwrap(), 10).await.unwrap();
            page.events.into_iter().map(|event| event.stream).collect::<Vec<String>>()
        };
        let mut client = db.client().await;
        let open = client.transaction().await.unwrap();
        stores.on(&open).commit(create("first")).await.unwrap();
        stores.commit(create("second")).await.unwrap();
        assert_eq!(seen().await, Vec::<String>::new());
        open.commit().await.unwrap();
        assert_eq!(seen().await, ["execution-first", "execution-second"]);
    }
}

#[tokio::test]
async fn two_prefixes_and_two_schemas_in_one_database_do_not_see_each_other() {
    // fault F80
    use mainspring::{Migrator, Names, PgStoreOptions, Prefix, Schema, create_pg_stores};
    let db = TestDb::empty().await;
    let mut all = Vec::new();
    for (schema, prefix) in [("public", "a_"), ("public", "a_b_"), ("other", "a_"), ("other", "")] {
        let names = Names::new(Schema::new(schema).unwrap(), Prefix::new(prefix).unwrap());
        Migrator::new(db.settings().clone(), names).up().await.unwrap();
        let options = PgStoreOptions {
            table_prefix: prefix.into(),
            schema: schema.into(),
            ..PgStoreOptions::default()
        };
        all.push(create_pg_stores(db.pool(), options).unwrap());
    }
    for stores in &all {
        stores.executions.create(execution("same-id")).await.unwrap();
        stores.queue.push(vec![wake()]).await.unwrap();
        assert_eq!(stores.queue.stats("q").await.unwrap().ready, 1);
    }
}

#[test]
fn names_that_are_not_names_are_refused() {
    // Bad input list, identifiers.
    use mainspring::{PgStoreOptions, PgStores};
    for prefix in ["a\"; DROP TABLE x;--", "A", "a b", "a.b", "1a", "é", "pg_x", &"x".repeat(25)] {
        let options = PgStoreOptions { table_prefix: prefix.to_owned(), ..PgStoreOptions::default() };
        let error = PgStores::connect("postgres://localhost/x", options).err().unwrap();
        assert!(error.is_invalid(), "{prefix}: {error}");
    }
}

//! `mainspring migrate`.

use mainspring::{Backend, NewMessage, PgStoreOptions, PgStores, QueueDriver};
use serde_json::json;

use crate::ground::Ground;

#[tokio::test]
async fn tables_are_planned_made_checked_and_told_of() {
    let ground = Ground::new().await;
    let migrate = |verb| ground.json(&["migrate", verb, "--prefix", "m_"]);
    migrate("verify").refused(3);
    let planned = migrate("plan").items();
    assert_eq!(planned[0]["migration"], "V1__clock");
    assert_eq!(ground.json(&["migrate", "up", "--prefix", "m_", "--dry-run"]).items(), planned);
    assert_eq!(migrate("status").items()[0]["state"], "pending");
    let made = migrate("up").items();
    assert_eq!(made.len(), planned.len());
    assert_eq!(
        (&made[0]["version"], &made[0]["name"], &made[0]["state"]),
        (&json!(1), &json!("clock"), &json!("applied"))
    );
    assert_eq!(migrate("status").items(), made);
    assert_eq!(migrate("plan").items(), Vec::<serde_json::Value>::new());
    assert_eq!(migrate("verify").json()["verified"], true);
    let table = ground.run(&["migrate", "status", "--prefix", "m_"]).ok().out;
    assert!(table.lines().any(|line| line.contains("clock") && line.contains("applied")), "{table}");
    let client = ground.db.client().await;
    client.batch_execute("DROP TABLE m_context_values").await.unwrap();
    let said = migrate("verify").refused(3);
    assert!(said.contains("m_context_values"), "{said}");
}

#[tokio::test]
async fn the_script_makes_the_same_tables() {
    let ground = Ground::new().await;
    let script = ground.run(&["migrate", "print", "--prefix", "s_"]).ok().out;
    ground.db.client().await.batch_execute(&script).await.unwrap();
    ground.run(&["migrate", "verify", "--prefix", "s_"]).ok();
    ground.run(&["migrate", "print", "--prefix", "No Prefix"]).refused(2);
}

#[tokio::test]
async fn a_role_with_the_grants_works_and_makes_no_tables() {
    let ground = Ground::new().await;
    let role = format!("app_{}", ground.db.name());
    let client = ground.db.client().await;
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let grants = ground.run(&["migrate", "grants", &role]).ok().out;
    client.batch_execute(&grants).await.unwrap();
    let (host, port) = ground.db.address().unwrap();
    let url = format!("postgres://{role}@{host}:{port}/{}?sslmode=disable", ground.db.name());
    let stores = PgStores::connect(&url, PgStoreOptions::default()).unwrap();
    stores.queue.push(vec![NewMessage::new("mail", "hello", json!({}))]).await.unwrap();
    let engine = mainspring::Engine::builder(stores.clone())
        .flow(
            serde_json::from_value(
                json!({"id": "f", "version": "1.0.0", "initialStepId": "a", "steps": {"a":
            {"id": "a", "type": "transform", "input": {"type": "static", "value": {}}}}}),
            )
            .unwrap(),
        )
        .build();
    drop(engine);
    assert_eq!(stores.queue().stats("mail").await.unwrap().ready, 1);
    let said = ground.run(&["migrate", "up", "--database-url", &url, "--prefix", "no_"]);
    assert_eq!(said.code, 3, "{said:?}");
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    ground.run(&["migrate", "grants", ""]).refused(2);
}

//! What is special about flows on Postgres; what every backend does alike is in the conformance suite.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use mainspring_core::{
    Error, Flow, FlowFilter, FlowStore, Result, Saved,
    flow::{FlowStatus, Step},
};
use mainspring_flows::PgFlowStore;
use mainspring_testing::TestDb;
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn flow(id: &str, version: &str, says: impl Into<Value>) -> Flow {
    let says: Value = says.into();
    Flow::builder(id, version)
        .step(Step::new("hello", "transform").input(json!({"static": says})))
        .build()
        .unwrap()
}

fn versions(flows: &[Flow]) -> Vec<(&str, &str)> {
    flows.iter().map(|flow| (flow.id.as_str(), flow.version.as_str())).collect()
}

/// A fleet that starts at once with the same flows.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_equal_saves_one_creates() {
    let test = TestDb::new().await;
    let mut saves = JoinSet::new();
    for _ in 0..16 {
        let flows = PgFlowStore::new(&test.db());
        saves.spawn(async move { flows.save(&flow("greet", "1.0.0", "hello")).await.unwrap() });
    }
    let saved = saves.join_all().await;
    assert_eq!(saved.iter().filter(|saved| **saved == Saved::Created).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_different_saves_one_creates_and_the_others_conflict() {
    let test = TestDb::new().await;
    let mut saves = JoinSet::new();
    for n in 0..16 {
        let flows = PgFlowStore::new(&test.db());
        saves.spawn(async move { (n, flows.save(&flow("greet", "1.0.0", n)).await) });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        saves.join_all().await.into_iter().partition(|(_, saved)| saved.is_ok());
    assert_eq!(won.len(), 1);
    for (_, error) in lost {
        let error = error.unwrap_err();
        assert!(error.is_conflict());
        assert!(error.to_string().starts_with("flow `greet@1.0.0` exists with another content"), "{error}");
    }
    let stored = PgFlowStore::new(&test.db()).get("greet", "1.0.0").await.unwrap();
    assert_eq!(stored, Some(flow("greet", "1.0.0", won[0].0)));
}

/// The same content in another order and with other text for its numbers is the same content.
#[tokio::test]
async fn content_is_compared_and_not_text() {
    let test = TestDb::new().await;
    let flows = PgFlowStore::new(&test.db());
    let text = |visual: &str| {
        let text = r#"{"id": "greet", "version": "1.0.0", "initialStepId": "a", "visual": VISUAL,
            "steps": {"a": {"id": "a", "type": "transform", "input": {"full": true}}}}"#;
        Flow::from_json(&text.replace("VISUAL", visual)).unwrap()
    };
    assert_eq!(flows.save(&text(r#"{"x": 1, "y": 100.0}"#)).await.unwrap(), Saved::Created);
    assert_eq!(flows.save(&text(r#"{"y": 1e2, "x": 1}"#)).await.unwrap(), Saved::Unchanged);
    assert!(flows.save(&text(r#"{"y": 1e2, "x": 2}"#)).await.unwrap_err().is_conflict());
}

/// Trap 11: processes that run see what others save.
#[tokio::test]
async fn a_new_version_of_another_process_is_the_latest_at_once() {
    let test = TestDb::new().await;
    let (here, there) = (PgFlowStore::new(&test.db()), PgFlowStore::new(&test.db()));
    here.save(&flow("greet", "1.9.0", "hello")).await.unwrap();
    assert_eq!(here.latest("greet").await.unwrap().unwrap().version, "1.9.0");
    there.save(&flow("greet", "1.10.0", "good morning")).await.unwrap();
    assert_eq!(here.latest("greet").await.unwrap(), Some(flow("greet", "1.10.0", "good morning")));
    assert_eq!(versions(&here.list(FlowFilter::default()).await.unwrap()), [("greet", "1.10.0")]);
}

#[tokio::test]
async fn a_version_is_read_once() {
    const FORGET: &str = "DELETE FROM {flows}";
    let test = TestDb::new().await;
    let flows = PgFlowStore::new(&test.db());
    let greet = flow("greet", "1.0.0", "hello");
    flows.save(&greet).await.unwrap();
    assert_eq!(flows.get("greet", "1.0.0").await.unwrap(), Some(greet.clone()));
    test.db().exec(FORGET, &[]).await.unwrap();
    assert_eq!(flows.clone().get("greet", "1.0.0").await.unwrap(), Some(greet), "from memory");
    assert_eq!(PgFlowStore::new(&test.db()).get("greet", "1.0.0").await.unwrap(), None);
    assert_eq!(flows.latest("greet").await.unwrap(), None, "from the database");
}

/// What a transaction saw of itself must not outlive it.
#[tokio::test]
async fn a_version_that_was_rolled_back_is_forgotten() {
    let test = TestDb::new().await;
    let flows = PgFlowStore::new(&test.db());
    let undone: Result<()> = test
        .db()
        .with_tx(async |tx| {
            let here = flows.on(tx);
            here.save(&flow("greet", "1.0.0", "undone")).await?;
            assert!(here.get("greet", "1.0.0").await?.is_some());
            assert!(here.latest("greet").await?.is_some());
            assert_eq!(here.list(FlowFilter::default()).await?.len(), 1);
            Err(Error::invalid("test", "rolled back"))
        })
        .await;
    assert!(undone.unwrap_err().is_invalid());
    assert_eq!(flows.get("greet", "1.0.0").await.unwrap(), None);
    let kept = flow("greet", "1.0.0", "kept");
    assert_eq!(flows.save(&kept).await.unwrap(), Saved::Created);
    assert_eq!(flows.get("greet", "1.0.0").await.unwrap(), Some(kept));
}

#[tokio::test]
async fn the_list_has_the_latest_published_version_of_each_flow() {
    let test = TestDb::new().await;
    let flows = PgFlowStore::new(&test.db());
    for (id, version) in
        [("b", "1.10.0"), ("b", "1.9.0"), ("a", "0.1.0"), ("c", "1.0.0-rc.1"), ("c", "1.0.0")]
    {
        flows.save(&flow(id, version, "hello")).await.unwrap();
    }
    flows.get("b", "1.10.0").await.unwrap();
    let draft = Flow { status: FlowStatus::Draft, ..flow("b", "2.0.0", "hello") };
    let only_draft = Flow { status: FlowStatus::Draft, ..flow("d", "1.0.0", "hello") };
    flows.save(&draft).await.unwrap();
    flows.save(&only_draft).await.unwrap();
    for _ in 0..2 {
        let list = flows.list(FlowFilter::default()).await.unwrap();
        assert_eq!(versions(&list), [("a", "0.1.0"), ("b", "1.10.0"), ("c", "1.0.0")]);
    }
    assert_eq!(flows.versions("b").await.unwrap(), ["2.0.0", "1.10.0", "1.9.0"]);
    assert_eq!(flows.latest("d").await.unwrap(), None);
}

/// The columns beside the definition are for people with psql.
#[tokio::test]
async fn the_columns_say_what_the_definition_says() {
    const COLUMNS: &str = "SELECT name, description, status, tags FROM {flows}";
    let test = TestDb::new().await;
    let named = Flow {
        name: Some("Greeting".into()),
        description: Some("says hello".into()),
        tags: vec!["a".into(), "ü".into()],
        status: FlowStatus::Archived,
        ..flow("greet", "1.0.0", "hello")
    };
    PgFlowStore::new(&test.db()).save(&named).await.unwrap();
    let row = test.db().one(COLUMNS, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, &str>(2)),
        ("Greeting", "says hello", "archived")
    );
    assert_eq!(row.get::<_, Vec<String>>(3), ["a", "ü"]);
    let stored = PgFlowStore::new(&test.db()).get("greet", "1.0.0").await.unwrap();
    assert_eq!(stored, Some(named));
}

#[tokio::test]
async fn what_does_not_validate_is_refused() {
    let test = TestDb::new().await;
    let flows = PgFlowStore::new(&test.db());
    let bad = Flow { initial_step_id: "nowhere".into(), ..flow("greet", "1.0.0", "hello") };
    assert!(flows.save(&bad).await.unwrap_err().is_invalid());
    assert!(flows.versions("greet").await.unwrap().is_empty());
    let nul = Flow { name: Some("a\0b".into()), ..flow("greet", "1.0.0", "hello") };
    assert!(flows.save(&nul).await.unwrap_err().is_invalid());
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    const BREAK: &str = "UPDATE {flows} SET definition = '{\"id\": 1}'";
    let test = TestDb::new().await;
    let flows = PgFlowStore::new(&test.db());
    flows.save(&flow("greet", "1.0.0", "hello")).await.unwrap();
    test.db().exec(BREAK, &[]).await.unwrap();
    let error = flows.get("greet", "1.0.0").await.unwrap_err();
    assert_eq!(error.to_string(), "definition of the row `greet` cannot be read");
}

//! `mainspring tokens`.

use mainspring::{Engine, Flow, Invocation, Outcome};
use serde_json::{Value, json};

use crate::ground::Ground;

#[tokio::test]
async fn a_token_is_made_listed_spent_and_taken_back() {
    let ground = Ground::new().await;
    let flow = Flow::from_value(json!({"id": "ask", "version": "1.0.0", "initialStepId": "ask", "steps": {
        "ask": {"id": "ask", "type": "ask", "input": {"type": "full"}}}}));
    let engine = Engine::builder(ground.stores())
        .handle_fn("ask", async |_: Invocation, _: Value| Ok(Outcome::<Value>::wait_for_signal("approval")))
        .flow(flow.unwrap())
        .build()
        .unwrap();
    engine.create("ask", json!({})).id("x").run().await.unwrap();
    let tokens = |arguments: &[&str]| ground.json(&[&["tokens"], arguments].concat());
    let make = || tokens(&["create", "--execution", "x", "--step", "ask", "--expires-in", "1h"]).json();
    let (first, second) = (make(), make());
    let secret = first["token"].as_str().unwrap();
    tokens(&["create", "--execution", "none", "--step", "ask"]).refused(4);
    tokens(&["create", "--execution", "x", "--step", "ask", "--expires-in", "soon"]).refused(2);

    let listed = tokens(&["list", "--execution", "x"]).ok();
    assert!(!listed.out.contains(secret), "{listed:?}");
    let items = listed.items();
    assert_eq!(items.len(), 2);
    let page = tokens(&["list", "--execution", "x", "--limit", "1"]).json();
    let next = page["next"].as_str().unwrap();
    assert_eq!(tokens(&["list", "--execution", "x", "--after", next]).items(), items[1..]);
    tokens(&["list", "--execution", "x", "--after", "nowhere"]).refused(2);

    let file = ground.folder.path().join("token");
    std::fs::write(&file, format!("{}\n", second["token"].as_str().unwrap())).unwrap();
    assert_eq!(tokens(&["revoke", "@token"]).json()["revoked"], 1);
    let said = tokens(&["resume", "@token"]).refused(5);
    assert!(!said.contains("rt_"), "{said}");
    std::fs::write(&file, secret).unwrap();
    let resumed = tokens(&["resume", "@token", "--data", r#"{"yes":true}"#]).json();
    assert_eq!(resumed["execution"], "x");
    tokens(&["resume", "@token"]).refused(5);
    let said = tokens(&["resume", "rt_canary"]).refused(2);
    assert!(!said.contains("canary"), "{said}");
    assert_eq!(tokens(&["list", "--execution", "x", "--status", "used"]).items().len(), 1);
    assert_eq!(tokens(&["revoke", "--execution", "x", "--yes"]).json()["revoked"], 0);
}

//! What goes in comes out.

use std::time::Duration;

use mainspring_core::{Timestamp, limits};
use mainspring_world::{NewRun, Resolve};
use serde_json::{Value, json};

use crate::ground::{Ground, claim_step, complete, complete_step, on_both, start};

on_both! {
    values_are_preserved
    what_is_too_large_is_refused_by_name
}

async fn values_are_preserved(ground: Ground) {
    // W09, W17, W37
    let date = Timestamp::from_micros(0) + Duration::from_micros(1_234_567);
    let values: Vec<Option<Value>> = vec![
        None, // undefined
        Some(Value::Null),
        Some(json!(0)),
        Some(json!(-1.5)),
        Some(json!("")),
        Some(json!(true)),
        Some(json!(false)),
        Some(json!([])),
        Some(json!({})),
        Some(json!([1, [null, {"a": []}], "x"])),
        Some(json!({"deep": {"er": [{"est": null}]}})),
        Some(json!("a\0b\u{2400}\0")),
        Some(json!({"k\0": "\u{2400}0"})),
        Some(json!(date)),
        Some(json!("\u{1F600} \"quoted\" \\ \n\t")),
    ];
    for value in values {
        let run = NewRun { workflow_name: "echo".into(), input: value.clone(), ..NewRun::default() };
        let run = ground.storage.runs().create(run).await.unwrap().run_id;
        ground.does(&run, start()).await;
        ground.does(&run, claim_step("s")).await;
        let step = ground.does(&run, complete_step("s", value.clone())).await.step.unwrap();
        let ended = ground.does(&run, complete(value.clone())).await.run.unwrap();
        let stored = ground.storage.runs().get(&run, Resolve::All).await.unwrap();
        assert_eq!((&stored.input, &stored.output), (&value, &value));
        assert_eq!(ended.output, value);
        let found = ground.storage.steps().get(Some(&run), "s", Resolve::All).await.unwrap();
        assert_eq!(found.output, value);
        assert_eq!(step.step_id, found.step_id);
    }
}

async fn what_is_too_large_is_refused_by_name(ground: Ground) {
    let large = json!("x".repeat(limits::MAX_PAYLOAD));
    let error = ground.storage.runs().create(NewRun::new("echo", large.clone())).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("1048576"), "{error}");
    let run = ground.running().await;
    ground.does(&run, claim_step("s")).await;
    assert!(ground.refuses(&run, complete_step("s", large)).await.is_invalid());
    ground.does(&run, complete_step("s", json!(1))).await;
}

//! The built-in handlers that choose, wait and make data.

use std::time::Duration;

use mainspring_core::{ExecutionStatus, Flow, flow::Step};
use mainspring_engine::{HandlerError, Invocation, Outcome};
use serde_json::{Value, json};

use crate::{backend, builder, drain, stored};

/// Runs `chooser` and tells where it went: `a`, `b`, `c`, `end`, or the failure's code.
async fn goes_to(chooser: Step, context: Value) -> String {
    let backend = backend();
    let mark = |id: &str| Step::new(id, "transform").input(json!({"static": id})).output_key("went");
    let flow = Flow::builder("f", "1.0.0").step(chooser).step(mark("a")).step(mark("b")).step(mark("c"));
    let pick = |_: Invocation, input: Value| async move {
        Ok(match input["pick"].as_str() {
            Some("end") => Outcome::success(json!(null)).end(),
            Some(step) => Outcome::success(json!(null)).go_to(step),
            None => Outcome::success(json!(null)),
        })
    };
    let engine = builder(&backend).handle_fn("pick", pick).flow(flow.build().unwrap()).build().unwrap();
    let done = engine.create("f", context).run().await.unwrap();
    match done.error {
        Some(failure) => failure.code,
        None => done.context.get("went").and_then(Value::as_str).unwrap_or("end").to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_chooses_where_to_go() {
    // scenarios F02, F16
    let pick = Step::new("s", "pick").config(json!({"mayGoTo": ["a", "b"]})).on_success("c");
    for (context, went) in [
        (json!({"pick": "a"}), "a"),
        (json!({"pick": "b"}), "b"),
        (json!({}), "c"),
        (json!({"pick": "end"}), "end"),
        (json!({"pick": "nowhere"}), "INVALID_TRANSITION"),
    ] {
        assert_eq!(goes_to(pick.clone(), context.clone()).await, went, "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn conditional_takes_the_first_condition_that_holds() {
    // scenario F41
    let conditional = |default: Value| {
        let mut config = json!({"conditions": [
            {"path": "order.total", "op": "gte", "value": 1000, "goTo": "a"},
            {"path": "order.kind", "op": "in", "value": ["book", "map"], "goTo": "b"},
            {"path": "order.gift", "op": "exists", "target": "c"},
        ]});
        if default != json!("none") {
            config["default"] = default;
        }
        Step::new("s", "conditional").config(config).on_success("a")
    };
    for (order, default, went) in [
        (json!({"total": 1000, "kind": "book"}), json!("c"), "a"),
        (json!({"total": 999, "kind": "book"}), json!("c"), "b"),
        (json!({"total": "1000", "gift": 1}), json!("a"), "c"),
        (json!({}), json!("c"), "c"),
        (json!({}), json!(null), "end"),
        (json!({}), json!("none"), "NO_MATCH"),
    ] {
        assert_eq!(goes_to(conditional(default), json!({"order": order})).await, went, "{order}");
    }
    let step = Step::new("s", "conditional");
    let config = json!({"conditions": [{"path": "x", "op": "like", "goTo": "a"}], "mayGoTo": ["c"]});
    assert_eq!(goes_to(step.config(config).on_failure("b"), json!({})).await, "b", "no such operator");
}

#[tokio::test(start_paused = true)]
async fn switch_goes_by_a_value() {
    // scenario F42
    let switch = |config: Value| Step::new("s", "switch").config(config);
    let cases = json!({"x": "a", "1": "b", "true": "c"});
    for (kind, default, went) in [
        (json!("x"), Some("c"), "a"),
        (json!(1), Some("c"), "b"),
        (json!(true), None, "c"),
        (json!("other"), Some("c"), "c"),
        (json!("other"), None, "NO_MATCH"),
    ] {
        let mut config = json!({"path": "order.kind", "cases": cases});
        if let Some(default) = default {
            config["default"] = json!(default);
        }
        assert_eq!(goes_to(switch(config), json!({"order": {"kind": kind}})).await, went, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn delay_waits_and_transform_makes() {
    let backend = backend();
    let flow = Flow::builder("f", "1.0.0")
        .step(Step::new("wait", "delay").config(json!({"ms": 60_000})).on_success("make"))
        .step(
            Step::new("make", "transform")
                .input(json!({"template": {"sum": "${a.b}", "text": "is ${a.b}"}}))
                .output_key("out"),
        )
        .build()
        .unwrap();
    let engine = builder(&backend).flow(flow).build().unwrap();
    let id = engine.create("f", json!({"a": {"b": 7}})).await.unwrap().execution.id;
    drain(&engine).await;
    backend.advance(Duration::from_secs(60));
    drain(&engine).await;
    assert_eq!(stored(&backend, &id).await.context["out"], json!({"sum": 7, "text": "is 7"}));
}

#[tokio::test(start_paused = true)]
async fn batch_calls_a_handler_for_every_item() {
    let double = |_: Invocation, n: u64| async move {
        match n {
            0 => Err(HandlerError::new("ZERO", "is zero")),
            n => Ok(json!(n * 2)),
        }
    };
    let nap = |_: Invocation, _: Value| async { Ok(Outcome::wait(Duration::from_secs(1), "nap")) };
    for (config, items, expected) in [
        (json!({"handler": "double", "concurrency": 3}), json!([1, 2, 3, 4]), Ok(json!([2, 4, 6, 8]))),
        (json!({"handler": "double", "continueOnError": true}), json!([1, 0, 3]), Ok(json!([2, null, 6]))),
        (json!({"handler": "double"}), json!([1, 0, 3]), Err("ZERO: item 1: is zero")),
        (json!({"handler": "double"}), json!(["x"]), Err("INPUT_ERROR: item 0: the input does not fit")),
        (json!({"handler": "nobody"}), json!([1]), Err("HANDLER_NOT_FOUND")),
        (json!({"handler": "nap"}), json!([1]), Err("INPUT_ERROR: item 0: handler `nap` waits")),
        (json!({"handler": "double"}), json!([]), Ok(json!([]))),
        (json!({"handler": "double"}), json!(7), Err("INPUT_ERROR: the input does not fit")),
    ] {
        let step = Step::new("s", "batch").config(config).output_key("out");
        let flow = Flow::builder("f", "1.0.0").step(step).build().unwrap();
        let engine =
            builder(&backend()).handle_fn("double", double).handle_fn("nap", nap).flow(flow).build().unwrap();
        let done = engine.create("f", json!({"items": items})).run().await.unwrap();
        match expected {
            Ok(results) => {
                assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
                assert_eq!(done.context["out"]["results"], results);
                let failed = results.as_array().unwrap().iter().filter(|r| r.is_null()).count();
                assert_eq!(done.context["out"]["failed"], failed);
            }
            Err(text) => {
                assert!(done.error.as_ref().unwrap().to_string().starts_with(text), "{:?}", done.error);
            }
        }
    }
}

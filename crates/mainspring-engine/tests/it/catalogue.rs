//! The handlers an engine knows.

use mainspring_engine::{Handler, HandlerError, HandlerRegistry, Invocation, JobHandler, JobRun, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{backend, builder, single};

struct Charge;

#[derive(Deserialize)]
struct Order {
    total: u64,
}

#[derive(Serialize)]
struct Receipt {
    paid: u64,
}

impl Handler for Charge {
    const NAME: &'static str = "charge";
    const CATEGORY: &'static str = "money";
    const DESCRIPTION: &'static str = "Charges a card";
    type Input = Order;
    type Output = Receipt;

    async fn handle(&self, _call: Invocation, order: Order) -> Result<Outcome<Receipt>, HandlerError> {
        if order.total == 0 {
            Err(std::io::Error::other("nothing to pay"))?;
        }
        Ok(Receipt { paid: order.total }.into())
    }
}

struct Render;

impl JobHandler for Render {
    const NAME: &'static str = "render";
    const CATEGORY: &'static str = "media";
    type Input = Value;
    type Output = Value;

    async fn run(&self, _job: JobRun, input: Value) -> Result<Value, HandlerError> {
        Ok(input)
    }
}

#[tokio::test(start_paused = true)]
async fn a_typed_handler_gets_what_fits_and_fails_by_name_otherwise() {
    for (context, expected) in [
        (json!({"total": 42}), Ok(json!({"paid": 42}))),
        (json!({"total": "42"}), Err("INPUT_ERROR: the input does not fit")),
        (json!({"total": 0}), Err("HANDLER_ERROR: nothing to pay")),
    ] {
        let engine = builder(&backend()).handler(Charge).flow(single("charge")).build().unwrap();
        let done = engine.create("f", context).run().await.unwrap();
        match expected {
            Ok(output) => assert_eq!(done.context["out"], output),
            Err(text) => {
                assert!(done.error.as_ref().unwrap().to_string().starts_with(text), "{:?}", done.error);
            }
        }
    }
}

#[test]
fn handlers_are_found_by_name_category_and_kind() {
    // scenario F38
    let mut handlers = HandlerRegistry::default();
    handlers.register(Charge).unwrap();
    handlers.register_job(Render).unwrap();
    handlers.register_fn("other", |_: Invocation, input: Value| async move { Ok(input) }).unwrap();
    assert!(handlers.register(Charge).unwrap_err().is_conflict());
    assert!(
        handlers
            .register_fn("", |_: Invocation, input: Value| async move { Ok(input) })
            .unwrap_err()
            .is_invalid()
    );
    let info = handlers.get("charge").unwrap();
    assert_eq!(
        (info.category.as_str(), info.description.as_str(), info.stateful),
        ("money", "Charges a card", false)
    );
    assert!(handlers.contains("render") && !handlers.contains("nobody") && handlers.get("nobody").is_none());
    let names = |all: &mut dyn Iterator<Item = &mainspring_engine::HandlerInfo>| {
        all.map(|i| i.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut handlers.all()), ["charge", "other", "render"]);
    assert_eq!(names(&mut handlers.in_category("money")), ["charge"]);
    assert_eq!(names(&mut handlers.stateful(true)), ["render"]);
    let manifest = handlers.manifest();
    assert_eq!(
        manifest["handlers"][2],
        json!({"name": "render", "category": "media", "description": "", "stateful": true})
    );
}

#[test]
fn built_ins_are_there_unless_they_are_not_wanted_or_replaced() {
    let engine = builder(&backend()).build().unwrap();
    for name in ["batch", "conditional", "delay", "sub-flow", "switch", "transform"] {
        assert!(engine.handlers().contains(name), "{name}");
    }
    assert_eq!(engine.handlers().contains("http"), cfg!(feature = "http"));
    let own = |_: Invocation, input: Value| async move { Ok(input) };
    let engine = builder(&backend()).handle_fn("delay", own).build().unwrap();
    assert_eq!(engine.handlers().get("delay").unwrap().category, "custom");
    assert_eq!(builder(&backend()).builtins(false).build().unwrap().handlers().all().count(), 0);
}

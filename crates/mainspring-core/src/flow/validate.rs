//! The one validator of flows, for JSON and builder alike. Every error names the step and the field.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Flow, Step,
    edges::{self, Edge},
    path, retry, version,
};
use crate::{Error, Result, limits};

/// Most steps of one flow.
const MAX_STEPS: usize = 1_000;
/// Most tags of one flow.
const MAX_TAGS: usize = 100;

/// Checks everything that can be known of a flow without its handlers.
pub(super) fn flow(flow: &Flow) -> Result<()> {
    head(flow)?;
    if flow.steps.is_empty() {
        return Err(Error::invalid("steps", "must have at least one step"));
    }
    if flow.steps.len() > MAX_STEPS {
        let problem = format!("{} steps, at most {MAX_STEPS} are allowed", flow.steps.len());
        return Err(Error::invalid("steps", problem));
    }
    for (key, one) in &flow.steps {
        step(key, one)?;
    }
    check_size(flow)?;
    if flow.initial_step_id.is_empty() {
        return Err(Error::invalid("initialStepId", "must not be empty"));
    }
    if !flow.steps.contains_key(&flow.initial_step_id) {
        return Err(Error::invalid("initialStepId", no_such_step(&flow.initial_step_id)));
    }
    reach(flow)
}

/// Checks that every step has a handler that is known.
pub(super) fn handlers(flow: &Flow, known: &dyn Fn(&str) -> bool) -> Result<()> {
    match flow.steps.values().find(|step| !known(&step.handler)) {
        None => Ok(()),
        Some(step) => {
            let problem = format!("no handler `{}` is registered", step.handler);
            Err(Error::invalid(&format!("steps.{}.type", step.id), problem))
        }
    }
}

fn head(flow: &Flow) -> Result<()> {
    limits::check_name("id", &flow.id)?;
    version::parse_version(&flow.version)?;
    check_label("name", flow.name.as_deref())?;
    check_label("description", flow.description.as_deref())?;
    if flow.tags.len() > MAX_TAGS {
        return Err(Error::invalid(
            "tags",
            format!("{} tags, at most {MAX_TAGS} are allowed", flow.tags.len()),
        ));
    }
    flow.tags.iter().try_for_each(|tag| limits::check_name("tags", tag))?;
    for (field, kept) in [("visual", &flow.visual), ("pipes", &flow.pipes)] {
        kept.as_ref().map_or(Ok(()), |value| limits::check_json(field, value))?;
    }
    Ok(())
}

fn step(key: &str, step: &Step) -> Result<()> {
    let at = |field: &str| format!("steps.{key}.{field}");
    limits::check_name(&at("id"), &step.id)?;
    if step.id != key {
        return Err(Error::invalid(&at("id"), format!("`{}` is not the key it stands under", step.id)));
    }
    if let Some((field, problem)) = &step.refused {
        return Err(Error::invalid(&at(field), problem));
    }
    limits::check_name(&at("type"), &step.handler)?;
    check_label(&at("name"), step.name.as_deref())?;
    limits::check_map(&at("config"), &step.config, limits::MAX_PAYLOAD)?;
    step.input.check(&at("input"))?;
    if let Some(output_key) = &step.output_key {
        path::check(&at("outputKey"), output_key)?;
    }
    if let Some(policy) = &step.retry {
        policy.check(&at("retry"))?;
    }
    if let Some(timeout) = step.timeout {
        let field = at("timeout");
        if timeout < Duration::from_millis(1) {
            return Err(Error::invalid(&field, "must be at least 1 ms"));
        }
        retry::check_millis(&field, timeout)?;
    }
    check_delay(key, step)
}

/// A wait that leads nowhere comes back to its own step, which for the built-in `delay` would be for ever.
fn check_delay(key: &str, step: &Step) -> Result<()> {
    let transitions = &step.transitions;
    if step.handler == "delay" && transitions.on_resume.is_none() && transitions.on_success.is_none() {
        let field = format!("steps.{key}.transitions.onSuccess");
        return Err(Error::invalid(&field, "a delay needs a step to go on with, or it repeats for ever"));
    }
    Ok(())
}

/// Text for people: any but NUL, of bounded length.
fn check_label(field: &str, text: Option<&str>) -> Result<()> {
    match text {
        Some(text) if text.len() > limits::MAX_ERROR_TEXT => {
            let problem = format!("{} bytes, at most {} are allowed", text.len(), limits::MAX_ERROR_TEXT);
            Err(Error::invalid(field, problem))
        }
        Some(text) if text.contains('\0') => Err(Error::invalid(field, "has a NUL character")),
        _ => Ok(()),
    }
}

/// The whole definition is one payload. Its parts were checked before, so the measuring cannot run away.
fn check_size(flow: &Flow) -> Result<()> {
    let bytes = limits::json_size(&flow.to_value());
    if bytes > limits::MAX_PAYLOAD {
        let problem =
            format!("the definition has {bytes} bytes, at most {} are allowed", limits::MAX_PAYLOAD);
        return Err(Error::invalid("flow", problem));
    }
    Ok(())
}

/// Every edge leads to a step, and to every step leads a way from the initial one.
fn reach(flow: &Flow) -> Result<()> {
    let mut edges: BTreeMap<&str, Vec<Edge<'_>>> = BTreeMap::new();
    for step in flow.steps.values() {
        let of_step = edges::of(step)?;
        if let Some(edge) = of_step.iter().find(|edge| !flow.steps.contains_key(edge.to)) {
            return Err(Error::invalid(&format!("steps.{}.{}", step.id, edge.field), no_such_step(edge.to)));
        }
        edges.insert(&step.id, of_step);
    }
    let mut reached = BTreeSet::from([flow.initial_step_id.as_str()]);
    let mut open = vec![flow.initial_step_id.as_str()];
    while let Some(from) = open.pop() {
        for edge in edges.get(from).into_iter().flatten() {
            if reached.insert(edge.to) {
                open.push(edge.to);
            }
        }
    }
    match flow.steps.keys().find(|id| !reached.contains(id.as_str())) {
        None => Ok(()),
        Some(id) => {
            let problem = format!(
                "cannot be reached from `{}`; a handler that chooses it by itself says so in its config: {}",
                flow.initial_step_id,
                serde_json::json!({"mayGoTo": [id]})
            );
            Err(Error::invalid(&format!("steps.{id}"), problem))
        }
    }
}

fn no_such_step(id: &str) -> String {
    format!("step `{id}` does not exist")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::flow::RetryPolicy;

    fn good() -> Value {
        json!({
            "id": "order", "version": "1.2.3", "name": "Order", "description": "Takes an order.", "tags": ["shop"],
            "status": "draft", "visual": {"zoom": 1}, "initialStepId": "charge",
            "steps": {
                "charge": {
                    "id": "charge", "type": "charge-card", "name": "Charge", "config": {"currency": "EUR"},
                    "input": {"type": "key", "key": "total"}, "outputKey": "order.receipt",
                    "transitions": {"onSuccess": "ship", "onFailure": null, "onResume": "ship"},
                    "retry": {"maxAttempts": 2, "backoffMs": 100, "retryOn": ["BUSY"]}, "timeout": 5000
                },
                "ship": {"id": "ship", "type": "ship", "input": {"full": true}}
            },
            "pipes": [{"id": "p", "stepId": "charge", "on": "any", "tableId": "t", "mappings": []}]
        })
    }

    fn refused(flow: &Value, expected: &str) {
        let error = Flow::from_json(&flow.to_string()).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(expected), "{error}\nexpected {expected}");
    }

    #[test]
    fn a_good_flow_reads_and_writes_back() {
        // scenario F36
        let flow = Flow::from_json(&good().to_string()).unwrap();
        assert_eq!(Flow::from_json(&flow.to_json()).unwrap(), flow);
        assert_eq!(Flow::from_value(flow.to_value()).unwrap().to_json(), flow.to_json());
        let charge = flow.step("charge").unwrap();
        assert_eq!(charge.timeout, Some(Duration::from_secs(5)));
        assert_eq!(charge.retry.as_ref().unwrap().max_attempts, 3);
        assert_eq!(flow.to_value()["steps"]["charge"]["retry"]["maxAttempts"], 2);
        assert_eq!(flow.to_value()["pipes"], good()["pipes"]);
    }

    #[test]
    fn what_is_missing_unknown_or_double_is_named() {
        // scenarios F16, F36
        for field in ["id", "version", "initialStepId", "steps"] {
            let mut flow = good();
            flow.as_object_mut().unwrap().remove(field);
            refused(&flow, &format!("flow: missing field `{field}`"));
        }
        for (field, expected) in [
            ("id", "steps.ship: missing field `id`"),
            ("type", "steps.ship: missing field `type`"),
            ("input", "steps.ship: missing field `input`"),
        ] {
            let mut flow = good();
            flow["steps"]["ship"].as_object_mut().unwrap().remove(field);
            refused(&flow, expected);
        }
        let mut flow = good();
        flow["inital"] = json!(1);
        refused(&flow, "unknown field `inital`");
        let mut flow = good();
        flow["steps"]["ship"]["outputkey"] = json!("x");
        refused(&flow, "steps.ship: unknown field `outputkey`");
        let mut flow = good();
        flow["steps"]["ship"]["transitions"] = json!({"onSucess": "ship"});
        refused(&flow, "steps.ship: unknown field `onSucess`");
        let mut flow = good();
        flow["steps"]["ship"]["retry"] = json!({"maxRuns": 3});
        refused(&flow, "steps.ship: unknown field `maxRuns`");
        let mut flow = good();
        flow["steps"]["ship"]["input"] = json!({"type": "ful"});
        refused(&flow, "steps.ship: input: type `ful` is not");
        let twice = good().to_string().replacen(r#""ship":{"#, r#""charge":{"#, 1);
        let error = Flow::from_json(&twice).unwrap_err().to_string();
        assert!(error.contains("steps.charge: is defined twice"), "{error}");
        assert!(Flow::from_json("{").unwrap_err().is_invalid());
    }

    #[test]
    fn every_field_is_checked() {
        // scenarios F16, F36
        let long = "x".repeat(129);
        for (pointer, value, expected) in [
            ("/id", json!(""), "id: must not be empty"),
            ("/id", json!(long), "id: 129 bytes"),
            ("/version", json!(""), "version: must not be empty"),
            ("/version", json!("1.2"), "version: `1.2` is not a semantic version"),
            ("/name", json!("a\0"), "name: has a NUL"),
            ("/tags", json!([""]), "tags: must not be empty"),
            ("/status", json!("live"), "unknown variant `live`"),
            ("/visual", json!("a\0"), "visual: has a NUL"),
            ("/pipes", json!(["a\0"]), "pipes: has a NUL"),
            ("/initialStepId", json!(""), "initialStepId: must not be empty"),
            ("/initialStepId", json!("nope"), "initialStepId: step `nope` does not exist"),
            ("/steps", json!({}), "steps: must have at least one step"),
            ("/steps/ship/id", json!("other"), "steps.ship.id: `other` is not the key"),
            ("/steps/ship/type", json!(""), "steps.ship.type: must not be empty"),
            ("/steps/ship/type", json!(long), "steps.ship.type: 129 bytes"),
            ("/steps/charge/config", json!({"a": "\0"}), "steps.charge.config: has a NUL"),
            ("/steps/charge/config", json!([]), "steps.charge: invalid type: sequence"),
            ("/steps/charge/input", json!({"path": "a..b"}), "steps.charge.input.path: `a..b`"),
            ("/steps/charge/outputKey", json!("a..b"), "steps.charge.outputKey: `a..b`"),
            ("/steps/charge/outputKey", json!(""), "steps.charge.outputKey: must not be empty"),
            ("/steps/charge/retry/maxAttempts", json!(1_001), "steps.charge.retry.maxAttempts: 1001 retries"),
            ("/steps/charge/retry/maxAttempts", json!(u32::MAX), "steps.charge.retry.maxAttempts: "),
            ("/steps/charge/retry/maxAttempts", json!(-1), "steps.charge: invalid value: integer `-1`"),
            (
                "/steps/charge/retry/backoffMs",
                json!(u64::MAX),
                "steps.charge.retry.backoffMs: longer than 100 years",
            ),
            ("/steps/charge/retry/retryOn", json!([""]), "steps.charge.retry.retryOn: must not be empty"),
            ("/steps/charge/timeout", json!(0), "steps.charge.timeout: must be at least 1 ms"),
            ("/steps/charge/timeout", json!(u64::MAX), "steps.charge.timeout: longer than 100 years"),
            (
                "/steps/charge/transitions/onSuccess",
                json!("shp"),
                "steps.charge.transitions.onSuccess: step `shp` does not exist",
            ),
            (
                "/steps/charge/transitions/onFailure",
                json!("shp"),
                "steps.charge.transitions.onFailure: step `shp`",
            ),
            (
                "/steps/charge/transitions/onResume",
                json!("shp"),
                "steps.charge.transitions.onResume: step `shp`",
            ),
        ] {
            let mut flow = good();
            *flow.pointer_mut(pointer).unwrap() = value;
            refused(&flow, expected);
        }
    }

    #[test]
    fn too_many_steps_and_too_many_bytes_are_refused() {
        let chain = |n: usize, config: &str| {
            (0..n).fold(Flow::builder("f", "1.0.0"), |flow, i| {
                let step = Step::new(format!("s{i}"), "x").config(json!({"text": config}));
                flow.step(if i + 1 < n { step.on_success(format!("s{}", i + 1)) } else { step })
            })
        };
        chain(1_000, "").build().unwrap();
        assert!(chain(1_001, "").build().unwrap_err().to_string().starts_with("steps: 1001 steps"));
        let error = chain(3, &"x".repeat(400_000)).build().unwrap_err().to_string();
        assert!(error.starts_with("flow: the definition has 12"), "{error}");
    }

    #[test]
    fn unreachable_steps_are_refused_unless_a_handler_may_go_there() {
        // scenarios F02, F41, F42
        let flow = |first: Step| {
            Flow::builder("f", "1.0.0")
                .step(first)
                .step(Step::new("a", "x"))
                .step(Step::new("b", "x"))
                .build()
        };
        let error = flow(Step::new("s", "x").on_success("a")).unwrap_err().to_string();
        assert!(error.starts_with("steps.b: cannot be reached from `s`"), "{error}");
        assert!(error.ends_with(r#"{"mayGoTo":["b"]}"#), "{error}");
        flow(Step::new("s", "x").on_success("a").on_failure("b")).unwrap();
        flow(Step::new("s", "mine").config(json!({"mayGoTo": ["a", "b"]}))).unwrap();
        flow(Step::new("s", "switch").config(json!({"path": "x", "cases": {"1": "a"}, "default": "b"})))
            .unwrap();
        let conditional = |to: &str| json!({"conditions": [{"path": "x", "op": "eq", "value": 1, "goTo": to}], "default": "b"});
        flow(Step::new("s", "conditional").config(conditional("a"))).unwrap();
        let error =
            flow(Step::new("s", "conditional").config(conditional("zz")).on_success("a")).unwrap_err();
        assert_eq!(error.to_string(), "steps.s.config.conditions[0].goTo: step `zz` does not exist");
    }

    #[test]
    fn the_builder_goes_through_the_same_validator() {
        // scenario F16
        let one = |step: Step| Flow::builder("f", "1.0.0").step(step).build();
        for (step, expected) in [
            (Step::new("s", ""), "steps.s.type: must not be empty"),
            (Step::new("", "x"), "steps..id: must not be empty"),
            (Step::new("s", "x").input(json!({"ful": true})), "steps.s.input: has none of"),
            (Step::new("s", "x").config(json!(1)), "steps.s.config: is not an object"),
            (Step::new("s", "x").on_success("t"), "steps.s.transitions.onSuccess: step `t` does not exist"),
            (
                Step::new("s", "x").timeout(Duration::from_micros(1_500)),
                "steps.s.timeout: 1.5ms is not a whole",
            ),
            (Step::new("s", "x").timeout(Duration::MAX), "steps.s.timeout: longer than 100 years"),
            (
                Step::new("s", "x").retry(RetryPolicy { max_attempts: 0, ..RetryPolicy::default() }),
                "steps.s.retry.maxAttempts: -1 retries",
            ),
        ] {
            let error = one(step).unwrap_err();
            assert!(error.is_invalid() && error.to_string().starts_with(expected), "{error}");
        }
        let twice = Flow::builder("f", "1.0.0").step(Step::new("s", "x")).step(Step::new("s", "y")).build();
        assert_eq!(twice.unwrap_err().to_string(), "steps.s: is defined twice");
        assert!(Flow::builder("f", "1.0.0").build().unwrap_err().to_string().starts_with("steps: must have"));
        let second =
            Flow::builder("f", "1.0.0").step(Step::new("b", "x")).step(Step::new("a", "x").on_success("b"));
        assert_eq!(second.initial_step("a").build().unwrap().initial_step_id, "a");
    }

    #[test]
    fn a_delay_that_leads_nowhere_is_refused() {
        let flow = |step: Step| Flow::builder("f", "1.0.0").step(step).step(Step::new("b", "h")).build();
        let delay = |id: &str| Step::new(id, "delay").config(json!({"ms": 5}));
        let error = Flow::builder("f", "1.0.0").step(delay("a")).build().unwrap_err();
        assert!(error.to_string().starts_with("steps.a.transitions.onSuccess"), "{error}");
        flow(delay("a").on_success("b")).unwrap();
        flow(delay("a").on_resume("b")).unwrap();
    }

    #[test]
    fn an_unknown_handler_is_named_with_its_step() {
        // scenario F15
        let flow = Flow::from_value(good()).unwrap();
        flow.check_handlers(&|_| true).unwrap();
        let error = flow.check_handlers(&|handler| handler != "ship").unwrap_err();
        assert_eq!(error.to_string(), "steps.ship.type: no handler `ship` is registered");
    }
}

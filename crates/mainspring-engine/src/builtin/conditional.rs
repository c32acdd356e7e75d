//! `conditional`: goes on with the step of the first condition that holds.
//!
//! `{"conditions": [{"path": "total", "op": "gte", "value": 1000, "goTo": "review"}], "default": "ship"}`. Paths are within
//! the step's input. Comparing is strict: `1` is not `"1"`, and only numbers have an order, or texts among each other. `null`
//! as a target ends the execution. No condition and no default is the failure `NO_MATCH`.

use std::cmp::Ordering;

use mainspring_core::flow::lookup;
use regex_lite::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::{Handler, HandlerError, Invocation, Outcome};

pub(crate) struct Conditional;

#[derive(Deserialize)]
struct Config {
    conditions: Vec<Condition>,
    #[serde(default, deserialize_with = "target")]
    default: Option<Value>,
}

#[derive(Deserialize)]
struct Condition {
    path: String,
    op: Op,
    #[serde(default)]
    value: Value,
    #[serde(rename = "goTo", alias = "target")]
    go_to: Value,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum Op {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    #[serde(alias = "nin")]
    NotIn,
    Contains,
    StartsWith,
    EndsWith,
    Exists,
    NotExists,
    Matches,
}

/// Keeps `null`, which is a target, apart from a target that is absent.
pub(super) fn target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A success that goes on with the step `to` names, or ends with `null`.
pub(super) fn matched(output: Value, to: &Value) -> Outcome {
    let outcome = Outcome::success(output);
    match to {
        Value::String(step) => outcome.go_to(step),
        _ => outcome.end(),
    }
}

impl Handler for Conditional {
    const NAME: &'static str = "conditional";
    const CATEGORY: &'static str = super::CONTROL;
    const DESCRIPTION: &'static str = "Goes on with the step of the first condition that holds";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, call: Invocation, input: Value) -> Result<Outcome, HandlerError> {
        let config: Config = call.config_as()?;
        for condition in &config.conditions {
            let actual = lookup(&input, &condition.path).filter(|value| !value.is_null());
            if holds(condition.op, actual, &condition.value)? {
                let to = &condition.go_to;
                return Ok(matched(json!({"matched": condition.path, "target": to}), to));
            }
        }
        match &config.default {
            Some(to) => Ok(matched(json!({"matched": null, "target": to}), to)),
            None => Ok(Outcome::failure("NO_MATCH", "no condition holds and there is no default")),
        }
    }
}

fn holds(op: Op, actual: Option<&Value>, expected: &Value) -> Result<bool, HandlerError> {
    let same = || same(actual.unwrap_or(&Value::Null), expected);
    let order = || actual.and_then(|actual| compare(actual, expected));
    let texts = || actual.and_then(Value::as_str).zip(expected.as_str());
    Ok(match op {
        Op::Eq => same(),
        Op::Neq => !same(),
        Op::Gt => order() == Some(Ordering::Greater),
        Op::Gte => order().is_some_and(Ordering::is_ge),
        Op::Lt => order() == Some(Ordering::Less),
        Op::Lte => order().is_some_and(Ordering::is_le),
        Op::In => contains(expected, actual),
        Op::NotIn => !contains(expected, actual),
        Op::Contains => match actual {
            Some(Value::Array(_)) => actual.is_some_and(|list| contains(list, Some(expected))),
            _ => texts().is_some_and(|(actual, part)| actual.contains(part)),
        },
        Op::StartsWith => texts().is_some_and(|(actual, part)| actual.starts_with(part)),
        Op::EndsWith => texts().is_some_and(|(actual, part)| actual.ends_with(part)),
        Op::Exists => actual.is_some(),
        Op::NotExists => actual.is_none(),
        Op::Matches => match texts() {
            Some((actual, pattern)) => Regex::new(pattern)
                .map_err(|e| HandlerError::terminal("INVALID_PATTERN", format!("`{pattern}`: {e}")))?
                .is_match(actual),
            None => false,
        },
    })
}

fn contains(list: &Value, item: Option<&Value>) -> bool {
    let item = item.unwrap_or(&Value::Null);
    list.as_array().is_some_and(|list| list.iter().any(|other| same(other, item)))
}

/// Strictly the same; `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => compare(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return Some(a.cmp(&b));
    }
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparing_is_strict() {
        // scenario F41
        let cases = [
            (json!("eq"), json!(1), json!(1), true),
            (json!("eq"), json!(1), json!(1.0), true),
            (json!("eq"), json!(1), json!("1"), false),
            (json!("eq"), json!(null), json!(null), true),
            (json!("neq"), json!("a"), json!("b"), true),
            (json!("gt"), json!(2), json!(1), true),
            (json!("gt"), json!("2"), json!(1), false),
            (json!("gte"), json!(1.5), json!(1.5), true),
            (json!("lt"), json!("a"), json!("b"), true),
            (json!("lte"), json!(null), json!(1), false),
            (json!("in"), json!("a"), json!(["b", "a"]), true),
            (json!("in"), json!(1), json!(["1"]), false),
            (json!("notIn"), json!("a"), json!(["b"]), true),
            (json!("nin"), json!("b"), json!(["b"]), false),
            (json!("contains"), json!("abc"), json!("b"), true),
            (json!("contains"), json!([1, 2]), json!(2), true),
            (json!("contains"), json!({"b": 1}), json!("b"), false),
            (json!("startsWith"), json!("abc"), json!("ab"), true),
            (json!("endsWith"), json!("abc"), json!("ab"), false),
            (json!("exists"), json!(0), json!(null), true),
            (json!("exists"), json!(null), json!(null), false),
            (json!("notExists"), json!(null), json!(null), true),
            (json!("matches"), json!("order-42"), json!(r"^order-\d+$"), true),
            (json!("matches"), json!(42), json!("42"), false),
        ];
        for (op, actual, expected, holds_) in cases {
            let parsed: Op = serde_json::from_value(op.clone()).unwrap();
            let actual_ = Some(&actual).filter(|value| !value.is_null());
            assert_eq!(holds(parsed, actual_, &expected).unwrap(), holds_, "{actual} {op} {expected}");
        }
        assert!(holds(Op::Matches, Some(&json!("x")), &json!("(")).unwrap_err().is_terminal());
    }
}

//! Where a step may go: what its transitions say, and what its handler was told in its config.
//!
//! The built-in handlers `conditional` and `switch` name their targets in their config. Any other handler that chooses a next
//! step by itself lists the choices as `mayGoTo`.

use serde_json::Value;

use super::Step;
use crate::{Error, Result};

/// One place a step may go to, and the field that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge<'a> {
    /// Within the step, such as `transitions.onSuccess`.
    pub field: String,
    /// The id of a step.
    pub to: &'a str,
}

impl Step {
    /// All places it may go to, in the order of its fields.
    ///
    /// # Errors
    /// Invalid, naming the field, when its config does not say it as it should; never for a step of a valid flow.
    pub fn edges(&self) -> Result<Vec<Edge<'_>>> {
        of(self)
    }
}

/// All places `step` may go to.
pub(super) fn of(step: &Step) -> Result<Vec<Edge<'_>>> {
    let mut edges = Edges { step, found: Vec::new() };
    let transitions = &step.transitions;
    for (field, to) in [
        ("transitions.onSuccess", &transitions.on_success),
        ("transitions.onFailure", &transitions.on_failure),
        ("transitions.onResume", &transitions.on_resume),
    ] {
        edges.found.extend(to.as_deref().map(|to| Edge { field: field.to_owned(), to }));
    }
    match step.handler.as_str() {
        "conditional" => edges.conditional()?,
        "switch" => edges.switch()?,
        _ => {}
    }
    edges.may_go_to()?;
    Ok(edges.found)
}

struct Edges<'a> {
    step: &'a Step,
    found: Vec<Edge<'a>>,
}

impl<'a> Edges<'a> {
    fn conditional(&mut self) -> Result<()> {
        let Some(conditions) = self.step.config.get("conditions") else {
            return Err(self.refuse("config.conditions", "is missing"));
        };
        let Value::Array(conditions) = conditions else {
            return Err(self.refuse("config.conditions", "is not an array"));
        };
        for (i, condition) in conditions.iter().enumerate() {
            // FlowMonkey says `target`.
            let name = if condition.get("goTo").is_none() && condition.get("target").is_some() {
                "target"
            } else {
                "goTo"
            };
            let field = format!("config.conditions[{i}].{name}");
            match condition.get(name) {
                Some(to) => self.target(field, to)?,
                None => return Err(self.refuse(&field, "is missing")),
            }
        }
        self.default_target()
    }

    fn switch(&mut self) -> Result<()> {
        match self.step.config.get("cases") {
            Some(Value::Object(cases)) => {
                for (value, to) in cases {
                    self.target(format!("config.cases.{value}"), to)?;
                }
            }
            Some(_) => return Err(self.refuse("config.cases", "is not an object")),
            None => return Err(self.refuse("config.cases", "is missing")),
        }
        self.default_target()
    }

    fn default_target(&mut self) -> Result<()> {
        match self.step.config.get("default") {
            Some(to) => self.target("config.default".to_owned(), to),
            None => Ok(()),
        }
    }

    fn may_go_to(&mut self) -> Result<()> {
        match self.step.config.get("mayGoTo") {
            None => Ok(()),
            Some(Value::Array(all)) => {
                all.iter().enumerate().try_for_each(|(i, to)| self.target(format!("config.mayGoTo[{i}]"), to))
            }
            Some(_) => Err(self.refuse("config.mayGoTo", "is not an array of step ids")),
        }
    }

    /// A step id, or `null` for the end of the execution.
    fn target(&mut self, field: String, to: &'a Value) -> Result<()> {
        match to {
            Value::Null => Ok(()),
            Value::String(to) => {
                self.found.push(Edge { field, to });
                Ok(())
            }
            _ => Err(self.refuse(&field, "is not a step id")),
        }
    }

    fn refuse(&self, field: &str, problem: &str) -> Error {
        Error::invalid(&format!("steps.{}.{field}", self.step.id), problem)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(step: &Step) -> Vec<(String, String)> {
        of(step).unwrap().into_iter().map(|e| (e.field, e.to.to_owned())).collect()
    }

    #[test]
    fn transitions_and_config_are_edges() {
        // scenarios F41, F42
        let pairs = |all: &[(&str, &str)]| {
            all.iter().map(|(f, t)| ((*f).to_owned(), (*t).to_owned())).collect::<Vec<_>>()
        };
        let plain = Step::new("s", "http").on_success("a").on_failure("b").on_resume("c");
        assert_eq!(
            found(&plain),
            pairs(&[
                ("transitions.onSuccess", "a"),
                ("transitions.onFailure", "b"),
                ("transitions.onResume", "c")
            ])
        );
        let conditional = Step::new("s", "conditional").config(json!({
            "conditions": [{"path": "x", "op": "eq", "value": 1, "goTo": "a"}, {"path": "x", "op": "exists", "target": "b"}],
            "default": "c",
        }));
        assert_eq!(
            found(&conditional),
            pairs(&[
                ("config.conditions[0].goTo", "a"),
                ("config.conditions[1].target", "b"),
                ("config.default", "c")
            ])
        );
        let switch = Step::new("s", "switch")
            .config(json!({"path": "x", "cases": {"1": "a", "2": null}, "default": null}));
        assert_eq!(found(&switch), pairs(&[("config.cases.1", "a")]));
        let custom =
            Step::new("s", "mine").config(json!({"mayGoTo": ["a", "b"], "default": "not an edge here"}));
        assert_eq!(found(&custom), pairs(&[("config.mayGoTo[0]", "a"), ("config.mayGoTo[1]", "b")]));
    }

    #[test]
    fn malformed_targets_are_refused_by_name() {
        for (handler, config, expected) in [
            ("conditional", json!({}), "steps.s.config.conditions: is missing"),
            ("conditional", json!({"conditions": {}}), "steps.s.config.conditions: is not an array"),
            (
                "conditional",
                json!({"conditions": [{"path": "x"}]}),
                "steps.s.config.conditions[0].goTo: is missing",
            ),
            ("conditional", json!({"conditions": [1]}), "steps.s.config.conditions[0].goTo: is missing"),
            (
                "conditional",
                json!({"conditions": [{"goTo": 1}]}),
                "steps.s.config.conditions[0].goTo: is not a step id",
            ),
            ("switch", json!({"path": "x"}), "steps.s.config.cases: is missing"),
            ("switch", json!({"cases": []}), "steps.s.config.cases: is not an object"),
            ("switch", json!({"cases": {}, "default": 1}), "steps.s.config.default: is not a step id"),
            ("mine", json!({"mayGoTo": "a"}), "steps.s.config.mayGoTo: is not an array"),
        ] {
            let error = of(&Step::new("s", handler).config(config)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

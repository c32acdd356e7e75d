//! What is played: the flows of a file, and one execution for each line of another.

use std::{collections::HashMap, fmt, fs, path::Path};

use mainspring::{Error, Execution, ExecutionStatus, Flow, HandlerRegistry, Result};
use serde_json::{Map, Value};

/// One line of the input: the context of one execution, and how it is to end.
pub(super) struct Order {
    /// The idempotency key: its own `id`, or `line-7`.
    pub(super) id: String,
    pub(super) expect: Expect,
    /// What the approver says when asked.
    pub(super) approve: bool,
    pub(super) context: Map<String, Value>,
}

/// How an order is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    Completed,
    Cancelled,
    /// With this code; any when empty.
    Failed(String),
}

impl Expect {
    fn read(text: &str) -> Option<Self> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("completed", "") => Some(Self::Completed),
            ("cancelled", "") => Some(Self::Cancelled),
            ("failed", code) => Some(Self::Failed(code.to_owned())),
            _ => None,
        }
    }

    pub(super) fn is_met_by(&self, execution: &Execution) -> bool {
        match self {
            Self::Completed => execution.status == ExecutionStatus::Completed,
            Self::Cancelled => execution.status == ExecutionStatus::Cancelled,
            Self::Failed(code) => {
                let actual = execution.error.as_ref().map(|failure| failure.code.as_str());
                execution.status == ExecutionStatus::Failed && (code.is_empty() || actual == Some(code))
            }
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed(code) if code.is_empty() => f.write_str("failed"),
            Self::Failed(code) => write!(f, "failed:{code}"),
        }
    }
}

/// The flows of a file: one, or a list of which the first is the one that is started.
///
/// # Errors
/// Invalid, naming the file, the flow and the field, or the handler nobody knows.
pub(super) fn read_flows(path: &Path, handlers: &HandlerRegistry) -> Result<Vec<Flow>> {
    let file = path.display().to_string();
    let json: Value = serde_json::from_str(&read(path)?).map_err(|e| {
        Error::invalid(&format!("{file}:{}", e.line()), format!("is not JSON: {}", at_column(&e)))
    })?;
    let all = match json {
        Value::Array(all) => all,
        one => vec![one],
    };
    if all.is_empty() {
        return Err(Error::invalid(&file, "has no flow"));
    }
    let flow = |(i, json): (usize, Value)| {
        let id = json
            .get("id")
            .and_then(Value::as_str)
            .map_or(format!("flow {}", i + 1), |id| format!("flow `{id}`"));
        let place = format!("{file}: {id}");
        let flow = Flow::from_value(json).map_err(|e| Error::invalid(&place, e.chain()))?;
        match flow.check_handlers(&|name| handlers.contains(name)) {
            Ok(()) => Ok(flow),
            Err(error) => {
                let names: Vec<&str> = handlers.all().map(|handler| handler.name.as_str()).collect();
                Err(Error::invalid(&place, format!("{error}; there are {}", names.join(", "))))
            }
        }
    };
    all.into_iter().enumerate().map(flow).collect()
}

/// The orders of a file, at most `limit` of them.
///
/// # Errors
/// Invalid, naming the file and the line.
pub(super) fn read_orders(path: &Path, limit: Option<usize>) -> Result<Vec<Order>> {
    let file = path.display().to_string();
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut orders = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, line) in lines.take(limit.unwrap_or(usize::MAX)) {
        let number = i + 1;
        let order =
            order(number, line).map_err(|problem| Error::invalid(&format!("{file}:{number}"), problem))?;
        if let Some(first) = seen.insert(order.id.clone(), number) {
            let problem = format!("the id `{}` is that of line {first}", order.id);
            return Err(Error::invalid(&format!("{file}:{number}"), problem));
        }
        orders.push(order);
    }
    if orders.is_empty() {
        return Err(Error::invalid(&file, "has no orders: one JSON object a line is expected"));
    }
    Ok(orders)
}

fn order(number: usize, line: &str) -> std::result::Result<Order, String> {
    let json: Value = serde_json::from_str(line).map_err(|e| format!("is not JSON: {}", at_column(&e)))?;
    let Value::Object(mut context) = json else { return Err("is not a JSON object".to_owned()) };
    let id = match context.get("id") {
        None => format!("line-{number}"),
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => return Err("`id` is neither text nor a number".to_owned()),
    };
    context.entry("id").or_insert_with(|| Value::String(id.clone()));
    let expect = match context.get("expect") {
        None => Expect::Completed,
        Some(text) => text.as_str().and_then(Expect::read).ok_or_else(|| {
            format!("`expect` is {text}, not \"completed\", \"cancelled\" or \"failed:CODE\"")
        })?,
    };
    let approve = context.get("approve") != Some(&Value::Bool(false));
    Ok(Order { id, expect, approve, context })
}

/// Without the line, which is said in front.
fn at_column(error: &serde_json::Error) -> String {
    error.to_string().replace(&format!(" at line {} column ", error.line()), " at column ")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|e| Error::invalid(&path.display().to_string(), "cannot be read").with_source(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> std::path::PathBuf {
        crate::root().join("examples/order").join(name)
    }

    #[test]
    fn the_example_can_be_read() {
        let flows = read_flows(&example("flow.json"), &super::super::handlers::known().unwrap()).unwrap();
        assert_eq!(flows[0].id, "order");
        assert!(read_orders(&example("orders.jsonl"), None).unwrap().len() >= 200);
        assert_eq!(read_orders(&example("orders.jsonl"), Some(7)).unwrap().len(), 7);
    }

    #[test]
    fn a_line_says_what_is_expected() {
        let read = |line: &str| order(7, line);
        let plain = read(r#"{"total": 1}"#).unwrap();
        assert_eq!((plain.id.as_str(), plain.approve, plain.expect), ("line-7", true, Expect::Completed));
        assert_eq!(plain.context["id"], "line-7");
        let other = read(r#"{"id": 42, "approve": false, "expect": "failed:NO"}"#).unwrap();
        assert_eq!(
            (other.id.as_str(), other.approve, other.expect.to_string()),
            ("42", false, "failed:NO".to_owned())
        );
        for (line, problem) in [
            ("{", "is not JSON: EOF while parsing an object at column 1"),
            ("[]", "is not a JSON object"),
            (r#"{"id": []}"#, "`id` is neither"),
            (r#"{"expect": "lost"}"#, "`expect` is \"lost\""),
        ] {
            let error = read(line).err().unwrap();
            assert!(error.starts_with(problem), "{error}");
        }
    }
}

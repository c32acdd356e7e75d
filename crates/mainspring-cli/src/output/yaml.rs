//! JSON as YAML: texts as JSON writes them, which YAML reads alike.

use std::fmt::Write;

use serde_json::Value;

/// A document.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out.trim_start_matches('\n').to_owned()
}

/// What follows a key or a dash.
fn write(out: &mut String, value: &Value, depth: usize) {
    let line = |out: &mut String, begin: &str, value: &Value| {
        let _ = write!(out, "\n{}{begin}", "  ".repeat(depth)); // a string takes everything
        write_inner(out, value, depth);
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields
                .iter()
                .for_each(|(key, value)| line(out, &format!("{}:", Value::from(key.as_str())), value));
        }
        Value::Array(items) if !items.is_empty() => items.iter().for_each(|item| line(out, "-", item)),
        simple => {
            let _ = write!(out, "{simple}");
        }
    }
}

fn write_inner(out: &mut String, value: &Value, depth: usize) {
    let is_long = matches!(value, Value::Object(fields) if !fields.is_empty())
        || matches!(value, Value::Array(items) if !items.is_empty());
    if !is_long {
        out.push(' ');
    }
    write(out, value, depth + 1);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_becomes_yaml() {
        let value = json!({"a": [1, {"b": "x: y"}, []], "c": {}, "d": null});
        assert_eq!(text(&value), "\"a\":\n  - 1\n  -\n    \"b\": \"x: y\"\n  - []\n\"c\": {}\n\"d\": null");
    }
}

//! Dotted paths into JSON: `order.lines.0.price`.
//!
//! A segment is a key of an object or an index of an array. A path through something that is neither leads nowhere, which
//! is no error.

use serde_json::{Map, Value};

use crate::{Error, Result, limits};

/// What stands at `path` in `data`; `None` when the path leads nowhere.
pub fn lookup<'a>(data: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(data, |at, segment| match at {
        Value::Object(map) => map.get(segment),
        Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => None,
    })
}

/// [`lookup`] in an object that is held as a map.
pub(super) fn lookup_in<'a>(data: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => data.get(path),
        Some((first, rest)) => data.get(first).and_then(|value| lookup(value, rest)),
    }
}

/// Checks the form: names between single dots.
pub(super) fn check(field: &str, path: &str) -> Result<()> {
    limits::check_id(field, path)?;
    if path.split('.').any(str::is_empty) {
        return Err(Error::invalid(field, format!("`{path}` has an empty part")));
    }
    Ok(())
}

/// The value that has to stand under the first segment of `path` so that `value` stands at its end. Objects on the way are
/// kept or made; anything else on the way is refused, for it would be lost.
pub(super) fn planted<'p>(
    data: &Map<String, Value>,
    path: &'p str,
    value: Value,
) -> Result<(&'p str, Value)> {
    let Some((first, rest)) = path.split_once('.') else { return Ok((path, value)) };
    let mut root = data.get(first).cloned().unwrap_or(Value::Null);
    let mut at = &mut root;
    for segment in rest.split('.') {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else {
            return Err(Error::invalid(
                &format!("context.{path}"),
                format!("there is no object to hold `{segment}`"),
            ));
        };
        at = map.entry(segment).or_insert(Value::Null);
    }
    *at = value;
    Ok((first, root))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_through_objects_and_arrays() {
        // scenario F24
        let data = json!({"a": {"b": [{"c": 1}], "null": null}, "x": 2});
        for (path, expected) in [
            ("x", Some(json!(2))),
            ("a.b.0.c", Some(json!(1))),
            ("a.null", Some(json!(null))),
            ("a.null.c", None),
            ("a.b.1", None),
            ("a.b.c", None),
            ("x.y", None),
            ("", None),
        ] {
            assert_eq!(lookup(&data, path).cloned(), expected, "{path}");
            assert_eq!(lookup_in(data.as_object().unwrap(), path).cloned(), expected, "{path}");
        }
    }

    #[test]
    fn planting_keeps_what_is_there_and_loses_nothing() {
        let data = json!({"a": {"b": 1}, "text": "x", "none": null});
        let data = data.as_object().unwrap();
        for (path, expected) in [
            ("a", ("a", json!(9))),
            ("a.c", ("a", json!({"b": 1, "c": 9}))),
            ("a.b", ("a", json!({"b": 9}))),
            ("new.x.y", ("new", json!({"x": {"y": 9}}))),
            ("none.x", ("none", json!({"x": 9}))),
        ] {
            assert_eq!(planted(data, path, json!(9)).unwrap(), expected);
        }
        let error = planted(data, "text.x", json!(9)).unwrap_err();
        assert_eq!(error.to_string(), "context.text.x: there is no object to hold `x`");
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in ["", ".", "a.", ".a", "a..b", "a\nb"] {
            assert!(check("p", path).unwrap_err().is_invalid(), "{path}");
        }
        check("p", "a.b").unwrap();
    }
}

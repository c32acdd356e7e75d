//! What is refused at the door, before any SQL runs.
//!
//! Postgres cannot store NUL in text or `jsonb`, and what it can store `serde_json` cannot always read back, so every value
//! is checked against one table of limits, and the error names the field and the limit it broke.

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Most bytes of an id a caller chooses.
pub const MAX_ID: usize = 255;
/// Most bytes of a name: queue, event type, handler, step.
pub const MAX_NAME: usize = 128;
/// Most bytes of a stored error text; longer ones are cut.
pub const MAX_ERROR_TEXT: usize = 8 * 1024;
/// Most bytes of one JSON payload.
pub const MAX_PAYLOAD: usize = 1024 * 1024;
/// Most bytes of an execution's whole context as one row holds it.
pub const MAX_CONTEXT: usize = 10 * 1024 * 1024;
/// Most search attributes of one execution.
pub const MAX_ATTRIBUTES: usize = 32;
/// Most bytes of the metadata of an execution, event or token.
pub const MAX_METADATA: usize = 16 * 1024;
/// Most levels of nesting in one JSON payload.
pub const MAX_DEPTH: usize = 64;
/// Most keys over all objects of one JSON payload.
pub const MAX_KEYS: usize = 10_000;
/// Longest duration accepted anywhere: 100 years.
pub const MAX_DURATION: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 24 * 3600);
/// Most attempts a retry policy may ask for.
pub const MAX_ATTEMPTS: u32 = 1_000;

/// Checks an id a caller chose.
///
/// # Errors
/// Invalid, naming `field`: empty, over [`MAX_ID`] bytes, or control characters.
pub fn check_id(field: &str, text: &str) -> Result<()> {
    check_text(field, text, MAX_ID)
}

/// Checks a name such as a queue, an event type or a step id.
///
/// # Errors
/// Invalid, naming `field`: empty, over [`MAX_NAME`] bytes, or control characters.
pub fn check_name(field: &str, text: &str) -> Result<()> {
    check_text(field, text, MAX_NAME)
}

fn check_text(field: &str, text: &str, max: usize) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if text.len() > max {
        return Err(Error::invalid(field, format!("{} bytes, at most {max} are allowed", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, format!("`{}` has control characters", text.escape_debug())));
    }
    Ok(())
}

/// Checks a text for people: at most [`MAX_ERROR_TEXT`] bytes, and no NUL.
///
/// # Errors
/// Invalid, naming `field`.
pub fn check_message(field: &str, text: &str) -> Result<()> {
    if text.len() > MAX_ERROR_TEXT {
        return Err(Error::invalid(
            field,
            format!("{} bytes, at most {MAX_ERROR_TEXT} are allowed", text.len()),
        ));
    }
    check_nul(field, text)
}

/// Checks a duration: not longer than [`MAX_DURATION`].
///
/// # Errors
/// Invalid, naming `field`.
pub fn check_duration(field: &str, duration: std::time::Duration) -> Result<()> {
    if duration > MAX_DURATION {
        return Err(Error::invalid(field, "longer than 100 years"));
    }
    Ok(())
}

/// Checks a number of runs: 1 to [`MAX_ATTEMPTS`].
///
/// # Errors
/// Invalid, naming `field`.
pub fn check_attempts(field: &str, attempts: u32) -> Result<()> {
    if !(1..=MAX_ATTEMPTS).contains(&attempts) {
        return Err(Error::invalid(field, format!("{attempts} is not within 1 to {MAX_ATTEMPTS}")));
    }
    Ok(())
}

/// Checks one JSON payload: size, depth, number of keys, NUL.
///
/// # Errors
/// Invalid, naming `field` and the limit.
pub fn check_json(field: &str, value: &Value) -> Result<()> {
    check_json_within(field, value, MAX_PAYLOAD)
}

/// [`check_json`] with another limit on the size.
///
/// # Errors
/// Invalid, naming `field` and the limit.
pub fn check_json_within(field: &str, value: &Value, max_bytes: usize) -> Result<()> {
    let mut seen = Measure { bytes: 0, keys: 0, depth: 0 };
    seen.walk(field, value, 1)?;
    if seen.bytes > max_bytes {
        return Err(Error::invalid(field, format!("{} bytes, at most {max_bytes} are allowed", seen.bytes)));
    }
    Ok(())
}

/// [`check_json_within`] for an object that is held as a map.
///
/// # Errors
/// Invalid, naming `field` and the limit.
pub fn check_map(field: &str, map: &Map<String, Value>, max_bytes: usize) -> Result<()> {
    if map.is_empty() {
        return Ok(());
    }
    let mut seen = Measure { bytes: 2, keys: map.len(), depth: 1 };
    for (key, value) in map {
        check_nul(field, key)?;
        seen.bytes += key.len() + 4;
        seen.walk(field, value, 2)?;
    }
    if seen.bytes > max_bytes {
        return Err(Error::invalid(field, format!("{} bytes, at most {max_bytes} are allowed", seen.bytes)));
    }
    Ok(())
}

/// Bytes a value takes as compact JSON text, without writing it. Escapes are counted as one byte, numbers as 8.
pub fn json_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| json_size(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter().map(|(key, item)| key.len() + json_size(item) + 4).sum::<usize>() + 2
        }
    }
}

/// Levels of nesting: a scalar has 0, `[]` has 1.
pub fn json_depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(json_depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(json_depth).max().unwrap_or(0),
        _ => 0,
    }
}

struct Measure {
    bytes: usize,
    keys: usize,
    depth: usize,
}

impl Measure {
    fn walk(&mut self, field: &str, value: &Value, depth: usize) -> Result<()> {
        self.depth = self.depth.max(depth);
        if depth > MAX_DEPTH + 1 {
            return Err(Error::invalid(field, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        match value {
            Value::String(text) => {
                self.bytes += text.len() + 2;
                check_nul(field, text)?;
            }
            Value::Array(items) => {
                self.bytes += 2 + items.len();
                for item in items {
                    self.walk(field, item, depth + 1)?;
                }
            }
            Value::Object(map) => {
                self.bytes += 2;
                self.keys += map.len();
                if self.keys > MAX_KEYS {
                    return Err(Error::invalid(field, format!("more than {MAX_KEYS} keys")));
                }
                for (key, item) in map {
                    self.bytes += key.len() + 4;
                    check_nul(field, key)?;
                    self.walk(field, item, depth + 1)?;
                }
            }
            scalar => self.bytes += json_size(scalar),
        }
        Ok(())
    }
}

fn check_nul(field: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(field, "has a NUL character, which Postgres cannot store"));
    }
    Ok(())
}

/// Cuts an error text to [`MAX_ERROR_TEXT`] bytes at a character boundary and drops NUL.
pub fn clip_error(text: &str) -> String {
    let mut text = text.replace('\0', "");
    if text.len() > MAX_ERROR_TEXT {
        let end = (0..=MAX_ERROR_TEXT).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(value: &Value, needle: &str) {
        let error = check_json("input", value).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(needle), "{error}");
        assert!(error.to_string().starts_with("input: "), "{error}");
    }

    #[test]
    fn json_is_refused_with_the_field_and_the_limit() {
        refused(&json!("a\0b"), "NUL");
        refused(&json!({"a\0b": 1}), "NUL");
        refused(&json!("x".repeat(MAX_PAYLOAD)), "at most 1048576");
        let deep = (0..=MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        refused(&deep, "deeper than 64");
        let fits = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        check_json("input", &fits).unwrap();
        let wide: serde_json::Map<_, _> = (0..=MAX_KEYS).map(|i| (i.to_string(), json!(1))).collect();
        refused(&Value::Object(wide), "10000 keys");
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("queue", "").is_err());
        assert!(check_name("queue", &"x".repeat(129)).is_err());
        assert!(check_name("queue", "a\nb").is_err());
        check_name("queue", "überweisung").unwrap();
    }

    #[test]
    fn sizes_and_depths_are_measured() {
        // scenario F28
        assert_eq!(json_size(&json!("ab")), 4);
        assert_eq!(json_size(&json!(true)), 4);
        assert_eq!(json_depth(&json!(1)), 0);
        assert_eq!(json_depth(&json!([])), 1);
        assert_eq!(json_depth(&json!({"a": [{"b": 1}]})), 3);
    }
}

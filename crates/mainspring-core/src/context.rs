//! The limits of an execution's context, and values that live beside it.
//!
//! The limits are FlowMonkey's: a value of 1 MB, 10 MB in all, 500 keys, 15 levels. What does not fit goes to the context
//! store, and the context keeps a [`ContextRef`] to it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, ExecutionId, Result, Timestamp, limits};

/// What a context may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextLimits {
    /// Most bytes of one value. Defaults to 1 MiB.
    pub max_value_bytes: usize,
    /// Most bytes of all values. Defaults to 10 MiB.
    pub max_total_bytes: usize,
    /// Most keys. Defaults to 500.
    pub max_keys: usize,
    /// Most levels of nesting of one value. Defaults to 15.
    pub max_depth: usize,
}

impl Default for ContextLimits {
    fn default() -> Self {
        Self {
            max_value_bytes: limits::MAX_PAYLOAD,
            max_total_bytes: limits::MAX_CONTEXT,
            max_keys: 500,
            max_depth: 15,
        }
    }
}

impl ContextLimits {
    /// Puts `value` under `key` if everything still fits. Overwriting a key is not a new key.
    ///
    /// # Errors
    /// Invalid: `context.<key>` with the limit that was broken, or `context` for the limits on the whole. Nothing is
    /// changed then.
    pub fn set(&self, context: &mut Map<String, Value>, key: &str, value: Value) -> Result<()> {
        self.check_value(key, &value)?;
        let old = context.get(key);
        if old.is_none() && context.len() >= self.max_keys {
            return Err(Error::invalid("context", format!("more than {} keys", self.max_keys)));
        }
        let others: usize =
            context.iter().filter(|(k, _)| k.as_str() != key).map(|(_, v)| limits::json_size(v)).sum();
        let total = others + limits::json_size(&value);
        if total > self.max_total_bytes {
            return Err(Error::invalid(
                "context",
                format!("{total} bytes, at most {} are allowed", self.max_total_bytes),
            ));
        }
        context.insert(key.to_owned(), value);
        Ok(())
    }

    /// Checks a whole context.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn check(&self, context: &Map<String, Value>) -> Result<()> {
        if context.len() > self.max_keys {
            return Err(Error::invalid("context", format!("more than {} keys", self.max_keys)));
        }
        let mut total = 0;
        for (key, value) in context {
            self.check_value(key, value)?;
            total += limits::json_size(value);
        }
        if total > self.max_total_bytes {
            return Err(Error::invalid(
                "context",
                format!("{total} bytes, at most {} are allowed", self.max_total_bytes),
            ));
        }
        Ok(())
    }

    fn check_value(&self, key: &str, value: &Value) -> Result<()> {
        limits::check_id("context key", key)?;
        let field = format!("context.{key}");
        limits::check_json_within(&field, value, self.max_value_bytes)?;
        let depth = limits::json_depth(value);
        if depth > self.max_depth {
            return Err(Error::invalid(
                &field,
                format!("nested {depth} levels, at most {} are allowed", self.max_depth),
            ));
        }
        Ok(())
    }
}

/// What stands in a context for a value that lives beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextRef {
    /// `storage://<execution>/<key>`.
    #[serde(rename = "_ref")]
    pub reference: String,
    /// A short description: the first 200 characters, `Array(n)`, or the first five keys.
    pub summary: String,
    /// Bytes of the value as JSON text.
    pub size: usize,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl ContextRef {
    /// The reference for `value` of `execution` under `key`.
    pub fn to(execution: &ExecutionId, key: &str, value: &Value, created_at: Timestamp) -> Self {
        Self {
            reference: format!("storage://{execution}/{key}"),
            summary: summary(value),
            size: limits::json_size(value),
            created_at,
        }
    }
}

fn summary(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(200).collect(),
        Value::Array(items) => format!("Array({})", items.len()),
        Value::Object(map) => {
            let keys: Vec<&str> = map.keys().take(5).map(String::as_str).collect();
            let more = if map.len() > 5 { ", …" } else { "" };
            format!("{{{}{more}}}", keys.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SMALL: ContextLimits =
        ContextLimits { max_value_bytes: 20, max_total_bytes: 30, max_keys: 2, max_depth: 2 };

    #[test]
    fn each_limit_has_its_own_error() {
        // scenario F27
        let mut context = Map::new();
        let mut refused = |key: &str, value: Value, text: &str| {
            let error = SMALL.set(&mut context, key, value).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains(text), "{error}");
        };
        refused("a", json!("x".repeat(30)), "context.a: 32 bytes, at most 20");
        refused("a", json!([[[1]]]), "nested 3 levels, at most 2");
        SMALL.set(&mut context, "a", json!("0123456789")).unwrap();
        SMALL.set(&mut context, "b", json!("0123456789")).unwrap();
        assert!(SMALL.set(&mut context, "c", json!(1)).unwrap_err().to_string().contains("more than 2 keys"));
        assert!(
            SMALL
                .set(&mut context, "a", json!("0123456789abcdefg"))
                .unwrap_err()
                .to_string()
                .contains("31 bytes")
        );
    }

    #[test]
    fn overwriting_is_no_new_key_and_removing_frees_the_budget() {
        // scenario F27
        let mut context = Map::new();
        SMALL.set(&mut context, "a", json!(1)).unwrap();
        SMALL.set(&mut context, "b", json!(2)).unwrap();
        SMALL.set(&mut context, "a", json!("0123456789")).unwrap();
        context.remove("a");
        SMALL.set(&mut context, "c", json!("0123456789")).unwrap();
        SMALL.check(&context).unwrap();
        assert_eq!(ContextLimits::default().max_depth, 15);
    }

    #[test]
    fn a_reference_describes_its_value() {
        let id = ExecutionId::new("e1").unwrap();
        let summary = |value| ContextRef::to(&id, "k", &value, Timestamp::MIN).summary;
        assert_eq!(summary(json!([1, 2])), "Array(2)");
        assert_eq!(summary(json!({"a":1,"b":1,"c":1,"d":1,"e":1,"f":1})), "{a, b, c, d, e, …}");
        assert_eq!(summary(json!("x".repeat(300))).len(), 200);
        assert_eq!(ContextRef::to(&id, "k", &json!(1), Timestamp::MIN).reference, "storage://e1/k");
    }
}

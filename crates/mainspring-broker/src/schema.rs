//! What the data of an event must be like.

use std::{fmt, sync::Arc};

use mainspring_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

type Check = dyn Fn(&Value) -> std::result::Result<(), String> + Send + Sync;

/// What data must be like: anything, a Rust type, or a JSON Schema.
#[derive(Clone, Default)]
pub struct Schema(Option<Arc<Check>>);

impl Schema {
    /// Any object.
    pub fn any() -> Self {
        Self(None)
    }

    /// Whatever reads as a `T`.
    pub fn of<T: DeserializeOwned>() -> Self {
        Self(Some(Arc::new(|data| T::deserialize(data).map(drop).map_err(|error| error.to_string()))))
    }

    /// Whatever a JSON Schema accepts.
    ///
    /// # Errors
    /// Invalid, when it is no schema.
    #[cfg(feature = "json-schema")]
    pub fn json(schema: &Value) -> Result<Self> {
        let validator =
            jsonschema::validator_for(schema).map_err(|error| Error::invalid("schema", error.to_string()))?;
        Ok(Self(Some(Arc::new(move |data| {
            validator.validate(data).map_err(|error| format!("{error} at `{}`", error.instance_path()))
        }))))
    }

    /// Checks an object.
    ///
    /// # Errors
    /// Invalid, naming `field` and what does not fit.
    pub fn check(&self, field: &str, data: &Map<String, Value>) -> Result<()> {
        let Some(check) = &self.0 else { return Ok(()) };
        check(&Value::Object(data.clone())).map_err(|problem| Error::invalid(field, problem))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Schema(checked)" } else { "Schema(any)" })
    }
}

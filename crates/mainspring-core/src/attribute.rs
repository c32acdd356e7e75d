//! Search attributes: small typed values by which executions are found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Timestamp, limits};

/// Search attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// One value of a search attribute. As JSON it is that value; a time is its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number; never infinite, never NaN.
    Number(f64),
    /// A text of at most 255 bytes.
    Text(String),
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Attribute {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for Attribute {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Attribute {
    /// A whole number is the same attribute whichever type it came from.
    fn from(value: f64) -> Self {
        /// Whole numbers up to here are exact in an `f64`.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= EXACT {
            #[allow(clippy::cast_possible_truncation, reason = "whole and within the range")]
            return Self::Integer(value as i64);
        }
        Self::Number(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Timestamp> for Attribute {
    fn from(value: Timestamp) -> Self {
        Self::Text(value.to_string())
    }
}

/// Checks names and values.
///
/// # Errors
/// Invalid: more than 32 of them, a name that is none, a text that is empty or over 255 bytes, a number that is not finite.
pub fn check_attributes(attributes: &Attributes) -> Result<()> {
    if attributes.len() > limits::MAX_ATTRIBUTES {
        let problem = format!("{} are over {}", attributes.len(), limits::MAX_ATTRIBUTES);
        return Err(Error::invalid("execution.attributes", problem));
    }
    for (name, value) in attributes {
        limits::check_name("execution.attributes", name)?;
        match value {
            Attribute::Text(text) => limits::check_id(&format!("execution.attributes.{name}"), text)?,
            Attribute::Number(number) if !number.is_finite() => {
                return Err(Error::invalid(&format!("execution.attributes.{name}"), "is not finite"));
            }
            Attribute::Bool(_) | Attribute::Integer(_) | Attribute::Number(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_after_a_round_through_json() {
        for value in [
            true.into(),
            5_i64.into(),
            2.5.into(),
            5.0.into(),
            1e300.into(),
            "5".into(),
            Timestamp::MIN.into(),
        ] {
            let value: Attribute = value;
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Attribute>(&json).unwrap(), value, "{json}");
        }
        assert_eq!(Attribute::from(5.0), Attribute::from(5_i64));
    }

    #[test]
    fn what_cannot_be_searched_for_is_refused() {
        let refused = |name: &str, value: Attribute| {
            check_attributes(&Attributes::from([(name.to_owned(), value)])).unwrap_err().is_invalid()
        };
        assert!(refused("a", f64::NAN.into()) && refused("a", "x".repeat(256).into()));
        assert!(refused("", 1.into()) && refused("a", "".into()));
        let many = (0..33).map(|n| (n.to_string(), n.into())).collect();
        assert!(check_attributes(&many).unwrap_err().is_invalid());
    }
}

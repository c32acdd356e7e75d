//! What is said of a thing, once for tables, JSON and lines of JSON.

use serde_json::Value;

/// Where a column is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Everywhere.
    Always,
    /// Everywhere but in tables of many.
    Details,
    /// Only where payloads are asked for.
    Data,
}

/// One thing that is said of a `T`.
pub(crate) struct Column<T> {
    /// Its name in JSON; in tables with spaces for `_`.
    pub(crate) name: &'static str,
    pub(crate) show: Show,
    pub(crate) value: fn(&T) -> Value,
}

/// A column that is always shown.
pub(crate) const fn col<T>(name: &'static str, value: fn(&T) -> Value) -> Column<T> {
    Column { name, show: Show::Always, value }
}

/// A column that tables of many leave out.
pub(crate) const fn detail<T>(name: &'static str, value: fn(&T) -> Value) -> Column<T> {
    Column { name, show: Show::Details, value }
}

/// A payload.
pub(crate) const fn data<T>(name: &'static str, value: fn(&T) -> Value) -> Column<T> {
    Column { name, show: Show::Data, value }
}

/// Whatever can be written as text.
pub(crate) fn text(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

/// The same, or nothing.
pub(crate) fn maybe(value: Option<impl std::fmt::Display>) -> Value {
    value.map_or(Value::Null, text)
}

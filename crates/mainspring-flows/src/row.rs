//! Between a row of `flows` and a [`Flow`].

use mainspring_core::{Error, Flow, Result, flow::FlowStatus};
use mainspring_pg::{FromSql, Row};
use serde_json::Value;

/// One version of one flow, without its definition.
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) published: bool,
}

/// Reads `id, version, status`.
pub(crate) fn version_from_row(row: &Row) -> Result<Version> {
    let published = get::<&str>(row, 2)? == FlowStatus::Published.as_str();
    Ok(Version { id: get(row, 0)?, version: get(row, 1)?, published })
}

/// Reads `id, version, definition`. It was validated when it was saved, and stays readable when the rules grow stricter.
pub(crate) fn flow_from_row(row: &Row) -> Result<Flow> {
    serde_json::from_value(get::<Value>(row, 2)?).map_err(|e| unreadable(row, 2).with_source(e))
}

/// One column, or an error that names it and its flow.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|e| unreadable(row, index).with_source(e))
}

fn unreadable(row: &Row, index: usize) -> Error {
    let name = |index| row.try_get::<_, &str>(index).unwrap_or("?");
    let column = row.columns().get(index).map_or("?", |column| column.name());
    Error::internal(format!("{column} of flow `{}@{}` cannot be read", name(0), name(1)))
}

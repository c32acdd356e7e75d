//! Between a row of `flows` and a [`Flow`].

use mainspring_core::{Flow, Result};
use mainspring_pg::{
    Row,
    row::{get, unreadable},
};
use serde_json::Value;

/// One version of one flow, without its definition.
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) status: String,
    pub(crate) tags: Vec<String>,
}

/// Reads `id, version, status, tags`.
pub(crate) fn version_from_row(row: &Row) -> Result<Version> {
    Ok(Version { id: get(row, 0)?, version: get(row, 1)?, status: get(row, 2)?, tags: get(row, 3)? })
}

/// Reads `id, version, definition`. It was validated when it was saved, and stays readable when the rules grow stricter.
pub(crate) fn flow_from_row(row: &Row) -> Result<Flow> {
    serde_json::from_value(get::<Value>(row, 2)?).map_err(|e| unreadable(row, 2).with_source(e))
}

//! What a schema consists of, as the server's catalog has it. `expected.json` is what the migrations add up to; `cargo xtask schema`
//! writes it and `cargo xtask schema --check` keeps it true.

mod read;

use std::collections::BTreeMap;

use mainspring_core::{Error, Result};
use mainspring_pg::Names;
use serde::{Deserialize, Serialize};

pub(crate) use read::functions;
pub use read::{read, recorded};

/// Names here have no prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Tables, partitions of our own among them.
    pub tables: BTreeMap<String, Table>,
    /// Views with their columns and types, in order.
    pub views: BTreeMap<String, Vec<(String, String)>>,
    /// Sequences that belong to no column.
    pub sequences: Vec<String>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Name and definition.
    pub constraints: BTreeMap<String, String>,
    /// Those that are no constraint's.
    pub indexes: BTreeMap<String, Index>,
    /// Name, and what comes after it in the definition.
    pub triggers: BTreeMap<String, String>,
    /// `UNLOGGED`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub persistence: String,
    /// Storage parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// `LIST (partition)`, for a table with partitions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub partitioned_by: String,
    /// Table and `FOR VALUES …`, for a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_of: Option<(String, String)>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as the server writes it.
    pub kind: String,
    /// ` COLLATE …`, where it is not the type's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub collation: String,
    /// Whether it is never NULL.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_null: bool,
    /// `DEFAULT …` or `GENERATED …`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Whether it allows no two equal rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
    /// Method, columns and condition: `btree (status, created_at)`.
    pub on: String,
    /// Whether it is finished.
    #[serde(skip, default)]
    pub invalid: bool,
}

/// The schema and prefix of the recorded catalog; in the file they are `«s»` and `«p»`.
const RECORDED: (&str, &str) = ("recorded_schema", "recorded_prefix_");
const EXPECTED: &str = include_str!("expected.json");

/// What a database with these names should have. `schema` is its schema as the server writes it.
pub(crate) fn expected(names: &Names, schema: &str) -> Result<Catalog> {
    let text = EXPECTED.replace("«s»", &schema.replace('"', "\\\"")).replace("«p»", names.prefix());
    serde_json::from_str(&text)
        .map_err(|error| Error::internal("the record of the schema cannot be read").with_source(error))
}

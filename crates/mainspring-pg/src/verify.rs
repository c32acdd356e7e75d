//! Compares the database with the tables, columns and types the migrations of this binary add up to.

use mainspring_core::{Error, ErrorKind, Result};
use tokio_postgres::Client;

use crate::{error::failed, migrate::TABLES, names::Names};

/// What is wrong with each expected column, from the catalog, which every role may read.
const COLUMNS: &str = "SELECT want.relname, want.attname, want.typname, c.oid IS NOT NULL, \
      format_type(a.atttypid, a.atttypmod) \
    FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS want (relname, attname, typname, place) \
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1::text \
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = want.relname AND c.relkind IN ('r', 'p') \
    LEFT JOIN pg_catalog.pg_attribute a \
      ON a.attrelid = c.oid AND a.attname = want.attname AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE c.oid IS NULL OR (want.attname <> '' \
      AND (a.attname IS NULL OR to_regtype(want.typname) IS DISTINCT FROM a.atttypid::regtype)) \
    ORDER BY want.place";

/// `pending` migrations count as a problem of their own.
pub(crate) async fn check(client: &Client, names: &Names, pending: usize) -> Result<()> {
    let (mut tables, mut columns, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for (table, expected) in TABLES {
        // The row without a column asks for the table itself.
        for (column, kind) in std::iter::once(&("", "")).chain(*expected) {
            tables.push(format!("{}{table}", names.prefix()));
            columns.push(*column);
            types.push(names.expand(kind));
        }
    }
    let rows = client
        .query(COLUMNS, &[&names.schema(), &tables, &columns, &types])
        .await
        .map_err(|error| failed("checking the schema", error))?;
    let mut problems = Vec::new();
    if pending > 0 {
        problems.push(format!("{pending} migrations are pending"));
    }
    for row in &rows {
        let (table, column, kind): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let there: bool = row.get(3);
        let found: Option<&str> = row.get(4);
        match found {
            Some(found) => problems.push(format!("column {table}.{column} is {found}, not {kind}")),
            None if there => problems.push(format!("column {table}.{column} ({kind}) is missing")),
            None if column.is_empty() => problems.push(format!("table {table} is missing")),
            None => {} // said for the table already
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let (schema, list) = (names.schema(), problems.join("; "));
    Err(Error::new(ErrorKind::Schema, format!("schema `{schema}`: {list}; run `mainspring migrate up`")))
}

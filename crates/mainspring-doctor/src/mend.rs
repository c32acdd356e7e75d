//! SQL that puts a schema right. It is printed, never run.

use std::fmt::Write;

use mainspring_pg::Names;

use crate::catalog::{Column, Index, Table};

/// An identifier in quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of an index or constraint.
fn prefixed(names: &Names, name: &str) -> String {
    quoted(&format!("{}{name}", names.prefix()))
}

pub(crate) fn create_table(names: &Names, name: &str, table: &Table) -> String {
    let unlogged = if table.persistence.is_empty() { "" } else { "UNLOGGED " };
    let mut sql = format!("CREATE {unlogged}TABLE {}", names.table(name));
    if let Some((parent, bound)) = &table.partition_of {
        let _ = write!(sql, " PARTITION OF {} {bound};", names.table(parent)); // a string takes everything
        return sql;
    }
    let mut parts: Vec<String> = table.columns.iter().map(definition).collect();
    for (constraint, text) in &table.constraints {
        parts.push(format!("CONSTRAINT {} {text}", prefixed(names, constraint)));
    }
    let _ = write!(sql, " (\n  {}\n)", parts.join(",\n  "));
    if !table.partitioned_by.is_empty() {
        let _ = write!(sql, " PARTITION BY {}", table.partitioned_by);
    }
    if !table.options.is_empty() {
        let _ = write!(sql, " WITH ({})", table.options.join(", "));
    }
    sql.push(';');
    for (index, what) in &table.indexes {
        sql += &format!("\n{}", create_index(names, name, index, what, false));
    }
    for (trigger, text) in &table.triggers {
        sql += &format!("\n{}", create_trigger(names, trigger, text));
    }
    sql
}

fn definition(column: &Column) -> String {
    let mut sql = format!("{} {}", quoted(&column.name), column.kind);
    if !column.collation.is_empty() {
        let _ = write!(sql, " COLLATE {}", column.collation);
    }
    if column.not_null {
        sql += " NOT NULL";
    }
    if !column.value.is_empty() {
        let _ = write!(sql, " {}", column.value);
    }
    sql
}

pub(crate) fn add_column(names: &Names, table: &str, column: &Column) -> String {
    let sql = format!("ALTER TABLE {} ADD COLUMN {};", names.table(table), definition(column));
    if column.not_null && column.value.is_empty() {
        return format!(
            "-- Rows that are there need a value first: add it without NOT NULL, fill it, then SET NOT NULL.\n{sql}"
        );
    }
    sql
}

/// What makes `found` what it should be.
pub(crate) fn alter_column(names: &Names, table: &str, want: &Column, found: &Column) -> String {
    let alter = format!("ALTER TABLE {} ALTER COLUMN {}", names.table(table), quoted(&want.name));
    if want.value.starts_with("GENERATED") || found.value.starts_with("GENERATED") {
        return format!(
            "-- A generated column cannot be altered in place: drop it and add it again.\n-- {}",
            definition(want)
        );
    }
    let mut sql = Vec::new();
    if (&want.kind, &want.collation) != (&found.kind, &found.collation) {
        let collation =
            if want.collation.is_empty() { String::new() } else { format!(" COLLATE {}", want.collation) };
        sql.push(format!(
            "{alter} TYPE {}{collation} USING {}::{};",
            want.kind,
            quoted(&want.name),
            want.kind
        ));
    }
    if want.value != found.value {
        sql.push(if want.value.is_empty() {
            format!("{alter} DROP DEFAULT;")
        } else {
            format!("{alter} SET {};", want.value)
        });
    }
    if want.not_null != found.not_null {
        sql.push(format!("{alter} {} NOT NULL;", if want.not_null { "SET" } else { "DROP" }));
    }
    sql.join("\n")
}

pub(crate) fn add_constraint(names: &Names, table: &str, name: &str, text: &str) -> String {
    format!("ALTER TABLE {} ADD CONSTRAINT {} {text};", names.table(table), prefixed(names, name))
}

pub(crate) fn replace_constraint(names: &Names, table: &str, name: &str, text: &str) -> String {
    let (table_name, constraint) = (names.table(table), prefixed(names, name));
    format!("ALTER TABLE {table_name} DROP CONSTRAINT {constraint}, ADD CONSTRAINT {constraint} {text};")
}

pub(crate) fn create_index(names: &Names, table: &str, name: &str, index: &Index, live: bool) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let concurrently = if live { "CONCURRENTLY " } else { "" };
    format!(
        "CREATE {unique}INDEX {concurrently}{} ON {} USING {};",
        prefixed(names, name),
        names.table(table),
        index.on
    )
}

/// For one that is wrong or unfinished.
pub(crate) fn replace_index(names: &Names, table: &str, name: &str, index: &Index, live: bool) -> String {
    let concurrently = if live { "CONCURRENTLY " } else { "" };
    let drop = format!("DROP INDEX {concurrently}{};", names.table(name));
    format!("{drop}\n{}", create_index(names, table, name, index, live))
}

pub(crate) fn create_trigger(names: &Names, name: &str, text: &str) -> String {
    format!("CREATE TRIGGER {} {text};", prefixed(names, name))
}

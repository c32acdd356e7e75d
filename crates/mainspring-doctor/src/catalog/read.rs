//! Reads a catalog. Everything is asked with an empty search path, so that the server writes all names in full.

use std::collections::BTreeMap;

use mainspring_core::{Error, Result};
use mainspring_pg::{Db, Migrator, Names, Prefix, Row, Schema, Settings, pool, row::get};

use super::{Catalog, Column, Index, RECORDED, Table};

/// What is there under these names. A table of somebody else's that begins with the prefix is in it, too.
///
/// # Errors
/// As [`Db::run`].
pub async fn read(db: &Db<'_>) -> Result<Catalog> {
    let (schema, prefix) = (db.names().schema().to_owned(), db.names().prefix().to_owned());
    let catalog = db.with_tx(async |tx| {
        tx.exec("SELECT set_config('search_path', '', true)", &[]).await?;
        let ask = async |sql: &'static str| tx.all(sql, &[&schema, &prefix]).await;
        let mut catalog = Catalog::default();
        for row in ask(RELATIONS).await? {
            relation(&mut catalog, &row)?;
        }
        for row in ask(COLUMNS).await? {
            column(&mut catalog, &row)?;
        }
        for row in ask(CONSTRAINTS).await? {
            let (table, name, text) = three(&row)?;
            of(&mut catalog, &table).constraints.insert(name, text);
        }
        for row in ask(INDEXES).await? {
            let (table, name, on) = three(&row)?;
            let index = Index { unique: get(&row, 3)?, on, invalid: get(&row, 4)? };
            of(&mut catalog, &table).indexes.insert(name, index);
        }
        for row in ask(TRIGGERS).await? {
            let (table, name, text) = three(&row)?;
            of(&mut catalog, &table).triggers.insert(name, text);
        }
        Ok(catalog)
    });
    catalog.await
}

/// Names and bodies of the functions under these names.
pub(crate) async fn functions(db: &Db<'_>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in db.all(FUNCTIONS, &[&db.names().schema(), &db.names().prefix()]).await? {
        found.entry(get(&row, 0)?).or_default().push(get(&row, 1)?);
    }
    Ok(found)
}

/// The text of `expected.json`, from a database that is made for it and dropped.
///
/// # Errors
/// As [`Migrator::up`].
pub async fn recorded(settings: &Settings) -> Result<String> {
    let names = Names::new(Schema::new(RECORDED.0)?, Prefix::new(RECORDED.1)?);
    Migrator::new(settings.clone(), names.clone()).up().await?;
    let db = Db::new(pool(settings, 1)?, names);
    let catalog = read(&db).await?;
    db.exec("DROP SCHEMA {schema} CASCADE", &[]).await?;
    let text = serde_json::to_string_pretty(&catalog)
        .map_err(|error| Error::internal("writing the catalog").with_source(error))?;
    Ok(text.replace(RECORDED.0, "«s»").replace(RECORDED.1, "«p»") + "\n")
}

fn of<'c>(catalog: &'c mut Catalog, table: &str) -> &'c mut Table {
    catalog.tables.entry(table.to_owned()).or_default()
}

fn three(row: &Row) -> Result<(String, String, String)> {
    Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))
}

fn relation(catalog: &mut Catalog, row: &Row) -> Result<()> {
    let (name, kind): (String, String) = (get(row, 0)?, get(row, 1)?);
    match kind.as_str() {
        "S" => catalog.sequences.push(name),
        "v" => drop(catalog.views.insert(name, Vec::new())),
        _ => {
            let (parent, bound): (String, String) = (get(row, 5)?, get(row, 6)?);
            let table = Table {
                persistence: get(row, 2)?,
                options: get(row, 3)?,
                partitioned_by: get(row, 4)?,
                partition_of: (!parent.is_empty()).then_some((parent, bound)),
                ..Table::default()
            };
            catalog.tables.insert(name, table);
        }
    }
    Ok(())
}

fn column(catalog: &mut Catalog, row: &Row) -> Result<()> {
    let (relation, name, kind) = three(row)?;
    if let Some(columns) = catalog.views.get_mut(&relation) {
        columns.push((name, kind));
    } else if let Some(table) = catalog.tables.get_mut(&relation) {
        let column =
            Column { name, kind, collation: get(row, 3)?, not_null: get(row, 4)?, value: get(row, 5)? };
        table.columns.push(column);
    }
    Ok(())
}

/// What is ours: in the schema, with the prefix, which is taken off.
macro_rules! ours {
    ($what:literal, $rest:literal) => {
        concat!(
            "SELECT substr(c.relname, length($2::text) + 1), ",
            $what,
            " WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = $1::text)
                AND starts_with(c.relname, $2::text) AND c.relname <> $2::text || 'schema_history' ",
            $rest
        )
    };
}

const RELATIONS: &str = ours!(
    "c.relkind::text, CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE '' END, coalesce(c.reloptions, '{}'),
      coalesce(pg_get_partkeydef(c.oid), ''), coalesce(substr(p.relname, length($2::text) + 1), ''),
      coalesce(pg_get_expr(c.relpartbound, c.oid), '')
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
    LEFT JOIN pg_catalog.pg_class p ON p.oid = i.inhparent",
    "AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
       WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i' AND c.relkind = 'S')
     ORDER BY c.relname"
);

const COLUMNS: &str = ours!(
    "a.attname::text, format_type(a.atttypid, a.atttypmod),
      CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text ELSE '' END, a.attnotnull,
      CASE WHEN a.attidentity = 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
        WHEN a.attidentity = 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY'
        WHEN a.attgenerated = 's' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') STORED'
        ELSE coalesce('DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum",
    "AND c.relkind IN ('r', 'p', 'v') ORDER BY c.relname, a.attnum"
);

/// Those of a partition are its table's.
const CONSTRAINTS: &str = ours!(
    "substr(k.conname, length($2::text) + 1), pg_get_constraintdef(k.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype <> 'n'",
    "AND NOT c.relispartition ORDER BY 1, 2"
);

const INDEXES: &str = ours!(
    "substr(x.relname, length($2::text) + 1), regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE .*? USING ', ''),
      i.indisunique, NOT i.indisvalid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indrelid = c.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid",
    "AND NOT c.relispartition AND starts_with(x.relname, $2::text)
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid) ORDER BY 1, 2"
);

const TRIGGERS: &str = ours!(
    "substr(t.tgname, length($2::text) + 1), regexp_replace(pg_get_triggerdef(t.oid), '^CREATE TRIGGER \\S+ ', '')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal",
    "AND NOT c.relispartition ORDER BY 1, 2"
);

const FUNCTIONS: &str = "SELECT substr(p.proname, length($2::text) + 1), p.prosrc FROM pg_catalog.pg_proc p
  WHERE p.pronamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = $1::text)
    AND starts_with(p.proname, $2::text)";

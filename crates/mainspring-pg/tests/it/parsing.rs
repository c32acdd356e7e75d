//! What the build script reads from migrations.

#[path = "../../build/parse.rs"]
#[allow(dead_code)]
mod parse;

use parse::Schema;

fn read(texts: &[&str]) -> Schema {
    let mut schema = Schema::default();
    texts.iter().for_each(|sql| schema.read(sql).unwrap());
    schema
}

#[test]
fn tables_columns_and_types_are_found() {
    let schema = read(&["-- CREATE TABLE {comment} (a int);
        CREATE TABLE IF NOT EXISTS {jobs} (
          id text COLLATE \"C\" PRIMARY KEY, -- the id; of a job
          state text NOT NULL CHECK (state IN ('a,b', 'c;d')),
          amount numeric(10, 2) DEFAULT 0,
          at timestamp with time zone, tags text[] NOT NULL, seq bigserial,
          total int GENERATED ALWAYS AS (1 + 1) STORED,
          PRIMARY KEY (id, state), CONSTRAINT {prefix}jobs_check CHECK (id <> ''), UNIQUE (id)
        ) WITH (fillfactor = 60);
        CREATE FUNCTION {now}() RETURNS int LANGUAGE sql AS $body$ CREATE TABLE {inside} (x int); $body$;
        CREATE TABLE {jobs_old} PARTITION OF {jobs} FOR VALUES IN ('x');
        CREATE SEQUENCE {schema}.{prefix}a_longer_name;"]);
    let (name, columns) = &schema.tables[0];
    let columns: Vec<(&str, &str)> = columns.iter().map(|(name, kind)| (&**name, &**kind)).collect();
    assert_eq!(name, "jobs");
    let want = [
        ("id", "text"),
        ("state", "text"),
        ("amount", "numeric(10, 2)"),
        ("at", "timestamp with time zone"),
        ("tags", "text[]"),
        ("seq", "bigint"),
        ("total", "int"),
    ];
    assert_eq!(columns, want);
    assert_eq!(schema.tables[1], ("jobs_old".into(), vec![]));
    assert_eq!(schema.tables.len(), 2);
    let others: Vec<(&str, &str)> = schema.others.iter().map(|(kind, name)| (&**kind, &**name)).collect();
    assert_eq!(others, [("FUNCTION", "now"), ("SEQUENCE", "a_longer_name")]);
    assert_eq!(schema.longest_suffix, "a_longer_name".len());
}

#[test]
fn later_migrations_change_what_earlier_ones_made() {
    let schema = read(&[
        "CREATE TABLE {a} (x int, y int, z int); CREATE TABLE {b} (x int); CREATE SEQUENCE {s}",
        "ALTER TABLE {a} ADD COLUMN IF NOT EXISTS w numeric(3, 1) NOT NULL DEFAULT 0, DROP COLUMN y;
         ALTER TABLE {a} RENAME COLUMN x TO v; ALTER TABLE {a} ALTER COLUMN z SET DATA TYPE bigint USING z::bigint;
         ALTER TABLE {a} ADD CONSTRAINT {prefix}a_check CHECK (v > 0); DROP TABLE {b}; DROP SEQUENCE IF EXISTS {s};",
    ]);
    let columns: Vec<String> =
        schema.tables[0].1.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(columns, ["v int", "z bigint", "w numeric(3, 1)"]);
    assert_eq!((schema.tables.len(), schema.others.len()), (1, 0));
    assert!(Schema::default().read("ALTER TABLE {nowhere} ADD COLUMN x int").is_err());
}

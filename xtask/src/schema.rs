//! `cargo xtask schema`: docs/SCHEMA.md and what the doctor compares with, read from the catalogue of a freshly migrated database.

use std::{error::Error, fmt::Write as _, fs, process::ExitCode};

use mainspring_embedded::Options;
use mainspring_pg::{Migrator, Names, Prefix, Schema, Settings};
use tokio_postgres::Client;

use crate::{Outcome, server};

#[derive(clap::Args)]
pub struct Args {
    /// Fail when they are not what would be written.
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Outcome {
    let server = server::find(None, Options::throwaway())?;
    let (text, record) = crate::block_on(describe(&server.url()))??;
    let files = [("docs/SCHEMA.md", text), ("crates/mainspring-doctor/src/catalog/expected.json", record)];
    for (name, text) in files {
        let path = crate::root().join(name);
        if !args.check {
            fs::write(&path, text)?;
            println!("wrote {}", path.display());
        } else if fs::read_to_string(&path).unwrap_or_default() == text {
            println!("{name} is fresh");
        } else {
            eprintln!("error: {name} is out of date: run `cargo xtask schema`");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

const SCHEMA: &str = "schema_doc";

const TABLES: &str = "SELECT c.relname::text, c.oid FROM pg_catalog.pg_class c
  WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = ANY ($2::text::\"char\"[]) AND NOT c.relispartition
    AND c.relname <> 'schema_history' ORDER BY c.relname";

const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    coalesce(pg_get_expr(d.adbin, d.adrelid), '')
  FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const RULES: &str = "SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint
  WHERE conrelid = $1 AND contype <> 'n'
  UNION ALL SELECT c.relname || ': ' || regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX .* USING ', '\\1')
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  WHERE i.indrelid = $1 AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = $1)
  UNION ALL SELECT 'partition ' || c.relname || ': ' || pg_get_expr(c.relpartbound, c.oid)
  FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
  WHERE h.inhparent = $1 AND c.relkind = 'r' ORDER BY 1";

/// The page, and what the doctor compares with.
async fn describe(url: &str) -> Result<(String, String), Box<dyn Error>> {
    let settings = Settings::parse(url)?;
    Migrator::new(settings.clone(), Names::new(Schema::new(SCHEMA)?, Prefix::new("")?)).up().await?;
    let client = settings.connect().await?;
    let mut text = String::from(
        "# Schema\n\nWritten by `cargo xtask schema` from a migrated database; `cargo xtask schema --check` keeps it true. \
         Names are without\ntheir prefix. Why things are as they are stands in `migrations/`.\n",
    );
    for table in client.query(TABLES, &[&SCHEMA, &"{r,p}"]).await? {
        let name: String = table.get(0);
        let oid: u32 = table.get(1);
        write!(text, "\n## {name}\n\n| column | type | null | default |\n|---|---|---|---|\n")?;
        describe_table(&client, oid, &mut text).await?;
    }
    text += "\n# Views\n\nWhat operators read. Their names and columns stay as they are; new columns come last.\n";
    for view in client.query(TABLES, &[&SCHEMA, &"{v}"]).await? {
        let name: String = view.get(0);
        write!(text, "\n## {name}\n\n| column | type |\n|---|---|\n")?;
        for column in client.query(COLUMNS, &[&view.get::<_, u32>(1)]).await? {
            writeln!(text, "| {} | {} |", column.get::<_, &str>(0), column.get::<_, &str>(1))?;
        }
    }
    client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await?;
    Ok((text, mainspring_doctor::catalog::recorded(&settings).await?))
}

async fn describe_table(client: &Client, oid: u32, text: &mut String) -> Result<(), Box<dyn Error>> {
    for column in client.query(COLUMNS, &[&oid]).await? {
        let (name, kind, not_null): (String, String, bool) = (column.get(0), column.get(1), column.get(2));
        let default = clean(column.get(3));
        let null = if not_null { "no" } else { "yes" };
        writeln!(text, "| {name} | {kind} | {null} | {default} |")?;
    }
    writeln!(text)?;
    for rule in client.query(RULES, &[&oid]).await? {
        writeln!(text, "- {}", clean(rule.get(0)))?;
    }
    Ok(())
}

fn clean(text: String) -> String {
    text.replace(&format!("{SCHEMA}."), "").replace('|', "\\|").replace("COLLATE pg_catalog.\"C\" ", "")
}

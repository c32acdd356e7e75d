//! What was applied to a database, and what that means for this binary.
//!
//! refinery keeps one row per migration and trusts them: a date or a number it cannot read ends the process. So every row
//! is read and judged here first, and refinery only ever sees a history this module understood.

use mainspring_core::{Error, ErrorKind, Result};
use refinery::Migration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_postgres::{Client, Row};

use crate::{error::failed, migrate::MIGRATIONS, names::Names};

/// One migration a database has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Its number.
    pub version: i32,
    /// Its name, without number.
    pub name: String,
    /// The checksum of its text at that time, names rendered.
    pub checksum: u64,
    /// When, in RFC 3339.
    pub on: String,
}

/// Where one migration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationState {
    /// Applied at this time (RFC 3339).
    Applied(String),
    /// Known to this binary, not applied yet.
    Pending,
    /// Applied by a newer binary, unknown to this one.
    Newer(String),
}

/// Where one database stands; see [`Migrator::status`](crate::Migrator::status).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Number, name, checksum and state of every migration either side knows, in order.
    pub migrations: Vec<(i32, String, u64, MigrationState)>,
    /// What is worth telling a person, such as that the database is ahead of this binary.
    pub note: Option<String>,
}

impl Status {
    /// How many migrations [`up`](crate::Migrator::up) would apply.
    pub fn pending(&self) -> usize {
        self.migrations.iter().filter(|(.., state)| *state == MigrationState::Pending).count()
    }
}

/// The migrations with our names in place, as refinery takes them.
pub(crate) fn known(names: &Names) -> Result<Vec<Migration>> {
    MIGRATIONS
        .iter()
        .map(|(name, sql)| {
            Migration::unapplied(name, &names.expand(sql)).map_err(|error| {
                Error::internal(format!("migration {name} has no usable name")).with_source(error)
            })
        })
        .collect()
}

const COLUMNS: &str = "SELECT attname::text, atttypid::regtype::text FROM pg_catalog.pg_attribute \
    WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped";

/// The history of these names in order; empty when there is none yet.
///
/// # Errors
/// Schema when the table is not one refinery made or a row cannot be read.
pub(crate) async fn read(client: &Client, names: &Names) -> Result<Vec<Applied>> {
    let table = names.table("schema_history");
    let columns =
        client.query(COLUMNS, &[&table]).await.map_err(|error| failed("reading the history", error))?;
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    for (name, kinds) in [
        ("version", &["integer"][..]),
        ("name", &["character varying", "text"]),
        ("applied_on", &["character varying", "text"]),
        ("checksum", &["character varying", "text"]),
    ] {
        let kind = columns.iter().find(|row| row.get::<_, &str>(0) == name).map(|row| row.get::<_, &str>(1));
        if !kind.is_some_and(|kind| kinds.contains(&kind)) {
            return Err(broken(&table, format!("column `{name}` is {}", kind.unwrap_or("missing"))));
        }
    }
    let sql = format!("SELECT version, name, applied_on, checksum FROM {table} ORDER BY version");
    let rows = client.query(&sql, &[]).await.map_err(|error| failed("reading the history", error))?;
    rows.iter().enumerate().map(|(i, row)| applied(&table, i, row)).collect()
}

fn applied(table: &str, i: usize, row: &Row) -> Result<Applied> {
    let text = |column: usize, name: &str| {
        let value: Option<String> = row.try_get(column).ok().flatten();
        value.ok_or_else(|| broken(table, format!("row {}: `{name}` is empty", i + 1)))
    };
    let version: Option<i32> = row.try_get(0).ok().flatten();
    let want = i32::try_from(i + 1).unwrap_or(i32::MAX);
    if version != Some(want) {
        return Err(broken(table, format!("row {} is not version {want}", i + 1)));
    }
    let on = text(2, "applied_on")?;
    if OffsetDateTime::parse(&on, &Rfc3339).is_err() {
        return Err(broken(table, format!("version {want}: `applied_on` is not a time in RFC 3339")));
    }
    let checksum = text(3, "checksum")?;
    let checksum =
        checksum.parse().map_err(|_| broken(table, format!("version {want}: `checksum` is not a number")))?;
    Ok(Applied { version: want, name: text(1, "name")?, checksum, on })
}

fn broken(table: &str, problem: String) -> Error {
    Error::new(ErrorKind::Schema, format!("the migration history {table} was changed by hand: {problem}"))
}

/// Compares a history with what this binary knows.
///
/// # Errors
/// Schema when a migration was applied with another name or content.
pub(crate) fn judge(applied: &[Applied], known: &[Migration]) -> Result<Status> {
    let mut migrations = Vec::new();
    for (row, migration) in applied.iter().zip(known) {
        if row.name != migration.name() || row.checksum != migration.checksum() {
            let message = format!(
                "migration {migration} was applied as V{}__{} with checksum {}, here it has {}: restore the file, or \
                 add a new migration instead of changing this one",
                row.version,
                row.name,
                row.checksum,
                migration.checksum()
            );
            return Err(Error::new(ErrorKind::Schema, message));
        }
        migrations.push((
            row.version,
            row.name.clone(),
            row.checksum,
            MigrationState::Applied(row.on.clone()),
        ));
    }
    for migration in known.iter().skip(applied.len()) {
        let (version, name) = (migration.version(), migration.name().to_owned());
        migrations.push((version, name, migration.checksum(), MigrationState::Pending));
    }
    for row in applied.iter().skip(known.len()) {
        migrations.push((row.version, row.name.clone(), row.checksum, MigrationState::Newer(row.on.clone())));
    }
    let ahead = applied.len().saturating_sub(known.len());
    let note = (ahead > 0).then(|| {
        format!(
            "the database is at version {}, {ahead} ahead of this binary: nothing to apply",
            applied.len()
        )
    });
    Ok(Status { migrations, note })
}

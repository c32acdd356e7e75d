//! Creates and checks the tables.
//!
//! ```text
//! own connection ─► advisory lock of (schema, prefix), waiting at most 60 s ─► schema ─► history read and judged ─► refinery
//! ```
//! refinery does not lock, and of several migrators at once most fail without the lock (T12, T13). Each migration is one
//! transaction with its row in `{prefix}schema_history`, so a migrator that dies leaves whole steps behind. A database ahead
//! of this binary is left alone: during a rolling deployment the old binary keeps running on the new schema.

use std::time::Duration;

use mainspring_core::{Error, ErrorKind, Result};
use refinery::{Runner, error::Kind};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Error as PgError};

use crate::{
    connect::Session,
    error::{describe, failed},
    history::{self, MigrationState, Status},
    jitter::pause,
    names::{Names, quoted},
    settings::Settings,
    sqlstate::{Class, classify},
    verify,
};

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The version of the schema this binary was made for.
pub fn schema_version() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

/// For looking at the schema; a migration itself may take as long as it needs.
const LOOK: Duration = Duration::from_secs(35);
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// What to do about the schema at the start of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Check it and change nothing.
    Noop,
    /// Create what is missing.
    #[default]
    CreateIfMissing,
    /// Drop all our tables of this prefix with everything in them, then create them.
    DangerouslyForce,
}

/// One migration that would be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// `V3__flows`
    pub name: String,
    /// Of name and text.
    pub checksum: u64,
    /// The text, names rendered.
    pub sql: String,
}

/// Creates and checks the tables of one schema and prefix, each call on a connection of its own.
#[derive(Debug, Clone)]
pub struct Migrator {
    settings: Settings,
    names: Names,
}

impl Migrator {
    /// For the tables of `names` in this database. The role needs CREATE on the schema, or on the database when the schema
    /// is missing.
    pub fn new(settings: Settings, names: Names) -> Self {
        Self { settings, names }
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// What `mode` says.
    ///
    /// # Errors
    /// As [`verify`](Self::verify) or [`up`](Self::up).
    pub async fn run(&self, mode: Mode) -> Result<Status> {
        match mode {
            Mode::Noop => {
                self.verify().await?;
                self.status().await
            }
            Mode::CreateIfMissing => self.up().await,
            Mode::DangerouslyForce => {
                let mut client = self.connect().await?;
                lock(&client, &self.names).await?;
                drop_all(&client, &self.names).await?;
                locked_up(&mut client, &self.names).await
            }
        }
    }

    /// Applies what is missing; any number of processes may do so at once. Answers where the database stands now.
    ///
    /// # Errors
    /// [`Schema`](ErrorKind::Schema) when an applied migration was changed since, the history was edited, or a GRANT is
    /// missing; [`Busy`](ErrorKind::Busy) when another migrator holds the lock for a minute. Whole migrations only are applied.
    pub async fn up(&self) -> Result<Status> {
        let mut client = self.connect().await?;
        lock(&client, &self.names).await?;
        // Closing the connection frees the lock.
        locked_up(&mut client, &self.names).await
    }

    /// Where the database stands. Changes nothing.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub async fn status(&self) -> Result<Status> {
        let client = self.settings.connect().await?;
        let known = history::known(&self.names)?;
        in_time(async { history::judge(&history::read(&client, &self.names).await?, &known) }).await
    }

    /// What [`up`](Self::up) would apply. Changes nothing.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub async fn plan(&self) -> Result<Vec<Planned>> {
        let status = self.status().await?;
        let pending = status.migrations.iter().map(|(.., state)| *state == MigrationState::Pending);
        let known = history::known(&self.names)?;
        Ok(known
            .iter()
            .zip(pending)
            .filter(|(_, pending)| *pending)
            .map(|(migration, _)| planned(migration))
            .collect())
    }

    /// Everything [`up`](Self::up) would run on an empty database, as a script for psql; the history included, so that a
    /// later `up` finds nothing to do. No database is needed.
    ///
    /// # Errors
    /// Internal, never in a released binary.
    pub fn print(&self) -> Result<String> {
        let history = self.names.table("schema_history");
        let mut out = format!(
            "CREATE SCHEMA IF NOT EXISTS {};\nCREATE TABLE IF NOT EXISTS {history} (version int4 PRIMARY KEY, \
             name varchar(255), applied_on varchar(255), checksum varchar(255));\n",
            quoted(self.names.schema())
        );
        for migration in history::known(&self.names)? {
            let (version, name, checksum) = (migration.version(), migration.name(), migration.checksum());
            let sql = migration.sql().unwrap_or_default();
            out += &format!(
                "\n-- {migration}\nBEGIN;\n{sql}\nINSERT INTO {history} (version, name, applied_on, checksum) VALUES \
                 ({version}, '{name}', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '{checksum}');\n\
                 COMMIT;\n"
            );
        }
        Ok(out)
    }

    /// Checks that every table and column this binary uses is there with its type, and that no migration is pending.
    /// Tables and columns of others are not looked at. Changes nothing.
    ///
    /// # Errors
    /// [`Schema`](ErrorKind::Schema), listing what is missing.
    pub async fn verify(&self) -> Result<()> {
        let client = self.settings.connect().await?;
        let known = history::known(&self.names)?;
        in_time(async {
            let status = history::judge(&history::read(&client, &self.names).await?, &known)?;
            verify::check(&client, &self.names, status.pending()).await
        })
        .await
    }

    async fn connect(&self) -> Result<Session> {
        // A migration may take its time, but never makes others wait for its locks.
        const SESSION: &str = "SET statement_timeout = 0; SET lock_timeout = '2s'";
        let client = self.settings.connect().await?;
        client.batch_execute(SESSION).await.map_err(|error| failed("preparing to migrate", error))?;
        Ok(client)
    }
}

/// [`Migrator::up`] on the caller's connection, which must not be a pooled one: the lock belongs to the session. Timeouts
/// stay as the caller set them.
///
/// # Errors
/// As [`Migrator::up`].
pub async fn up_with(client: &mut Client, names: &Names) -> Result<Status> {
    lock(client, names).await?;
    let result = locked_up(client, names).await;
    let unlocked = client.execute(UNLOCK, &[&names.lock_key()]).await;
    let status = result?;
    unlocked.map_err(|error| failed("freeing the migration lock", error))?;
    Ok(status)
}

async fn in_time<T>(look: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::new(ErrorKind::Busy, format!("the schema could not be read within {LOOK:?}"));
    timeout(LOOK, look).await.map_err(late)?
}

fn planned(migration: &refinery::Migration) -> Planned {
    let sql = migration.sql().unwrap_or_default().to_owned();
    Planned { name: migration.to_string(), checksum: migration.checksum(), sql }
}

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended($1::text, 0))";
const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtextextended($1::text, 0))";

/// Polls instead of waiting in the server: a waiting statement holds a snapshot, which could block the very migration it
/// waits for.
async fn lock(client: &Client, names: &Names) -> Result<()> {
    let until = Instant::now() + LOCK_WAIT;
    for attempt in 0.. {
        let row = client.query_one(TRY_LOCK, &[&names.lock_key()]).await;
        if row.map_err(|error| failed("taking the migration lock", error))?.get(0) {
            return Ok(());
        }
        if attempt == 5 {
            tracing::info!(names = ?names, "waiting for another migrator");
        }
        if Instant::now() >= until {
            break;
        }
        sleep(pause(attempt, Duration::from_millis(20), Duration::from_millis(300))).await;
    }
    let key = names.lock_key();
    Err(Error::new(ErrorKind::Busy, format!("another migrator held the lock `{key}` for {LOCK_WAIT:?}")))
}

async fn locked_up(client: &mut Client, names: &Names) -> Result<Status> {
    create_schema(client, names).await?;
    let known = history::known(names)?;
    let status = history::judge(&history::read(client, names).await?, &known)?;
    if let Some(note) = &status.note {
        tracing::info!(note);
    }
    if status.pending() == 0 {
        return Ok(status);
    }
    let mut runner = Runner::new(&known);
    runner.set_migration_table_name(names.table("schema_history"));
    for attempt in 0..10 {
        let Err(error) = runner.run_async(client).await else { break };
        let Kind::Connection(step, cause) = error.kind() else {
            return Err(Error::new(ErrorKind::Schema, error.to_string()));
        };
        let Some(cause) = cause.downcast_ref::<PgError>() else {
            return Err(Error::internal(format!("{step}: {cause}")));
        };
        let class = classify(cause);
        // Live traffic holds the table: step aside and come again. Finished migrations stay.
        if class != Class::Timeout || attempt == 9 {
            return Err(Error::new(class.kind(), describe(step, cause)));
        }
        sleep(pause(attempt, Duration::from_millis(200), Duration::from_secs(3))).await;
    }
    history::judge(&history::read(client, names).await?, &known)
}

const HAS_SCHEMA: &str = "SELECT count(*) > 0 FROM pg_catalog.pg_namespace WHERE nspname = $1::text";

/// Asks first, so that a role without CREATE on the database can migrate into an existing schema. Another prefix has another
/// lock and may create the same schema at the same moment, so a failure counts only while the schema is missing.
async fn create_schema(client: &Client, names: &Names) -> Result<()> {
    let exists = async || match client.query_one(HAS_SCHEMA, &[&names.schema()]).await {
        Ok(row) => Ok(row.get::<_, bool>(0)),
        Err(error) => Err(failed("looking for the schema", error)),
    };
    if exists().await? {
        return Ok(());
    }
    let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(names.schema()));
    match client.batch_execute(&sql).await {
        Err(error) if !exists().await? => Err(failed("creating the schema", error)),
        _ => Ok(()),
    }
}

async fn drop_all(client: &Client, names: &Names) -> Result<()> {
    let mut sql = String::from("BEGIN;");
    for (table, _) in TABLES.iter().rev() {
        sql += &format!("DROP TABLE IF EXISTS {} CASCADE;", names.table(table));
    }
    for (kind, name) in OTHERS.iter().rev() {
        sql += &format!("DROP {kind} IF EXISTS {} CASCADE;", names.table(name));
    }
    sql += &format!("DROP TABLE IF EXISTS {};COMMIT", names.table("schema_history"));
    let dropped = client.batch_execute(&sql).await;
    if dropped.is_err() {
        client.batch_execute("ROLLBACK").await.map_err(|error| failed("dropping all tables", error))?;
    }
    dropped.map_err(|error| failed("dropping all tables", error))
}

//! Machine memory on a Postgres of its own, by the options of the seed.

use std::{fmt, ops::Deref, str::FromStr, time::Duration};

use mainspring_broker::{MachineMemory, MemoryOptions};
use mainspring_core::{Error, Result};
use mainspring_pg::{Db, Deadlines, IdleCloser, Migrator, Mode, Pool, Settings, pool_with};
use serde::Deserialize;

use crate::{PgStoreOptions, create_pg_stores};

/// Where machine memory is and how it behaves. Reads as the JSON of the seed's options:
///
/// ```
/// # use mainspring::MachineMemoryConfig;
/// let config: MachineMemoryConfig = serde_json::from_str(r#"{
///     "version": 1,
///     "config": {"connectionString": "postgres://localhost/app", "max": 20, "lockConfig": {"maxRetries": 5}},
///     "migrate": "create_if_not_exists"
/// }"#)?;
/// assert_eq!(config.config.lock_config.ttl_ms, 120_000);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MachineMemoryConfig {
    /// The layout of the tables. There is 1.
    pub version: u32,
    /// In front of every table's name. Defaults to `ms_`.
    pub table_prefix: String,
    /// The schema of the tables. Defaults to `public`.
    pub schema: String,
    /// Connection and behaviour.
    pub config: MemoryConnection,
    /// What is done about the tables. Defaults to [`Migrate::Noop`].
    pub migrate: Migrate,
}

impl Default for MachineMemoryConfig {
    fn default() -> Self {
        let PgStoreOptions { table_prefix, schema, .. } = PgStoreOptions::default();
        Self { version: 1, table_prefix, schema, config: MemoryConnection::default(), migrate: Migrate::Noop }
    }
}

/// How to reach the database, and how the memory behaves.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MemoryConnection {
    /// Everything in one; else the next five.
    pub connection_string: Option<String>,
    /// Defaults to `localhost`.
    pub host: String,
    /// Defaults to 5432.
    pub port: u16,
    /// Defaults to `postgres`.
    pub user: String,
    /// Defaults to `postgres`.
    pub password: String,
    /// Defaults to `postgres`.
    pub database: String,
    /// Most connections, at least 1. Defaults to 10.
    pub max: usize,
    /// How long nobody uses a connection before it is closed, in milliseconds; 0 is never. Defaults to 30,000.
    pub idle_timeout_millis: u64,
    /// Longest wait for a connection, a free one or a new one, in milliseconds; 0 is a day. Defaults to 5,000.
    pub connection_timeout_millis: u64,
    /// Longest time of a statement, in milliseconds; 0 is no limit. Defaults to 30,000.
    pub statement_timeout_millis: u64,
    /// The same, as another driver counts it: the shorter of the two holds. The server ends the statement in either case.
    pub query_timeout_millis: u64,
    /// How locks are asked for, and how long they last.
    pub lock_config: LockConfig,
    /// Whether [`cleanup`](MachineMemory::cleanup) does anything. Defaults to false.
    pub enable_cleanup: bool,
    /// Whether every call is a span, `PostgresMachineMemory.v1.<call>`. Defaults to false.
    pub enable_otel: bool,
}

impl Default for MemoryConnection {
    fn default() -> Self {
        let postgres = || "postgres".to_owned();
        Self {
            connection_string: None,
            host: "localhost".to_owned(),
            port: 5432,
            user: postgres(),
            password: postgres(),
            database: postgres(),
            max: 10,
            idle_timeout_millis: 30_000,
            connection_timeout_millis: 5_000,
            statement_timeout_millis: 30_000,
            query_timeout_millis: 30_000,
            lock_config: LockConfig::default(),
            enable_cleanup: false,
            enable_otel: false,
        }
    }
}

/// Without the password, and without the connection string, which has one.
impl fmt::Debug for MemoryConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConnection")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("max", &self.max)
            .field("lock_config", &self.lock_config)
            .finish_non_exhaustive()
    }
}

/// How locks are asked for, and how long they last.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LockConfig {
    /// How often again. Defaults to 3.
    pub max_retries: u32,
    /// Before the second time, in milliseconds. Defaults to 100.
    pub initial_delay_ms: u64,
    /// By what the delay grows. Defaults to 1.5.
    pub backoff_exponent: f64,
    /// How long a lock lasts, in milliseconds. Defaults to 120,000.
    pub ttl_ms: u64,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self { max_retries: 3, initial_delay_ms: 100, backoff_exponent: 1.5, ttl_ms: 120_000 }
    }
}

/// What is done about the tables at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Migrate {
    /// Nothing: they have to be there. `noop`
    #[default]
    Noop,
    /// Those that are missing are made. `create_if_not_exists`, `if_tables_dont_exist`
    CreateIfMissing,
    /// All of them are dropped with everything in them, and made again. `dangerousely_force_migration`, as the seed spells it
    DangerouslyForce,
}

impl FromStr for Migrate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "noop" => Ok(Self::Noop),
            "create_if_not_exists" | "if_tables_dont_exist" => Ok(Self::CreateIfMissing),
            "dangerousely_force_migration" => Ok(Self::DangerouslyForce),
            other => Err(Error::invalid("migrate", format!("`{}` is none", other.escape_debug()))),
        }
    }
}

impl TryFrom<String> for Migrate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl MemoryConnection {
    fn settings(&self) -> Result<Settings> {
        let settings = match &self.connection_string {
            Some(url) => Settings::parse(url)?,
            None => Settings::default()
                .with("host", &self.host)?
                .with("port", &self.port.to_string())?
                .with("user", &self.user)?
                .with("password", &self.password)?
                .with("dbname", &self.database)?,
        };
        let settings = settings.with_connect_timeout(self.connection_timeout());
        Ok(match settings.is_pooled() {
            true => settings, // a pooler passes no settings on
            false => settings.with_statement_timeout(self.statement_timeout().unwrap_or_default()),
        })
    }

    fn connection_timeout(&self) -> Duration {
        millis(self.connection_timeout_millis).unwrap_or(DAY)
    }

    fn statement_timeout(&self) -> Option<Duration> {
        let limits = [self.statement_timeout_millis, self.query_timeout_millis];
        limits.into_iter().filter_map(millis).min()
    }

    fn deadlines(&self) -> Deadlines {
        let mut deadlines = Deadlines::default();
        (deadlines.wait, deadlines.create) = (self.connection_timeout(), self.connection_timeout());
        // The server gives up first, and says why.
        let limit = self.statement_timeout();
        deadlines.statement =
            limit.map_or(DAY, |limit| limit.saturating_add(Duration::from_secs(5)).min(DAY));
        deadlines
    }

    fn options(&self) -> MemoryOptions {
        let LockConfig { max_retries, initial_delay_ms, backoff_exponent, ttl_ms } = self.lock_config;
        MemoryOptions {
            max_retries,
            initial_delay: Duration::from_millis(initial_delay_ms),
            backoff_exponent,
            lock_ttl: Duration::from_millis(ttl_ms),
            enable_cleanup: self.enable_cleanup,
            enable_otel: self.enable_otel,
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// `None` for 0, which is no limit.
fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis)).filter(|limit| !limit.is_zero())
}

/// Machine memory with a pool of its own. Connections that nobody uses are closed for as long as this lives.
pub struct PgMachineMemory {
    memory: MachineMemory,
    db: Db<'static>,
    pool: Pool,
    migrator: Migrator,
    _idle: Option<IdleCloser>,
}

impl Deref for PgMachineMemory {
    type Target = MachineMemory;

    fn deref(&self) -> &MachineMemory {
        &self.memory
    }
}

impl PgMachineMemory {
    /// Checks that all tables are there with all columns, of the right types.
    ///
    /// # Errors
    /// Schema, naming what is missing or other.
    pub async fn validate_table_structure(&self) -> Result<()> {
        self.migrator.verify().await
    }

    /// Where it stands.
    pub fn db(&self) -> &Db<'static> {
        &self.db
    }

    /// Closes the pool: whatever is asked after fails.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// Connects to machine memory: does about the tables what is said, checks them, and makes a pool.
///
/// # Errors
/// Invalid, naming the option, also for a version there is not; schema, naming the table or column that is not as it must be;
/// those of the database.
pub async fn connect_machine_memory(config: &MachineMemoryConfig) -> Result<PgMachineMemory> {
    if config.version != 1 {
        let problem = format!("Unsupported PostgreSQL machine memory version: {}", config.version);
        return Err(Error::invalid("version", problem));
    }
    let settings = config.config.settings()?;
    let options = PgStoreOptions {
        table_prefix: config.table_prefix.clone(),
        schema: config.schema.clone(),
        statements: settings.statements(),
        deadlines: config.config.deadlines(),
        ..PgStoreOptions::default()
    };
    let migrator = Migrator::new(settings.clone(), options.names()?);
    match config.migrate {
        Migrate::Noop => {}
        Migrate::CreateIfMissing => drop(migrator.run(Mode::CreateIfMissing).await?),
        Migrate::DangerouslyForce => drop(migrator.run(Mode::DangerouslyForce).await?),
    }
    migrator.verify().await?;
    let pool = pool_with(&settings, config.config.max, &options.deadlines)?;
    let stores = create_pg_stores(pool.clone(), options)?;
    let db = stores.db().clone();
    let memory = MachineMemory::new(stores, config.config.options())?;
    let idle = millis(config.config.idle_timeout_millis).map(|after| IdleCloser::start(&pool, after));
    Ok(PgMachineMemory { memory, db, pool, migrator, _idle: idle })
}

/// Closes what [`connect_machine_memory`] has opened.
pub fn release_machine_memory(memory: &PgMachineMemory) {
    memory.close();
}

/// [`release_machine_memory`] as the seed spells it.
pub use release_machine_memory as release_postgress_machine_memory;

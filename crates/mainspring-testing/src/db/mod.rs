//! A database for each test: its own, migrated, and with a clock the test owns.

mod left;
mod server;
mod template;

use std::{fmt, sync::Arc, time::Duration};

use mainspring_core::{BoxFuture, Error, Result};
use mainspring_pg::{Db, Names, Pool, Prefix, Schema, Session, Settings, pool};
use tokio::sync::Mutex;

use crate::TimeTravel;

/// Connections a test database gives out unless it is told otherwise.
const POOL: usize = 8;

/// A database of one test.
///
/// It is a copy of a template that is migrated once for each set of migrations and names, on the server that
/// `TEST_DATABASE_URL` names, or else on one that this process starts and that ends with it. A clone is the same database.
///
/// Everything here panics when the server cannot do it: a test without its database has failed.
///
/// ```no_run
/// # async fn example() {
/// use mainspring_testing::TestDb;
///
/// let test = TestDb::new().await;
/// let client = test.client().await;
/// client.batch_execute("CREATE TABLE orders (id text PRIMARY KEY)").await.unwrap();
/// # }
/// ```
#[derive(Clone)]
pub struct TestDb(Arc<Inner>);

struct Inner {
    name: String,
    url: String,
    settings: Settings,
    names: Names,
    pool: Pool,
    /// Microseconds.
    shifted: Mutex<i64>,
    dropped_at_the_end: bool,
}

impl TestDb {
    /// A migrated database with the default names and a pool of 8.
    pub async fn new() -> Self {
        Self::with_names(Names::default(), POOL).await
    }

    /// The same with a pool of `size` connections.
    pub async fn with_pool(size: usize) -> Self {
        Self::with_names(Names::default(), size).await
    }

    /// The same with tables that begin with `prefix`.
    pub async fn with_prefix(prefix: &str) -> Self {
        let prefix = Prefix::new(prefix).unwrap_or_else(|error| broken(&error));
        Self::with_names(Names::new(Schema::default(), prefix), POOL).await
    }

    /// A database migrated for `names`, with a pool of `size` connections.
    pub async fn with_names(names: Names, size: usize) -> Self {
        let template = template::migrated(&names).await.unwrap_or_else(|error| broken(&error));
        Self::create(Some(&template), names, size).await.unwrap_or_else(|error| broken(&error))
    }

    /// A database without any of our tables, for those who migrate themselves.
    pub async fn empty() -> Self {
        Self::create(None, Names::default(), POOL).await.unwrap_or_else(|error| broken(&error))
    }

    async fn create(template: Option<&str>, names: Names, size: usize) -> Result<Self> {
        let server = server::get().await?;
        let name = template::copy(template).await?;
        let (url, settings) = (server.url_of(&name), server.settings_of(&name)?);
        let pool = pool(&settings, size)?;
        let (shifted, dropped_at_the_end) = (Mutex::default(), !server.throwaway);
        Ok(Self(Arc::new(Inner { name, url, settings, names, pool, shifted, dropped_at_the_end })))
    }

    /// The database for a store. All of one test database share a pool.
    pub fn db(&self) -> Db<'static> {
        Db::new(self.pool(), self.names().clone())
    }

    /// The pool.
    pub fn pool(&self) -> Pool {
        self.0.pool.clone()
    }

    /// The address, for other processes.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Host and port of the server.
    ///
    /// # Errors
    /// Invalid, when the address is not a URL with a host.
    pub fn address(&self) -> Result<(String, u16)> {
        server::address(self.url()).ok_or_else(|| {
            Error::invalid("TEST_DATABASE_URL", "is not a URL with a host, such as postgres://localhost/db")
        })
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where the tables are.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// How to connect.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// A connection outside the pool, as a `tokio_postgres::Client`; closed when dropped.
    pub async fn client(&self) -> Session {
        self.0.settings.connect().await.unwrap_or_else(|error| broken(&error))
    }

    /// Moves the clock of all tables of this database forward, for every process that uses them. It goes on from there.
    pub async fn advance(&self, by: Duration) {
        self.shift(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)).await;
    }

    /// Moves it back.
    pub async fn set_back(&self, by: Duration) {
        self.shift(-i64::try_from(by.as_micros()).unwrap_or(i64::MAX)).await;
    }

    /// In the language of the migration: a statement that is beginning elsewhere still has the old one in its hands.
    async fn shift(&self, by: i64) {
        let mut shifted = self.0.shifted.lock().await;
        *shifted = shifted.saturating_add(by);
        let sql = format!(
            "CREATE OR REPLACE FUNCTION {}() RETURNS timestamptz LANGUAGE plpgsql STABLE PARALLEL SAFE
             AS $$ BEGIN RETURN pg_catalog.clock_timestamp() + interval '{shifted} microseconds'; END $$",
            self.names().table("now"),
        );
        let moved = self.client().await.batch_execute(&sql).await;
        moved.unwrap_or_else(|error| broken(&Error::internal("moving time").with_source(error)));
    }
}

impl TimeTravel for TestDb {
    fn advance(&self, by: Duration) -> BoxFuture<'_, ()> {
        Box::pin(TestDb::advance(self, by))
    }
}

/// On a throwaway server nothing is dropped: each drop costs a checkpoint, and the server goes anyway.
impl Drop for Inner {
    fn drop(&mut self) {
        if self.dropped_at_the_end {
            template::drop_in_background(self.name.clone());
        }
    }
}

impl fmt::Debug for TestDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestDb({}, {:?})", self.0.name, self.0.names)
    }
}

#[allow(clippy::panic, reason = "a test without its database has failed")]
fn broken(error: &Error) -> ! {
    panic!("test database: {error:?}")
}

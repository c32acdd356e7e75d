//! What every test stands on: a schema of its own on one server for all.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use mainspring_embedded::{Options, Server};
use mainspring_pg::{Db, Deadlines, Names, Prefix, Schema, Session, Settings, pool};

static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::from_env("TEST_DATABASE_URL", Options::throwaway()).expect("a Postgres server"));
static NEXT: AtomicU32 = AtomicU32::new(1);

pub(crate) fn url() -> String {
    SERVER.url()
}

pub(crate) fn settings() -> Settings {
    Settings::parse(&url()).unwrap()
}

pub(crate) async fn admin() -> Session {
    settings().connect().await.unwrap()
}

/// A schema that is gone when the test is over.
pub(crate) struct Ground {
    pub(crate) names: Names,
}

impl Ground {
    /// Nothing in it, not even the schema.
    pub(crate) fn bare() -> Self {
        let schema = format!("it_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { names: Names::new(Schema::new(schema).unwrap(), Prefix::new("t_").unwrap()) }
    }

    /// With the table `{things} (id int primary key, n int)`.
    pub(crate) async fn new() -> Self {
        let ground = Self::bare();
        let things = ground.names.table("things");
        let sql = format!(
            "CREATE SCHEMA \"{}\"; CREATE TABLE {things} (id int CONSTRAINT t_things_key PRIMARY KEY, n int); {}",
            ground.names.schema(),
            ground.names.render(include_str!("../../../../migrations/V16__incarnation.sql")),
        );
        admin().await.batch_execute(&sql).await.unwrap();
        ground
    }

    pub(crate) fn prefixed(&self, prefix: &str) -> Names {
        Names::new(Schema::new(self.names.schema()).unwrap(), Prefix::new(prefix).unwrap())
    }

    pub(crate) fn db(&self, size: usize) -> Db<'static> {
        self.db_on(&settings(), size, Deadlines::default())
    }

    pub(crate) fn db_on(&self, settings: &Settings, size: usize, deadlines: Deadlines) -> Db<'static> {
        Db::with_deadlines(pool(settings, size).unwrap(), self.names.clone(), deadlines)
    }

    /// The ids in `{things}`, seen from another connection.
    pub(crate) async fn things(&self) -> Vec<i32> {
        let sql = format!("SELECT id FROM {} ORDER BY id", self.names.table("things"));
        admin().await.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Runs SQL with our names on a connection of its own.
    pub(crate) async fn sql(&self, sql: &'static str) {
        admin().await.batch_execute(&self.names.render(sql)).await.unwrap();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let sql =
            format!("SET lock_timeout = '1s'; DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.names.schema());
        let settings = settings();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let dropped = settings.connect().await.unwrap().batch_execute(&sql).await;
                drop(dropped); // a failed test may still hold a lock
            });
        });
        drop(dropping.join());
    }
}

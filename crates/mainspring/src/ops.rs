//! These stores as operators see them over HTTP.

use std::sync::Arc;

use mainspring_core::{Error, ErrorKind, Result};
use mainspring_pg::{row::get, schema_version};
use mainspring_world::http::{OpsOptions, Parts};
use serde_json::json;

use crate::PgStores;

impl PgStores<'static> {
    /// What [`ops_router`](crate::world::http::ops_router) asks of these stores: whether the database answers and its tables fit.
    ///
    /// ```
    /// use mainspring::{PgStoreOptions, create_pg_stores, world::http::ops_router};
    /// # #[tokio::main] async fn main() -> mainspring::Result<()> {
    /// # let test = mainspring_testing::TestDb::new().await; let pool = test.pool();
    /// let stores = create_pg_stores(pool, PgStoreOptions::default())?;
    /// let options = stores.ops();
    /// let drain = options.drain.clone(); // `drain.begin()` when the process is told to stop
    /// let router: axum::Router = ops_router(options);
    /// # drop((drain, router)); Ok(()) }
    /// ```
    pub fn ops(&self) -> OpsOptions {
        let stores = self.clone();
        let parts: Parts = Arc::new(move || {
            let stores = stores.clone();
            Box::pin(async move {
                let database = stores.answers().await;
                let fits = if database.is_ok() { stores.fits().await } else { Ok(()) };
                vec![("database", database), ("schema", fits)]
            })
        });
        let version = [("schema".to_owned(), json!(schema_version()))].into_iter().collect();
        OpsOptions { parts: Some(parts), version, ..OpsOptions::default() }
    }

    async fn answers(&self) -> Result<()> {
        self.db().one("SELECT 1", &[]).await.map(drop)
    }

    async fn fits(&self) -> Result<()> {
        let there: i32 = get(&self.db().one(VERSION, &[]).await?, 0)?;
        let needed = schema_version();
        if there >= needed {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Schema, format!("the schema is {there}, and this version needs {needed}")))
    }
}

const VERSION: &str = "SELECT coalesce(max(version), 0)::integer FROM {schema_history}";

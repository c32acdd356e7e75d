//! The store: one method, one statement.

use std::time::SystemTime;

use mainspring_core::{BoxFuture, ContextRef, ContextStore, Error, ExecutionId, Result, limits};
use mainspring_pg::{Db, TxRef, constraint, row::get};
use serde_json::Value;

/// Most bytes of one value: 16 MiB.
pub const MAX_VALUE: usize = 16 * 1024 * 1024;

/// Large values on Postgres; see the crate.
#[derive(Clone)]
pub struct PgContextStore<'t> {
    db: Db<'t>,
}

impl<'t> PgContextStore<'t> {
    /// The store on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// The same store, standing on your transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgContextStore<'u> {
        PgContextStore { db: self.db.on(tx) }
    }

    async fn set_one(&self, execution: &ExecutionId, key: &str, value: Value) -> Result<ContextRef> {
        limits::check_id("context key", key)?;
        limits::check_json_within(&format!("context.{key}"), &value, MAX_VALUE)?;
        let size = i64::try_from(limits::json_size(&value)).unwrap_or(i64::MAX);
        let row = self.db.one(SET, &[&execution.as_str(), &key, &value, &size]).await;
        let row = row.map_err(|error| refusal(error, execution))?;
        let created_at: SystemTime = get(&row, 0)?;
        Ok(ContextRef::to(execution, key, &value, created_at.into()))
    }
}

fn refusal(error: Error, execution: &ExecutionId) -> Error {
    if constraint(&error).is_some_and(|name| name.ends_with("context_execution")) {
        return Error::not_found("execution", execution).with_source(error);
    }
    error
}

const SET: &str = "INSERT INTO {context_values} (execution_id, key, data, size_bytes, created_at)
  VALUES ($1, $2, $3, $4, {now}())
  ON CONFLICT (execution_id, key) DO UPDATE
    SET data = excluded.data, size_bytes = excluded.size_bytes, created_at = excluded.created_at
  RETURNING created_at";

const GET: &str = "SELECT data FROM {context_values} WHERE execution_id = $1 AND key = $2";

const DELETE: &str = "DELETE FROM {context_values} WHERE execution_id = $1 AND key = $2";

const KEYS: &str = "SELECT key FROM {context_values} WHERE execution_id = $1 ORDER BY key";

const CLEAR_EXECUTION: &str = "DELETE FROM {context_values} WHERE execution_id = $1";

impl ContextStore for PgContextStore<'_> {
    fn set<'a>(
        &'a self,
        execution: &'a ExecutionId,
        key: &'a str,
        value: Value,
    ) -> BoxFuture<'a, Result<ContextRef>> {
        Box::pin(self.set_one(execution, key, value))
    }

    fn get<'a>(&'a self, execution: &'a ExecutionId, key: &'a str) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let row = self.db.opt(GET, &[&execution.as_str(), &key]).await?;
            get(&row.ok_or_else(|| Error::not_found("context key", key))?, 0)
        })
    }

    fn delete<'a>(&'a self, execution: &'a ExecutionId, key: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.db.exec(DELETE, &[&execution.as_str(), &key]).await? == 1) })
    }

    fn keys<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async move {
            let rows = self.db.all(KEYS, &[&execution.as_str()]).await?;
            rows.iter().map(|row| get(row, 0)).collect()
        })
    }

    fn clear_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { self.db.exec(CLEAR_EXECUTION, &[&execution.as_str()]).await })
    }
}

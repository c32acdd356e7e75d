//! A statement as a value: store crates build it, one place runs it.

use std::fmt;

use tokio_postgres::types::ToSql;

/// One statement with its parameters, owned, so that it can wait, move to a task and be sent again.
///
/// ```
/// # use mainspring_pg::Query;
/// let query = Query::new("UPDATE {jobs} SET state = $2 WHERE id = $1").bind("job_1".to_owned()).bind(3_i16);
/// ```
#[must_use = "a query does nothing until a `Db` or a `Flight` runs it"]
pub struct Query {
    sql: &'static str,
    params: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Query {
    /// A statement with `{table}` placeholders and no parameter yet.
    pub fn new(sql: &'static str) -> Self {
        Self { sql, params: Vec::new() }
    }

    /// The next parameter: `$1`, then `$2`, …
    pub fn bind(mut self, value: impl ToSql + Sync + Send + 'static) -> Self {
        self.params.push(Box::new(value));
        self
    }

    /// The text as written, with its placeholders.
    pub fn sql(&self) -> &'static str {
        self.sql
    }

    pub(crate) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// The text and the number of parameters; never their values.
impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("sql", &self.sql).field("params", &self.params.len()).finish()
    }
}

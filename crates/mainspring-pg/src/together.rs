//! A fixed list of statements in one transaction.

use mainspring_core::Result;
use tokio_postgres::Row;

use crate::{db::Db, query::Query};

impl Db<'_> {
    /// Runs `queries` in one transaction, in order: all of them happen, or none. On the pool that takes two round trips;
    /// inside a transaction they join it. On the pool they are planned as in a [`Flight`](crate::Flight): by index, in its
    /// order. The rows are those of each query.
    ///
    /// # Errors
    /// Of the first statement that failed, and as [`Flight::commit`](crate::Flight::commit).
    pub async fn together(&self, queries: Vec<Query>) -> Result<Vec<Vec<Row>>> {
        if self.in_transaction() {
            let mut rows = Vec::with_capacity(queries.len());
            for query in queries {
                rows.push(self.run(query).await?);
            }
            return Ok(rows);
        }
        let (flight, rows) = self.begin(queries).await?;
        flight.commit(Vec::new()).await?;
        Ok(rows)
    }
}

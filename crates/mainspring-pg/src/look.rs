//! Statements of readers and of projections: pipelined, but with no xid for those that only look, and none of the planner
//! settings of a [`Flight`] for those that are the application's.

use mainspring_core::{Error, Result};
use tokio_postgres::Row;

use crate::{
    db::{At, Db},
    error,
    flight::{Flight, split},
    held::{self, Leg},
    query::Query,
    sqlstate::Class,
    statements::Place,
};

const READ: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
/// As a flight's: by index and in its order, whatever the planner believes.
const ORDERED: &str = "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), \
    set_config('enable_sort', 'off', true), set_config('jit', 'off', true), \
    set_config('plan_cache_mode', 'force_generic_plan', true)";

impl Db<'_> {
    /// Runs SELECTs in one round trip and in order, each with a snapshot of its own, planned to go by their index. They see
    /// only what is committed when each of them begins, so a transaction will not do.
    ///
    /// # Errors
    /// Invalid inside a transaction, else the first failure, as [`run`](Self::run) reports it.
    pub async fn look(&self, queries: Vec<Query>) -> Result<Vec<Vec<Row>>> {
        let At::Pool(pool) = &self.at else {
            return Err(Error::invalid("db", "a look is on the pool, not inside a transaction"));
        };
        let limit = self.shared.deadlines.statement;
        let mut again = true;
        loop {
            let held = held::checkout(pool, &self.shared).await?;
            let texts: Vec<_> = queries.iter().map(|query| self.names().render(query.sql())).collect();
            let texts: Vec<&str> = std::iter::once(ORDERED).chain(texts.iter().map(|text| &**text)).collect();
            let answers = match held.prepare(&texts, &self.shared, Place::Outside).await? {
                Err(failure) => {
                    held.release();
                    Err(failure.into_error("prepare"))
                }
                Ok(statements) => {
                    let params = std::iter::once(Vec::new()).chain(queries.iter().map(Query::params));
                    let asks = statements.into_iter().zip(params).map(|(s, params)| Leg::Ask(s, params));
                    let legs =
                        std::iter::once(Leg::Batch(READ)).chain(asks).chain([Leg::Batch("COMMIT")]).collect();
                    // COMMIT ends the transaction even when a statement before it failed.
                    let answers = split(held.fly(legs, limit).await?, &[READ, ORDERED], &queries);
                    held.release();
                    answers
                }
            };
            match answers {
                Ok(answers) => {
                    return Ok(answers.into_iter().skip(2).take(queries.len()).map(|a| a.rows).collect());
                }
                // Nothing was changed: the pool may have handed out a connection that died in it.
                Err(error) if again && matches!(error::class(&error), Some(Class::Lost | Class::Stale)) => {
                    again = false;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Flight {
    /// The transaction of this flight for more statements, those of the application among them. A failure in it is only
    /// noticed by the flight at its next statement, so end with a [`commit`](Self::commit) of at least one query.
    ///
    /// # Errors
    /// Internal when the flight is over already.
    pub fn db(&self) -> Result<Db<'_>> {
        Ok(Db { at: At::Open(self.held()?), shared: self.shared.clone() })
    }
}

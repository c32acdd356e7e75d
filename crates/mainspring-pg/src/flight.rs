//! A transaction of two round trips: BEGIN and the deciding statements in one, the rest and COMMIT in the other.
//!
//! ```text
//! begin(first): (BEGIN · SET LOCAL … · xid) · first…  ─►  rows  ─►  commit(last): last… · COMMIT  ─►  rows
//! ```
//! Statements of a flight are sent without waiting for each other's answers. When one fails, Postgres refuses the others
//! and turns COMMIT into ROLLBACK, so the first failure is the answer and nothing was changed.

use deadpool_postgres::Pool;
use mainspring_core::{Error, Result};
use std::sync::Arc;
use tokio_postgres::Row;

use crate::{
    db::{At, Db, Shared},
    error,
    held::{self, Answer, Failure, Held, Leg},
    incarnation::Incarnation,
    query::Query,
    sqlstate::Class,
    statements::Place,
    tx::{conclude, in_task},
};

/// Hot statements go by their index, in its order, whatever the planner believes of tables it has no statistics of: left to
/// itself it sorts a whole backlog for a claim of ten. The plans that are left look expensive to it, so it would compile them
/// each time (10 ms a commit, measured), and for short arrays it would plan them each time (1 ms).
///
/// All of it is one message, since each message is answered by itself: that, and not what the statements do, is their cost.
const OPEN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; \
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; \
    SET LOCAL plan_cache_mode = force_generic_plan; SELECT pg_catalog.pg_current_xact_id()";

/// The same without the settings, for transactions in which the application's own statements run.
const OPEN_PLAIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_catalog.pg_current_xact_id()";

/// A pooled connection in an open transaction. Dropping it closes the connection, which rolls back.
#[must_use = "a flight that is dropped rolls back"]
pub struct Flight {
    held: Option<Held>,
    xid: String,
    incarnation: Incarnation,
    pool: Pool,
    pub(crate) shared: Arc<Shared>,
}

impl Db<'_> {
    /// Begins a transaction and runs `first` in it, all in one round trip. Answers the rows of each query.
    ///
    /// # Errors
    /// Internal inside a transaction. Otherwise the first failure, as [`run`](Self::run) reports it: the transaction is
    /// rolled back then. A lost connection is reported only after a second one failed too.
    pub async fn begin(&self, first: Vec<Query>) -> Result<(Flight, Vec<Vec<Row>>)> {
        self.begin_with(OPEN, first).await
    }

    /// [`begin`](Self::begin) with the planner left alone, for a transaction in which statements of the application run too:
    /// see [`Flight::db`].
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn begin_plain(&self, first: Vec<Query>) -> Result<(Flight, Vec<Vec<Row>>)> {
        self.begin_with(OPEN_PLAIN, first).await
    }

    async fn begin_with(&self, opening: &'static str, first: Vec<Query>) -> Result<(Flight, Vec<Vec<Row>>)> {
        let At::Pool(pool) = &self.at else {
            return Err(Error::internal("a flight begins on the pool, not inside a transaction"));
        };
        match self.take_off(pool, opening, &first).await {
            // Nothing can have happened yet, and the pool may have handed out a connection that died in it.
            Err(error) if matches!(error::class(&error), Some(Class::Lost | Class::Stale)) => {
                self.shared.incarnation.forget();
                self.take_off(pool, opening, &first).await
            }
            result => result,
        }
    }

    async fn take_off(
        &self,
        pool: &Pool,
        opening: &'static str,
        first: &[Query],
    ) -> Result<(Flight, Vec<Vec<Row>>)> {
        let limit = self.shared.deadlines.statement;
        let held = held::checkout(pool, &self.shared).await?;
        let texts: Vec<_> = first.iter().map(|query| self.names().render(query.sql())).collect();
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let statements = match held.prepare(&texts, &self.shared, Place::Outside).await? {
            Ok(statements) => statements,
            Err(failure) => {
                held.release();
                return Err(failure.into_error("prepare"));
            }
        };
        let incarnation = self.shared.incarnation.get(&held, &self.shared).await;
        let asks = statements.into_iter().zip(first).map(|(s, query)| Leg::Ask(s, query.params()));
        let legs = std::iter::once(Leg::Batch(opening)).chain(asks).collect();
        let mut answers = match split(held.fly(legs, limit).await?, &[opening], first) {
            Ok(answers) => answers,
            Err(error) => {
                held.rollback(limit).await;
                return Err(error);
            }
        };
        let Some(xid) = answers.first_mut().and_then(|answer| answer.text.take()) else {
            return Err(Error::internal("the transaction has no id"));
        };
        let rows = answers.drain(1..).map(|answer| answer.rows).collect();
        let (held, pool, shared) = (Some(held), pool.clone(), self.shared.clone());
        Ok((Flight { held, xid, incarnation, pool, shared }, rows))
    }
}

impl Flight {
    /// The transaction's id, as `pg_xact_status` takes it.
    pub fn xid(&self) -> &str {
        &self.xid
    }

    pub(crate) fn held(&self) -> Result<&Held> {
        self.held.as_ref().ok_or_else(over)
    }

    /// Runs more statements, all in one round trip.
    ///
    /// # Errors
    /// The first failure; the transaction is rolled back and the flight is over.
    pub async fn run(&mut self, queries: Vec<Query>) -> Result<Vec<Vec<Row>>> {
        let limit = self.shared.deadlines.statement;
        let held = self.held.take().ok_or_else(over)?;
        let result = match legs(&held, &queries, &self.shared).await {
            Ok(legs) => split(held.fly(legs, limit).await?, &[], &queries),
            Err(error) => Err(error),
        };
        match result {
            Ok(answers) => {
                self.held = Some(held);
                Ok(answers.into_iter().map(|answer| answer.rows).collect())
            }
            Err(error) => {
                held.rollback(limit).await;
                Err(error)
            }
        }
    }

    /// Runs `last` and commits, all in one round trip, and answers the rows of each query; `None` when it was committed but
    /// the connection was lost, and the rows with it. Once polled it runs to its end, even when the future is dropped.
    ///
    /// # Errors
    /// The first failure of a statement: rolled back, nothing was changed. When the connection is lost the outcome is
    /// looked up: Unavailable when it was rolled back, [`CommitUnknown`](mainspring_core::ErrorKind::CommitUnknown) when
    /// it cannot be found out.
    pub async fn commit(self, last: Vec<Query>) -> Result<Option<Vec<Vec<Row>>>> {
        in_task(self.land(last)).await
    }

    /// [`commit`](Self::commit) in the task of its caller, for one that nobody drops: a task less to wake.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn land(mut self, last: Vec<Query>) -> Result<Option<Vec<Vec<Row>>>> {
        let limit = self.shared.deadlines.statement;
        let held = self.held.take().ok_or_else(over)?;
        let mut legs = match legs(&held, &last, &self.shared).await {
            Ok(legs) => legs,
            Err(error) => {
                held.rollback(limit).await;
                return Err(error);
            }
        };
        legs.push(Leg::Batch("COMMIT"));
        let flown = held.fly(legs, limit).await?;
        let failed = flown.as_ref().map_or(Some(0), |answers| answers.iter().position(Result::is_err));
        let statement = failed.and_then(|at| last.get(at)).map_or("COMMIT", Query::sql);
        match first_failure_of(flown) {
            Ok(answers) => {
                held.release();
                Ok(Some(answers.into_iter().take(last.len()).map(|answer| answer.rows).collect()))
            }
            // A statement was refused, so COMMIT rolled back, and its own answer came too or the connection is closed.
            Err(failure) if failure.class() != Class::Lost => {
                held.release();
                Err(failure.into_error(statement))
            }
            Err(failure) => {
                let began = Some((self.xid.as_str(), &self.incarnation));
                conclude(failure, held, began, &self.pool, &self.shared).await?;
                Ok(None)
            }
        }
    }

    /// Rolls back; the connection goes back to the pool when the server answers.
    ///
    /// # Errors
    /// Internal when the flight is over already.
    pub async fn rollback(mut self) -> Result<()> {
        let held = self.held.take().ok_or_else(over)?;
        held.rollback(self.shared.deadlines.statement).await;
        Ok(())
    }
}

fn over() -> Error {
    Error::internal("this flight ended with its first failure")
}

async fn legs<'q>(held: &Held, queries: &'q [Query], shared: &Shared) -> Result<Vec<Leg<'q>>> {
    let texts: Vec<_> = queries.iter().map(|query| shared.names.render(query.sql())).collect();
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    let statements = held.prepare(&texts, shared, Place::Inside).await?;
    let statements = statements.map_err(|failure| failure.into_error("prepare"))?;
    Ok(statements
        .into_iter()
        .zip(queries)
        .map(|(statement, query)| Leg::Ask(statement, query.params()))
        .collect())
}

type Flown = Result<Vec<Result<Answer, Failure>>, Failure>;

fn first_failure_of(flown: Flown) -> Result<Vec<Answer>, Failure> {
    flown?.into_iter().collect()
}

/// The answers, or the first failure as an error naming its statement.
pub(crate) fn split(flown: Flown, before: &[&'static str], queries: &[Query]) -> Result<Vec<Answer>> {
    let failed = flown.as_ref().map_or(Some(0), |answers| answers.iter().position(Result::is_err));
    let sql = before.iter().copied().chain(queries.iter().map(Query::sql)).nth(failed.unwrap_or(0));
    first_failure_of(flown).map_err(|failure| failure.into_error(sql.unwrap_or("the transaction")))
}

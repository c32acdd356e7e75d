//! The transaction helper, and how a COMMIT ends.
//!
//! ```text
//! BEGIN ─► closure ─► guard: xid, fails in an aborted transaction ─► COMMIT ─► Ok
//!             │ Err                                                    │ the answer is lost
//!         ROLLBACK ─► 40001, 40P01, lost: again, at most 5 times       └─► pg_xact_status(xid) on another connection
//!                                                                           committed: Ok   aborted: again   else: unknown
//!                                                                           (committed after a crash: unknown, see incarnation)
//! ```
//! Guard and COMMIT run in a task of their own, so dropping the caller's future cannot stop half-way between them.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::Pool;
use mainspring_core::{Error, ErrorKind, Result, metric};
use metrics::counter;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    db::{At, Db, Shared},
    error::{self, RolledBack},
    held::{self, Failure, Held, Leg},
    incarnation::{self, Incarnation},
    jitter::pause,
    sqlstate::Class,
    statements::Place,
};

/// How often a transaction is run before its conflict is the caller's.
const ATTEMPTS: u32 = 5;
const LEAST_PAUSE: Duration = Duration::from_millis(10);
const MOST_PAUSE: Duration = Duration::from_millis(500);

/// An async closure whose future can be named, so that it can be required to be `Send`. Every fitting closure is one.
pub trait AsyncFunc<A, R>: AsyncFn(A) -> R + Fn(A) -> <Self as AsyncFunc<A, R>>::Fut {
    /// The future of one call.
    type Fut: Future<Output = R>;
}

impl<F, A, Fut, R> AsyncFunc<A, R> for F
where
    F: AsyncFn(A) -> R + Fn(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const GUARD: &str = "SELECT pg_current_xact_id_if_assigned()::text";

impl Db<'_> {
    /// Runs `f` in one transaction: everything it did through its argument becomes durable, or nothing.
    ///
    /// Inside a transaction already, `f` joins it: nothing is committed or retried here. On the pool, `f` runs again, at
    /// most five times in all, after a serialization failure, a deadlock or a lost connection, so it must not do anything
    /// outside the transaction that may not be done twice.
    ///
    /// Dropping the future rolls back, except while COMMIT is under way: that is finished, one way or the other.
    ///
    /// # Errors
    /// What `f` answered; Internal when `f` swallowed the failure of a statement (nothing is committed then);
    /// [`CommitUnknown`](ErrorKind::CommitUnknown) when COMMIT was sent and nobody can say what became of it.
    pub async fn with_tx<T, F>(&self, f: F) -> Result<T>
    where
        for<'r, 'c> F:
            AsyncFn(&'r Db<'c>) -> Result<T> + AsyncFunc<&'r Db<'c>, Result<T>, Fut: Send> + Send + Sync,
        T: Send,
    {
        let At::Pool(pool) = &self.at else { return f(self).await };
        let mut attempt = 0;
        loop {
            let held = held::checkout(pool, &self.shared).await?;
            let incarnation = self.shared.incarnation.get(&held, &self.shared).await;
            let error = match self.open(&held).await {
                Ok(()) => {
                    let result = f(&Db { at: At::Open(&held), shared: self.shared.clone() }).await;
                    match result {
                        Ok(value) => match self.finish(held, incarnation, pool).await {
                            Ok(()) => return Ok(value),
                            Err(error) => error,
                        },
                        Err(error) => {
                            held.rollback(self.shared.deadlines.statement).await;
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            attempt += 1;
            if attempt == ATTEMPTS || !runs_again(&error) {
                return Err(error);
            }
            tracing::debug!(attempt, error = error.code(), "transaction runs again");
            counter!(metric::DB_RETRIES).increment(1);
            sleep(pause(attempt, LEAST_PAUSE, MOST_PAUSE)).await;
        }
    }

    async fn open(&self, held: &Held) -> Result<()> {
        let answers = held.fly(vec![Leg::Batch(BEGIN)], self.shared.deadlines.statement).await?;
        first_failure(answers).map_err(|failure| failure.into_error(BEGIN))
    }

    async fn finish(&self, held: Held, incarnation: Incarnation, pool: &Pool) -> Result<()> {
        in_task(guarded_commit(held, incarnation, pool.clone(), self.shared.clone())).await
    }
}

fn runs_again(error: &Error) -> bool {
    let lost = error.kind() == ErrorKind::Unavailable && error::class(error) == Some(Class::Lost);
    lost || error::is_transient(error)
}

/// Runs to its end even when the caller's future is dropped (T2).
pub(crate) async fn in_task<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(unknown("the task of the commit ended").with_source(error)),
    }
}

async fn guarded_commit(held: Held, incarnation: Incarnation, pool: Pool, shared: Arc<Shared>) -> Result<()> {
    let limit = shared.deadlines.statement;
    let xid: Option<String> = match held.ask(GUARD, GUARD, &[], &shared, Place::Inside).await? {
        Ok(rows) => rows.first().and_then(|row| row.try_get(0).ok().flatten()),
        Err(failure) if failure.class() == Class::Aborted => {
            return Err(Error::internal(
                "a statement of the transaction failed and its failure was ignored: nothing was committed",
            )
            .with_source(failure.into_error(GUARD)));
        }
        Err(failure) => return Err(failure.into_error(GUARD)),
    };
    let answer = match held.fly(vec![Leg::Batch("COMMIT")], limit).await? {
        Ok(answers) => first_failure(Ok(answers)),
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(()) => {
            held.release();
            Ok(())
        }
        Err(failure) => {
            let began = xid.as_deref().map(|xid| (xid, &incarnation));
            conclude(failure, held, began, &pool, &shared).await
        }
    }
}

pub(crate) fn first_failure<T>(answers: Result<Vec<Result<T, Failure>>, Failure>) -> Result<(), Failure> {
    answers?.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

/// COMMIT did not answer `Ok`. `began` is the transaction's id and the incarnation of the server it began in; `None` for one
/// that changed nothing.
pub(crate) async fn conclude(
    failure: Failure,
    held: Held,
    began: Option<(&str, &Incarnation)>,
    pool: &Pool,
    shared: &Shared,
) -> Result<()> {
    if failure.class() != Class::Lost {
        held.release();
        return Err(failure.into_error("COMMIT"));
    }
    drop(held);
    shared.incarnation.forget();
    let Some((xid, incarnation)) = began else { return Ok(()) };
    match status(xid, incarnation, pool, shared).await {
        Some(Ending::Committed) => Ok(()),
        Some(Ending::RolledBack) => {
            Err(Error::new(ErrorKind::Unavailable, "the connection was lost before COMMIT took effect")
                .with_source(RolledBack))
        }
        None => Err(unknown("the connection was lost during COMMIT and the outcome could not be found out")
            .with_source(failure.into_error("COMMIT"))),
    }
}

pub(crate) fn unknown(message: &str) -> Error {
    counter!(metric::COMMIT_UNKNOWN).increment(1);
    Error::new(ErrorKind::CommitUnknown, message)
}

enum Ending {
    Committed,
    RolledBack,
}

const STATUS: &str = "SELECT pg_xact_status($1::text::xid8)";

/// Asks another connection what became of a transaction, until it has ended. `None`: nobody knows in time. After a
/// failover to a standby that missed the last commits the answer is about that standby, as any other read there is.
///
/// `committed` counts only in the incarnation in which the transaction began; after a crash the id may be another one's. One
/// that was committed keeps its id through a crash, so `aborted` always counts.
async fn status(xid: &str, began: &Incarnation, pool: &Pool, shared: &Shared) -> Option<Ending> {
    let until = Instant::now() + shared.deadlines.resolve;
    for attempt in 0.. {
        let look = async {
            let held = held::checkout(pool, shared).await.ok()?;
            let status = match held.ask(STATUS, STATUS, &[&xid], shared, Place::Outside).await.ok()? {
                Ok(rows) => rows.first()?.try_get::<_, Option<String>>(0).ok()?,
                // An id "in the future" was handed out before a crash that forgot it.
                Err(failure) if failure.class() == Class::Input => Some("aborted".to_owned()),
                Err(_) => return None,
            };
            let same = began.is_some() && incarnation::read(&held, shared).await == *began;
            held.release();
            Some((status?, same))
        };
        match timeout_at(until, look).await.ok()?.as_ref().map(|(status, same)| (status.as_str(), *same)) {
            Some(("committed", same)) => return same.then_some(Ending::Committed),
            Some(("aborted", _)) => return Some(Ending::RolledBack),
            _ => {} // still in progress, or the server is not back yet
        }
        let next = Instant::now() + pause(attempt, LEAST_PAUSE, MOST_PAUSE);
        if next >= until {
            return None;
        }
        tokio::time::sleep_until(next).await;
    }
    None
}

//! One pooled connection in our hands.
//!
//! ```text
//! checkout ──► held ──release()──► pool
//!               ├────rollback()──► pool, when the server answered
//!               └────drop────────► closed
//! ```
//! Dropping is what cancellation does, and then nobody knows what the connection is in the middle of, so it never goes
//! back to the pool (T4): the pool's own recycling would hand an open transaction to the next borrower.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use deadpool_postgres::{Object, Pool, PoolError, Timeouts};
use futures_util::{TryStreamExt, future::join_all};
use mainspring_core::{Error, ErrorKind, Result, metric};
use metrics::{counter, histogram};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{
    Client, Error as PgError, Row, SimpleQueryMessage,
    types::{ToSql, Type},
};

use crate::{
    db::Shared,
    error::{failed, label, no_connection},
    jitter::pause,
    sqlstate::{Class, classify},
    statements::{Place, Ready, Statements},
};

pub(crate) type Params<'p> = [&'p (dyn ToSql + Sync)];
/// Takes the rows of an answer as they arrive.
pub(crate) type Each<'e> = dyn FnMut(Row) + Send + 'e;

/// What one statement answered.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    /// What a batch selected last, as text: its first column.
    pub(crate) text: Option<String>,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// The driver or the server said so. `sent` is false when the statement cannot have reached the server.
    Driver { error: PgError, sent: bool },
    /// Nobody said anything for this long.
    Late(Duration),
}

impl Failure {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Driver { error, .. } => classify(error),
            Self::Late(_) => Class::Lost,
        }
    }

    /// The class of its SQLSTATE, two characters; `none` when the server said nothing.
    fn state(&self) -> String {
        let code = match self {
            Self::Driver { error, .. } => error.code(),
            Self::Late(_) => None,
        };
        code.and_then(|code| code.code().get(..2)).unwrap_or("none").to_owned()
    }

    pub(crate) fn sent(&self) -> bool {
        !matches!(self, Self::Driver { sent: false, .. })
    }

    pub(crate) fn into_error(self, sql: &str) -> Error {
        match self {
            Self::Driver { error, .. } => failed(label(sql), error),
            Self::Late(limit) => {
                Error::new(ErrorKind::Busy, format!("{}: no answer within {limit:?}", label(sql)))
            }
        }
    }
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Self::Driver { error, sent: true }
    }
}

pub(crate) struct Held {
    object: Option<Object>,
    broken: AtomicBool,
}

/// A connection of the pool, waiting no longer than `deadlines` allow, whatever the pool itself was built with (T6).
pub(crate) async fn checkout(pool: &Pool, shared: &Shared) -> Result<Held> {
    let deadlines = &shared.deadlines;
    let limits = Timeouts {
        wait: Some(deadlines.wait),
        create: Some(deadlines.create),
        recycle: Some(deadlines.recycle),
    };
    let begin = Instant::now();
    let mut attempt = 0;
    let object = loop {
        let object = match pool.timeout_get(&limits).await {
            // A pool built by the application without a runtime cannot keep time: we do.
            Err(PoolError::NoRuntimeSpecified) => {
                let unlimited = Timeouts { wait: None, create: None, recycle: None };
                timeout(deadlines.wait + deadlines.create, pool.timeout_get(&unlimited))
                    .await
                    .unwrap_or(Err(PoolError::Timeout(deadpool_postgres::TimeoutType::Wait)))
            }
            other => other,
        };
        // Others have taken the server's last connections: one of those that are open here may come free.
        let full = matches!(&object, Err(PoolError::Backend(error)) if classify(error) == Class::Pressure);
        if !full || pool.status().size == 0 || begin.elapsed() >= deadlines.wait {
            break object;
        }
        sleep(pause(attempt, Duration::from_millis(10), Duration::from_millis(200))).await;
        attempt += 1;
    };
    let object = object.map_err(|error| no_connection(error, pool.status().max_size, shared))?;
    histogram!(metric::DB_ACQUIRE).record(begin.elapsed());
    Ok(Held { object: Some(object), broken: AtomicBool::new(false) })
}

impl Held {
    pub(crate) fn object(&self) -> Result<&Object> {
        self.object.as_ref().ok_or_else(|| Error::internal("a connection was used after it was given back"))
    }

    /// Prepares and runs one statement.
    pub(crate) async fn ask(
        &self,
        sql: &str,
        text: &str,
        params: &Params<'_>,
        shared: &Shared,
        place: Place,
    ) -> Result<Result<Vec<Row>, Failure>> {
        let mut rows = Vec::new();
        let asked = self.each(sql, text, params, shared, place, &mut |row| rows.push(row)).await?;
        Ok(asked.map(|_| rows))
    }

    /// The same with its rows handed over as they arrive; how many were changed.
    pub(crate) async fn each(
        &self,
        sql: &str,
        text: &str,
        params: &Params<'_>,
        shared: &Shared,
        place: Place,
        each: &mut Each<'_>,
    ) -> Result<Result<u64, Failure>> {
        let (object, limit) = (self.object()?, shared.deadlines.statement);
        let work = async {
            let unsent = |error| Failure::Driver { error, sent: false };
            let statement = match shared.statements {
                Statements::Named => object.prepare_cached(text).await.map(Ready::Named).map(Some),
                Statements::Unnamed => {
                    shared.known.ready(object, &[text], place).await.map(|mut ready| ready.pop())
                }
            };
            let Some(statement) = statement.map_err(unsent)? else { return Ok(0) };
            let closed_before = object.is_closed();
            let answer = ask(object, &statement, params, each).await;
            answer.map_err(|error| Failure::Driver { error, sent: !closed_before })
        };
        let answer = timeout(limit, work).await.unwrap_or(Err(Failure::Late(limit)));
        if let Err(failure) = &answer {
            tracing::debug!(statement = label(sql), class = ?failure.class(), "statement failed");
            self.note(failure);
        }
        Ok(answer)
    }

    /// Prepares statements, all of them in one flight; those of the cache cost nothing.
    pub(crate) async fn prepare(
        &self,
        texts: &[&str],
        shared: &Shared,
        place: Place,
    ) -> Result<Result<Vec<Ready>, Failure>> {
        let (object, limit) = (self.object()?, shared.deadlines.statement);
        let work = async {
            match shared.statements {
                Statements::Named => {
                    let all = join_all(texts.iter().map(|text| object.prepare_cached(text))).await;
                    all.into_iter().map(|statement| statement.map(Ready::Named)).collect()
                }
                Statements::Unnamed => shared.known.ready(object, texts, place).await,
            }
        };
        let answer = match timeout(limit, work).await {
            Ok(all) => all.map_err(|error| Failure::Driver { error, sent: false }),
            Err(_) => Err(Failure::Late(limit)),
        };
        if let Err(failure) = &answer {
            self.note(failure);
        }
        Ok(answer)
    }

    /// Sends every leg at once and collects the answers in order.
    pub(crate) async fn fly(
        &self,
        legs: Vec<Leg<'_>>,
        limit: Duration,
    ) -> Result<Result<Vec<Result<Answer, Failure>>, Failure>> {
        let object = self.object()?;
        let answers = match timeout(limit, join_all(legs.into_iter().map(|leg| leg.go(object)))).await {
            Ok(answers) => answers,
            Err(_) => {
                self.note(&Failure::Late(limit));
                return Ok(Err(Failure::Late(limit)));
            }
        };
        for failure in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            // Those after the first failure only say that the transaction is aborted.
            if failure.class() != Class::Aborted {
                self.note(failure);
            }
        }
        Ok(Ok(answers))
    }

    fn note(&self, failure: &Failure) {
        let class = failure.class();
        counter!(metric::DB_ERRORS, "sqlstate_class" => failure.state()).increment(1);
        if !class.keeps_connection() {
            self.broken.store(true, Ordering::Relaxed);
        }
        if class == Class::Stale {
            // Every connection of the pool prepared the same text against the old tables (T11).
            if let Some(pool) = self.object.as_ref().and_then(Object::pool) {
                pool.manager().statement_caches.clear();
            }
        }
    }

    /// Back to the pool, unless something happened that makes the connection doubtful.
    pub(crate) fn release(mut self) {
        if self.broken.load(Ordering::Relaxed) {
            return; // Drop closes it
        }
        drop(self.object.take());
    }

    /// Rolls back and goes back to the pool; closed when the server does not answer.
    pub(crate) async fn rollback(self, limit: Duration) {
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        let done = match self.object() {
            Ok(object) => timeout(limit, object.batch_execute("ROLLBACK")).await,
            Err(_) => return,
        };
        if matches!(done, Ok(Ok(()))) {
            self.release();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// One message of a flight. A batch is sent as it stands and may be several statements without parameters.
pub(crate) enum Leg<'a> {
    Batch(&'static str),
    Ask(Ready, Vec<&'a (dyn ToSql + Sync)>),
}

impl Leg<'_> {
    async fn go(self, client: &Client) -> Result<Answer, Failure> {
        match self {
            Self::Batch(sql) => {
                let messages = client.simple_query(sql).await.map_err(Failure::from)?;
                Ok(Answer { text: messages.iter().rev().find_map(text), ..Answer::default() })
            }
            Self::Ask(statement, params) => {
                let mut rows = Vec::new();
                ask(client, &statement, &params, &mut |row| rows.push(row)).await?;
                Ok(Answer { rows, text: None })
            }
        }
    }
}

fn text(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

/// How many rows were changed. The statement is sent at the first poll, so futures polled one after the other go out together,
/// in order.
pub(crate) async fn ask(
    client: &Client,
    statement: &Ready,
    params: &Params<'_>,
    each: &mut Each<'_>,
) -> Result<u64, PgError> {
    let stream = match statement {
        Ready::Named(statement) => client.query_raw(statement, values(params)).await?,
        Ready::Unnamed(text, types) => client.query_typed_raw(text, typed(params, types)).await?,
    };
    let mut stream = pin!(stream);
    while let Some(row) = stream.try_next().await? {
        each(row);
    }
    Ok(stream.rows_affected().unwrap_or(0))
}

fn values<'a>(params: &'a Params<'a>) -> impl ExactSizeIterator<Item = &'a (dyn ToSql + Sync)> + 'a {
    params.iter().copied()
}

fn typed<'a>(
    params: &'a Params<'a>,
    types: &'a [Type],
) -> impl Iterator<Item = (&'a (dyn ToSql + Sync), Type)> + 'a {
    params.iter().copied().zip(types.iter().cloned())
}

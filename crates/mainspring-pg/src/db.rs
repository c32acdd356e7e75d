//! Where statements run: on the pool, or inside a transaction. One enum, so that every store method works in both.
//!
//! On the pool each statement is a transaction of its own. A statement that changes something and whose answer is lost is
//! [`CommitUnknown`](mainspring_core::ErrorKind::CommitUnknown): it may have happened.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Pool, Transaction as PooledTx};
use mainspring_core::{Error, ErrorKind, Result, metric};
use metrics::counter;
use tokio::time::timeout;
use tokio_postgres::{Client, Error as PgError, Row, Transaction as PlainTx, types::ToSql};

use crate::{
    clock::Clock,
    held::{self, Each, Failure, Held, Params},
    incarnation::Remembered,
    names::Names,
    query::Query,
    settings::Settings,
    sqlstate::Class,
    statements::{Known, Place, Ready, Statements},
};

/// How long each kind of waiting may last.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Deadlines {
    /// For a free connection of the pool. Defaults to 5 s.
    pub wait: Duration,
    /// For a new connection. Defaults to 5 s.
    pub create: Duration,
    /// For the check of a used connection. Defaults to 2 s.
    pub recycle: Duration,
    /// For the answer to one statement, or to one flight of them. Defaults to 35 s, over the server's own 30 s.
    pub statement: Duration,
    /// For finding out what became of a COMMIT whose answer was lost. Defaults to 10 s.
    pub resolve: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            wait: seconds(5),
            create: seconds(5),
            recycle: seconds(2),
            statement: seconds(35),
            resolve: seconds(10),
        }
    }
}

/// The pool, or a transaction to stand in, with the names of our tables. A clone is cheap and stands in the same place.
#[derive(Clone)]
pub struct Db<'t> {
    pub(crate) at: At<'t>,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) deadlines: Deadlines,
    /// Where the pool connects to, when that is known.
    pub(crate) hosts: Option<String>,
    pub(crate) clock: Clock,
    pub(crate) statements: Statements,
    pub(crate) known: Known,
    pub(crate) incarnation: Remembered,
}

#[derive(Clone)]
pub(crate) enum At<'t> {
    Pool(Pool),
    /// A transaction [`Db::with_tx`] opened.
    Open(&'t Held),
    Pooled(&'t PooledTx<'t>),
    Plain(&'t PlainTx<'t>),
}

/// A transaction to stand in; see [`Db::on`].
pub struct TxRef<'u>(At<'u>);

impl<'u> From<&'u PooledTx<'_>> for TxRef<'u> {
    fn from(tx: &'u PooledTx<'_>) -> Self {
        Self(At::Pooled(tx))
    }
}

impl<'u> From<&'u PlainTx<'_>> for TxRef<'u> {
    fn from(tx: &'u PlainTx<'_>) -> Self {
        Self(At::Plain(tx))
    }
}

/// Where that [`Db`] stands.
impl<'u> From<&Db<'u>> for TxRef<'u> {
    fn from(db: &Db<'u>) -> Self {
        Self(db.at.clone())
    }
}

impl Db<'static> {
    /// On a pool of our own making ([`pool`](crate::pool())) or of the application's. Nothing is connected yet.
    pub fn new(pool: Pool, names: Names) -> Self {
        Self::with_deadlines(pool, names, Deadlines::default())
    }

    /// [`new`](Self::new) with other deadlines.
    pub fn with_deadlines(pool: Pool, names: Names, deadlines: Deadlines) -> Self {
        Self::with_statements(pool, names, deadlines, Statements::Named)
    }

    /// [`with_deadlines`](Self::with_deadlines) with statements sent in another way.
    pub fn with_statements(pool: Pool, names: Names, deadlines: Deadlines, statements: Statements) -> Self {
        let (clock, known, incarnation) = (Clock::default(), Known::default(), Remembered::default());
        let shared = Shared { names, deadlines, hosts: None, clock, statements, known, incarnation };
        Self { at: At::Pool(pool), shared: Arc::new(shared) }
    }

    /// The same for a pool that was made from these settings: its errors name their hosts. Not for one that was cloned.
    #[must_use]
    pub fn at_hosts_of(mut self, settings: &Settings) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.hosts = Some(settings.hosts().join(", "));
        }
        self
    }
}

impl<'t> Db<'t> {
    /// The same database seen from inside the caller's transaction. Everything run there is committed or rolled back by
    /// the caller. Beware: the driver's `commit` answers `Ok` even when a failed statement aborted the transaction.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> Db<'u> {
        Db { at: tx.into().0, shared: self.shared.clone() }
    }

    /// The same database outside of any transaction, to keep; `None` in a transaction.
    pub fn to_pool(&self) -> Option<Db<'static>> {
        match &self.at {
            At::Pool(pool) => Some(Db { at: At::Pool(pool.clone()), shared: self.shared.clone() }),
            _ => None,
        }
    }

    /// Connections of the pool, those nobody uses, and tasks that wait for one; `None` in a transaction.
    pub fn pool_use(&self) -> Option<(usize, usize, usize)> {
        match &self.at {
            At::Pool(pool) => {
                let status = pool.status();
                Some((status.size, status.available, status.waiting))
            }
            _ => None,
        }
    }

    /// The names of our tables.
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// The database's clock, shared by everything that stands on this `Db`.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Whether statements run inside a transaction someone else commits.
    pub fn in_transaction(&self) -> bool {
        !matches!(self.at, At::Pool(_))
    }

    /// The driver's client of the transaction we stand in, for SQL of the application; `None` on the pool.
    pub fn client(&self) -> Option<&Client> {
        match &self.at {
            At::Pool(_) => None,
            At::Open(held) => held.object().ok().map(|object| -> &Client { object }),
            At::Pooled(tx) => Some(tx.client()),
            At::Plain(tx) => Some(tx.client()),
        }
    }

    /// Runs one statement. A SELECT is taken to change nothing; one that calls a function that writes belongs into
    /// [`with_tx`](Self::with_tx).
    ///
    /// # Errors
    /// By SQLSTATE, as [`classify`](crate::classify()) says. Busy when no connection is free or the answer is late, and
    /// [`CommitUnknown`](ErrorKind::CommitUnknown) when the answer to a change is lost outside a transaction.
    pub async fn run(&self, query: Query) -> Result<Vec<Row>> {
        self.all(query.sql(), &query.params()).await
    }

    /// Runs one statement and hands its rows over as they arrive: what is made of one is made while the next one is on its way,
    /// and no more than one is kept. After the first error no more of them are handed over.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `each` says.
    pub async fn each(&self, query: Query, mut each: impl FnMut(&Row) -> Result<()> + Send) -> Result<()> {
        let mut read = Ok(());
        let mut sink = |row: Row| {
            if read.is_ok() {
                read = each(&row);
            }
        };
        self.answer(query.sql(), &query.params(), &mut sink).await?;
        read
    }

    /// All rows of one statement.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn all(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.answer(sql, params, &mut |row| rows.push(row)).await?;
        Ok(rows)
    }

    /// The row of a statement that answers one or none.
    ///
    /// # Errors
    /// As [`run`](Self::run), and Internal for two rows.
    pub async fn opt(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>> {
        let mut rows = self.all(sql, params).await?;
        if rows.len() > 1 {
            let (label, rows) = (crate::error::label(sql), rows.len());
            return Err(Error::internal(format!("{label}: {rows} rows, at most one was expected")));
        }
        Ok(rows.pop())
    }

    /// The row of a statement that answers exactly one.
    ///
    /// # Errors
    /// As [`run`](Self::run), and Internal for none or two rows.
    pub async fn one(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        self.opt(sql, params)
            .await?
            .ok_or_else(|| Error::internal(format!("{}: no row, one was expected", crate::error::label(sql))))
    }

    /// How many rows the statement changed.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn exec(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        self.answer(sql, params, &mut |_| ()).await
    }

    /// How many rows were changed.
    async fn answer(&self, sql: &'static str, params: &Params<'_>, each: &mut Each<'_>) -> Result<u64> {
        let text = self.names().render(sql);
        let limit = self.shared.deadlines.statement;
        let answer = match &self.at {
            At::Pool(pool) => return self.answer_on(pool, sql, &text, params, each).await,
            At::Open(held) => held.each(sql, &text, params, &self.shared, Place::Inside, each).await?,
            At::Pooled(tx) => {
                let work = async {
                    let statement = match self.shared.statements {
                        Statements::Named => Ready::Named(tx.prepare_cached(&text).await?),
                        Statements::Unnamed => self.unnamed(tx.client(), &text).await?,
                    };
                    held::ask(tx.client(), &statement, params, each).await
                };
                timeout(limit, work)
                    .await
                    .map_or(Err(Failure::Late(limit)), |done| done.map_err(Failure::from))
            }
            At::Plain(tx) => {
                let work = async {
                    let statement = match self.shared.statements {
                        Statements::Named => Ready::Named(tx.prepare(&text).await?),
                        Statements::Unnamed => self.unnamed(tx.client(), &text).await?,
                    };
                    held::ask(tx.client(), &statement, params, each).await
                };
                timeout(limit, work)
                    .await
                    .map_or(Err(Failure::Late(limit)), |done| done.map_err(Failure::from))
            }
        };
        answer.map_err(|failure| failure.into_error(sql))
    }

    async fn unnamed(&self, client: &Client, text: &str) -> Result<Ready, PgError> {
        let mut ready = self.shared.known.ready(client, &[text], Place::Inside).await?;
        Ok(ready.pop().unwrap_or_else(|| Ready::Unnamed(text.to_owned(), Arc::default())))
    }

    /// A statement the server cannot have seen, or refused as out of date, is sent once more on another connection.
    async fn answer_on(
        &self,
        pool: &Pool,
        sql: &str,
        text: &str,
        params: &Params<'_>,
        each: &mut Each<'_>,
    ) -> Result<u64> {
        let mut again = true;
        loop {
            let held = held::checkout(pool, &self.shared).await?;
            let failure = match held.each(sql, text, params, &self.shared, Place::Outside, each).await? {
                Ok(answer) => {
                    held.release();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            held.release();
            let lost = failure.class() == Class::Lost;
            if again && (failure.class() == Class::Stale || (lost && !failure.sent())) {
                again = false;
                counter!(metric::DB_RETRIES).increment(1);
                continue;
            }
            if lost && failure.sent() && !only_reads(sql) {
                counter!(metric::COMMIT_UNKNOWN).increment(1);
                let unknown =
                    format!("{}: the answer was lost, it may have happened", crate::error::label(sql));
                return Err(
                    Error::new(ErrorKind::CommitUnknown, unknown).with_source(failure.into_error(sql))
                );
            }
            return Err(failure.into_error(sql));
        }
    }
}

/// Says yes only when it is plain: a statement wrongly taken for a change costs the caller one more look.
fn only_reads(sql: &str) -> bool {
    let verb = sql.split_whitespace().next().unwrap_or_default();
    verb.eq_ignore_ascii_case("SELECT") || verb.eq_ignore_ascii_case("SHOW")
}

impl std::fmt::Debug for Db<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.in_transaction() { "transaction" } else { "pool" };
        write!(f, "Db({place}, {:?})", self.names())
    }
}

//! A statement that is a transaction of its own, and what may become of it.
//!
//! One message instead of a transaction's four, at a price: it has no id that could be looked up when its answer is lost. So
//! whoever makes an attempt has to know how to find out otherwise.

use std::time::Duration;

use mainspring_core::{Error, Result};
use tokio_postgres::Row;

use crate::{
    db::{At, Db},
    held,
    query::Query,
    sqlstate::Class,
    statements::Place,
};

/// What became of a statement that changes something.
#[derive(Debug)]
#[must_use = "the statement may have failed"]
pub enum Attempt {
    /// It was committed.
    Done(Vec<Row>),
    /// The server refused it, or it never got there: nothing was changed.
    Refused(Error),
    /// Its answer was lost. It may have been committed, and it may still be under way.
    InDoubt(Error),
}

impl Db<'_> {
    /// Runs one statement that changes something, once, outside any transaction.
    ///
    /// # Errors
    /// Internal inside a transaction; Busy or Unavailable when there is no connection, and nothing was sent.
    pub async fn attempt(&self, query: &Query) -> Result<Attempt> {
        let At::Pool(pool) = &self.at else {
            return Err(Error::internal("an attempt is a transaction of its own"));
        };
        let held = held::checkout(pool, &self.shared).await?;
        let text = self.names().render(query.sql());
        let answer = held.ask(query.sql(), &text, &query.params(), &self.shared, Place::Outside).await?;
        held.release();
        Ok(match answer {
            Ok(rows) => Attempt::Done(rows),
            Err(failure) if failure.class() == Class::Lost && failure.sent() => {
                self.shared.incarnation.forget();
                Attempt::InDoubt(failure.into_error(query.sql()))
            }
            Err(failure) => Attempt::Refused(failure.into_error(query.sql())),
        })
    }

    /// How long to go on asking what became of a change.
    pub fn resolve_within(&self) -> Duration {
        self.shared.deadlines.resolve
    }
}

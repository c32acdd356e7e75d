//! How statements reach the server: prepared once per connection and named, or sent whole each time.
//!
//! A pooler in transaction mode hands every transaction to another connection of the server, where a name that was prepared
//! before means nothing. PgBouncer keeps track of names from 1.21 on, with `max_prepared_statements`; before that only
//! statements without a name work. The driver has to know the types of their parameters, and asks for those once: it
//! prepares the statement in a transaction and forgets it there, so that no name outlives it on the server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Error as PgError, Statement, types::Type};

/// How statements reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Statements {
    /// Prepared once on every connection: the least work for the server.
    #[default]
    Named,
    /// Sent whole each time, for a pooler in transaction mode that does not keep track of names: PgBouncer before 1.21, or
    /// with `max_prepared_statements = 0`.
    Unnamed,
}

/// What is known of statements that have no name.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<String, Arc<[Type]>>>);

/// A statement that is ready to be sent.
#[derive(Clone)]
pub(crate) enum Ready {
    Named(Statement),
    Unnamed(String, Arc<[Type]>),
}

/// Where a statement is made ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a connection in no transaction.
    Outside,
    /// In an open transaction.
    Inside,
}

impl Known {
    fn get(&self, text: &str) -> Option<Arc<[Type]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned()
    }

    /// Makes statements ready that go without a name.
    pub(crate) async fn ready(
        &self,
        client: &Client,
        texts: &[&str],
        place: Place,
    ) -> Result<Vec<Ready>, PgError> {
        let unknown: Vec<&str> = texts.iter().copied().filter(|text| self.get(text).is_none()).collect();
        if !unknown.is_empty() {
            self.learn(client, &unknown, place).await?;
        }
        let ready = |text: &&str| self.get(text).map(|types| Ready::Unnamed((*text).to_owned(), types));
        Ok(texts.iter().filter_map(ready).collect())
    }

    async fn learn(&self, client: &Client, texts: &[&str], place: Place) -> Result<(), PgError> {
        if place == Place::Outside {
            client.batch_execute("BEGIN READ ONLY").await?;
        }
        let prepared = try_join_all(texts.iter().map(|text| client.prepare(text))).await;
        if let Ok(statements) = &prepared {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (text, statement) in texts.iter().zip(statements) {
                known.insert((*text).to_owned(), statement.params().into());
            }
        }
        // Dropping a statement has the server forget its name: before the transaction ends, so on the same server.
        let learned = prepared.map(drop);
        if place == Place::Outside {
            client.batch_execute("ROLLBACK").await?;
        }
        learned
    }
}

//! Which life of the server this is: what it says of a transaction id holds for the life in which the id was handed out.
//!
//! A server that crashes forgets the transactions whose records it had not written to disk, and their ids with them: it hands
//! them out again, and `pg_xact_status` then answers for the new owner. `{incarnation}` is a table without WAL, empty after
//! every crash, so an id that is still in it says that there was no crash since it was read.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{db::Shared, held::Held, statements::Place};

const READ: &str = "SELECT id::text FROM {incarnation}";
const MAKE: &str = "INSERT INTO {incarnation} DEFAULT VALUES ON CONFLICT DO NOTHING";

/// An incarnation of the server, read before a transaction began.
pub(crate) type Incarnation = Option<Arc<str>>;

/// The last incarnation read. It may be an old one: then nothing equals it, and an outcome is unknown that could be known.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Option<Incarnation>>);

impl Remembered {
    /// The incarnation, read on `held` when nobody did before. `None` where the table is missing: nothing is known then.
    pub(crate) async fn get(&self, held: &Held, shared: &Shared) -> Incarnation {
        if let Some(known) = self.lock().clone() {
            return known;
        }
        let found = read(held, shared).await;
        *self.lock() = Some(found.clone());
        found
    }

    /// A connection was lost, so it may be another one now.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Incarnation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The incarnation now; a new one is named by whoever asks first.
pub(crate) async fn read(held: &Held, shared: &Shared) -> Incarnation {
    if let Some(id) = select(held, shared).await? {
        return Some(id);
    }
    let text = shared.names.render(MAKE);
    held.ask(MAKE, &text, &[], shared, Place::Outside).await.ok()?.ok()?;
    select(held, shared).await?
}

/// `None` when it cannot be read.
async fn select(held: &Held, shared: &Shared) -> Option<Incarnation> {
    let text = shared.names.render(READ);
    let rows = held.ask(READ, &text, &[], shared, Place::Outside).await.ok()?.ok()?;
    let Some(row) = rows.first() else { return Some(None) };
    Some(Some(row.try_get::<_, String>(0).ok()?.into()))
}

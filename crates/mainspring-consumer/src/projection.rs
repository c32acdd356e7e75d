//! Projections: projectors with a name and a version that can be built again from the log.

use std::sync::Arc;

use mainspring_core::{BoxFuture, Error, RecordedEvent, Result};
use mainspring_events::InlineProjection;
use mainspring_pg::{Db, row::get};

use crate::handler::{BoxError, Projector};

/// A projector whose tables can be built again.
pub trait Projection: Projector {
    /// Its name, under which it is registered and has its checkpoint.
    fn name(&self) -> &str;

    /// Its version. Two versions write to different places. Defaults to 1.
    fn version(&self) -> u32 {
        1
    }

    /// Deletes everything this version has written, in the transaction in which it begins anew.
    ///
    /// # Errors
    /// Any: the rebuild does not begin.
    fn clear<'a>(&'a self, tx: &'a Db<'a>) -> BoxFuture<'a, Result<(), BoxError>>;

    /// [`apply`](Projector::apply) for events of one append, which come from several transactions in any order. Defaults to
    /// the same.
    ///
    /// # Errors
    /// Any: the append fails.
    fn apply_inline<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        self.apply(tx, events)
    }
}

/// A projection kept in the transaction of each append: give it to
/// [`PgEventStore::with_inline`](mainspring_events::PgEventStore::with_inline).
///
/// It writes while its version is active or not registered. While it is [built](crate::Projections::rebuild) the rebuild
/// takes in what is appended, and hands over to it without a gap; while it is inactive it writes nothing.
pub struct Inline {
    projection: Arc<dyn Projection>,
    event_types: Vec<String>,
    version: i32,
}

impl Inline {
    /// Keeps this projection.
    pub fn new(projection: Arc<dyn Projection>) -> Self {
        let version = i32::try_from(projection.version()).unwrap_or(i32::MAX);
        Self { event_types: projection.event_types(), projection, version }
    }
}

impl InlineProjection for Inline {
    fn event_types(&self) -> &[String] {
        &self.event_types
    }

    fn apply<'a>(&'a self, tx: &'a Db<'a>, events: &'a [RecordedEvent]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let row = tx
                .one("SELECT {projection_status}($1, $2)", &[&self.projection.name(), &self.version])
                .await?;
            match get::<Option<String>>(&row, 0)?.as_deref() {
                None | Some("active") => self.projection.apply_inline(tx, events).await.map_err(ours),
                Some(_) => Ok(()),
            }
        })
    }
}

/// Our own error as it is, another one as the cause of ours.
pub(crate) fn ours(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::internal("the projection failed").with_source(error),
    }
}

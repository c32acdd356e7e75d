//! The seam for what is kept up to date in the transaction of each append.

use mainspring_core::{BoxFuture, RecordedEvent, Result};
use mainspring_pg::Db;

/// Something that follows appends within their own transaction: it is true of exactly what is committed, and its failure
/// undoes the append.
///
/// ```
/// use mainspring_core::{BoxFuture, RecordedEvent, Result};
/// use mainspring_events::InlineProjection;
/// use mainspring_pg::Db;
///
/// struct Totals;
///
/// impl InlineProjection for Totals {
///     fn apply<'a>(&'a self, tx: &'a Db<'a>, events: &'a [RecordedEvent]) -> BoxFuture<'a, Result<()>> {
///         Box::pin(async move {
///             let n = events.len() as i64;
///             tx.exec("UPDATE totals SET events = events + $1", &[&n]).await.map(drop)
///         })
///     }
/// }
/// ```
pub trait InlineProjection: Send + Sync {
    /// The types it wants to hear of; empty for all. Defaults to all.
    fn event_types(&self) -> &[String] {
        &[]
    }

    /// Takes in the events of one append, which are written but not committed, with their final positions. Everything it
    /// does goes through `tx`.
    ///
    /// # Errors
    /// Any: the append fails with it, and nothing is written.
    fn apply<'a>(&'a self, tx: &'a Db<'a>, events: &'a [RecordedEvent]) -> BoxFuture<'a, Result<()>>;
}

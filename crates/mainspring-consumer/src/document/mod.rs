//! Documents: JSON under an id in a collection, kept by projections or by the application.

mod collection;
mod find;
mod projection;

pub use collection::{Document, Documents};
pub use find::{Compare, Find};
pub use projection::DocumentProjection;

/// Which version of a collection is read: the active one of the projection of that name, else the one that is being built,
/// else the first.
macro_rules! live {
    ($rest:literal) => {
        concat!(
            "(SELECT coalesce($2::integer, (SELECT p.version FROM {projections} p WHERE p.name = $1 AND p.status <> 'inactive'
               ORDER BY p.status = 'active' DESC, p.version DESC LIMIT 1), 1) AS version OFFSET 0) v",
            $rest
        )
    };
}
pub(crate) use live;

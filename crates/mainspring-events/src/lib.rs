//! The event log on Postgres: streams, positions, one append, one reader.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db) and the migrations. An append checks what it expects of its stream and
//! assigns positions in one statement. Before it takes its first global position it takes the *position fence*, a shared
//! lock that lets readers tell below which position everything is settled (docs/ARCHITECTURE.md, rule 6).
//!
//! ```
//! use mainspring_core::{Append, EventStore, ExpectedPosition, NewEvent, event::STREAMS};
//! use mainspring_events::PgEventStore;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let events = PgEventStore::new(&db);
//! let added = NewEvent::new("ProductAdded", json!({"sku": "a-1"}));
//!
//! let append = Append::to("cart-1", vec![added.clone()]).expecting(ExpectedPosition::NoStream);
//! assert_eq!(events.append(append.clone()).await?.last, 1);
//! assert!(events.append(append).await.unwrap_err().is_conflict());
//!
//! let read = events.read_stream(STREAMS, "", "cart-1", 1, 100).await?;
//! assert_eq!(read[0].event, added);
//! # Ok(()) }
//! ```

mod append;
mod call;
mod command;
mod empty;
mod ext;
mod fold;
mod global;
mod hear;
mod import;
mod inline;
mod lifecycle;
mod locate;
mod meter;
mod pages;
mod read;
mod row;
mod run;
mod schemas;
mod snapshot;
mod spans;
mod store;
mod write;

pub use command::{CommandError, ConflictRetry, Handled, OnStream};
pub use empty::Positions;
pub use ext::{EventStoreExt, Streams};
pub use fold::{Folded, Read};
pub use global::{Fence, GlobalFilter, GlobalReader, HeldBy, LOG_HINT, Page, Settled};
pub use import::Imported;
pub use inline::InlineProjection;
pub use schemas::{Schemas, Versioned};
pub use snapshot::Snapshots;
pub use store::{AppendTogether, PgEventStore};

// The statements of these tables, for the one transaction in which the crate `mainspring` commits: nobody's API.
#[doc(hidden)]
pub use append::{Appending, Decided, events_query, place};
#[doc(hidden)]
pub use call::{AppendCall, CalledHeads};
#[doc(hidden)]
pub use locate::locate;
#[doc(hidden)]
pub use meter::{count_appended, counts as append_counts};
#[doc(hidden)]
pub use run::recorded;
#[doc(hidden)]
pub use write::{bind_histories, history_query};

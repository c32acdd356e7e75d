//! How full queues are and were, and warnings when they are too full.
//!
//! Upkeep counts all messages every minute in one statement and writes one row per queue. So a read costs as much as there
//! are queues or points, whatever the number of messages; it is exact for the moment of the count, which every answer names.
//! With very many messages it counts less often, so that counting takes at most a twentieth of the time.
//!
//! ```
//! use std::time::Duration;
//! use mainspring_core::{NewMessage, QueueDriver};
//! use mainspring_queue::{PgQueue, stats::{HistoryQuery, PgStats, Thresholds, Watch}};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let stats = PgStats::new(&db);
//! stats.watch("mail", Watch { backlog: Some(1), oldest: None }).await?;
//! let mail = |to| NewMessage::new("mail", "welcome", json!({"to": to}));
//! PgQueue::new(&db).push(vec![mail("ada"), mail("bob")]).await?;
//!
//! let warnings = stats.count(&Thresholds::default()).await?; // upkeep does it every minute
//! assert_eq!(warnings[0].to_string(), "2 messages are ready in queue `mail`, over 1");
//! assert_eq!(stats.latest().await?[0].ready, 2);
//! let hourly = HistoryQuery { bucket: Some(Duration::from_secs(3_600)), ..Default::default() };
//! assert_eq!(stats.history("mail", &hourly).await?.len(), 1);
//! # Ok(()) }
//! ```

mod count;
mod history;
mod store;
mod warning;

pub use count::QueueCount;
pub use history::{Aggregate, HistoryQuery, MAX_POINTS};
pub use store::PgStats;
pub use warning::{Thresholds, Warning, WarningKind, Watch};

pub(crate) use count::count;
pub(crate) use warning::{Finding, record};

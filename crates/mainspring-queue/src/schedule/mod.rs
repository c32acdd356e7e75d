//! Schedules: messages that are pushed again and again, each tick exactly once over all processes.
//!
//! ```text
//! put ─► waiting for its next tick ──tick──► fired: message pushed, history written, next tick set ─► waiting … ─► over
//!             ▲                └─pause─► paused ─resume─┐
//!             └─────────────────────────────────────────┘
//! ```
//! A schedule is a row with the time of its next tick. Firing is one transaction: a compare-and-set of that time, the push
//! and a row of history. So nothing is fired twice whoever fires, and nothing is lost when a process dies or all of them
//! do: the row waits, and [`Missed`] says what becomes of ticks that were due meanwhile. The database's clock decides; a
//! process whose own clock is wrong fires no differently.
//!
//! | what | default | else |
//! |---|---|---|
//! | [`Gap`]: a time of day that the clocks skip | fires as much later | skipped, or at the end of the gap |
//! | [`Fold`]: a time of day that comes twice | fires at the first | at the second, or at both |
//! | intervals ([`Timing::Every`], or a pattern with `*` among its hours, minutes or seconds) | absolute time | |
//! | [`Missed`]: ticks nobody fired in time | one fire for all | none, or one each up to a limit |
//!
//! ```
//! use std::time::Duration;
//! use mainspring_core::{NewMessage, QueueDriver};
//! use mainspring_queue::{PgQueue, schedule::{PgSchedules, Schedule, Timing}};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let schedules = PgSchedules::new(&db);
//! let report = NewMessage::new("reports", "report", json!({}));
//! schedules.put(&Schedule::new("nightly", Timing::cron("30 2 * * *").in_zone("Europe/Berlin"), report)).await?;
//! println!("{:?}", schedules.preview("reports", "nightly", 3).await?);
//! # test.advance(Duration::from_secs(86_400)).await;
//!
//! schedules.tick().await?; // a day later; upkeep does it by itself
//! assert_eq!(PgQueue::new(&db).stats("reports").await?.ready, 1);
//! assert_eq!(schedules.history("reports", "nightly", 10).await?.len(), 1);
//! # Ok(()) }
//! ```

mod cron;
mod definition;
mod fire;
mod row;
mod store;
mod tick;
mod ticks;
mod timing;

pub use cron::is_pattern;
pub use definition::{HEADER, MAX_JITTER, MAX_KEY, Schedule};
pub use row::{Fire, FireOutcome, ScheduleState};
pub use store::{FireFilter, PgSchedules, ScheduleFilter};
pub use tick::Ticked;
pub use ticks::{MAX_CAUGHT_UP, MAX_COUNTED, Missed};
pub use timing::{CronTiming, Fold, Gap, MIN_INTERVAL, Timing};

pub(crate) use store::WAKE;

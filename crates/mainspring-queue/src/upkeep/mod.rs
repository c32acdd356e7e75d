//! Upkeep: what has to be done now and then by somebody, done by one process at a time.
//!
//! ```text
//! follower ──lease free──► elected, term n+1 ──round, renew, round, …──► stopped or found dead ──► another is elected
//! a round: schedules that are due · leases of dead workers, messages that are due · what is old · counts and warnings
//! ```
//! Start it in every process: one is elected through a leased row, the others wait for its lease to run out. Everything it
//! writes is fenced by the number of its term, so one that was put to sleep and wakes up in another's term changes nothing.
//! Between rounds it sleeps until the next thing known to be due, and wakes early when a schedule is changed. What fails is
//! told to [`UpkeepOptions::on_event`] and tried again; nothing but [`stop`](RunningUpkeep::stop) ends the loop.
//!
//! ```
//! use std::sync::Arc;
//! use mainspring_queue::upkeep::{QueueUpkeep, UpkeepOptions};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let upkeep = Arc::new(QueueUpkeep::new(&db, UpkeepOptions::default())?);
//! let running = upkeep.start();
//! // …
//! running.stop().await?;
//! # Ok(()) }
//! ```

mod options;
mod round;
mod run;
mod skew;
mod term;

pub use options::{OnEvent, Part, UpkeepEvent, UpkeepOptions};
pub use round::{QueueUpkeep, Round};
pub use run::RunningUpkeep;
pub use skew::ClockSkew;

pub(crate) use term::Term;

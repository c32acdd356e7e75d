//! The doctor: looks at a database, changes nothing, and says what is wrong, where, and how to mend it.
//!
//! ```
//! use mainspring_doctor::{Code, Doctor};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let (settings, names) = (test.settings().clone(), test.names().clone());
//! # test.client().await.batch_execute("DROP INDEX ms_jobs_by_status").await.unwrap();
//! let report = Doctor::new(settings, names).run().await?;
//! let lost = report.of(Code::IndexMissing).next().unwrap();
//! assert_eq!(lost.subject, "index ms_jobs_by_status");
//! assert!(lost.mend.as_ref().unwrap().starts_with("CREATE INDEX CONCURRENTLY"));
//! # Ok(()) }
//! ```
//!
//! | it looks at | by |
//! |---|---|
//! | the history of the migrations | what this binary knows |
//! | tables, columns, constraints, indexes, triggers, sequences, views | a record of a freshly migrated database |
//! | functions | the text of the migrations |
//! | settings of the server | what durability and the library need |
//! | grants of the application's role | what the library does |
//! | transactions, replication slots and prepared transactions that keep old rows | their age |
//! | executions and messages nobody drives | rows, workers and the time |
//! | invariants, when it is asked to look deep | whole tables |
//!
//! Everything it can find is a [`Code`]. What cannot be looked at is a finding too, and takes nothing else with it.

pub mod catalog;
mod decode;
mod deep;
mod definitions;
mod drift;
mod finding;
mod grants;
mod mend;
mod options;
mod pinned;
mod redis;
mod run;
mod server;
mod work;

pub use finding::{Code, Finding, Report, Severity};
pub use options::DoctorOptions;
pub use redis::{RedisFacts, judge_redis};
pub use run::Doctor;

//! Flow definitions on Postgres: immutable versions, latest by semver.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db) and the migrations.
//!
//! A version is written once and never changes. Saving the same content again is fine, so every process of a fleet may save
//! its flows when it starts; saving other content under a version that exists is refused, because executions are pinned to
//! versions. That also makes definitions safe to keep: what was read once is never read again, while the question which
//! version is the latest always goes to the database, so that the versions of other processes are seen at once.
//!
//! ```
//! use mainspring_core::{Flow, FlowStore, Saved, flow::Step};
//! use mainspring_flows::PgFlowStore;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let flows = PgFlowStore::new(&db);
//! let greet = |version: &str, text: &str| {
//!     let step = Step::new("hello", "transform").input(json!({"static": text}));
//!     Flow::builder("greet", version).step(step).build()
//! };
//!
//! flows.save(&greet("1.9.0", "hello")?).await?;
//! flows.save(&greet("1.10.0", "good morning")?).await?;
//! assert_eq!(flows.latest("greet").await?.map(|flow| flow.version).as_deref(), Some("1.10.0"));
//!
//! assert_eq!(flows.save(&greet("1.9.0", "hello")?).await?, Saved::Unchanged);
//! assert!(flows.save(&greet("1.9.0", "hi")?).await.unwrap_err().is_conflict());
//! # Ok(()) }
//! ```

mod cache;
mod row;
mod store;

pub use store::PgFlowStore;

//! Output streams on Postgres: bytes that steps publish, for readers before, while and after they are written.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db) and the migrations, and for a stream of an execution its row.
//!
//! A chunk's index is given by the row of its stream, which a writer holds until it commits: 0, 1, 2 … without gaps, visible in
//! order, whoever writes. What many tasks write at the same time is one commit. A reader holds no connection: it reads a page
//! when it needs one, is woken by a hint after a commit, and looks by itself when no hint comes. Readers of one stream in one
//! process share what they read. A stream goes with its execution; one of nobody is deleted by hand or by age.
//!
//! ```
//! use bytes::Bytes;
//! use futures_util::TryStreamExt;
//! use mainspring_core::{OutputStore, OutputStream};
//! use mainspring_output::PgOutputStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let outputs = PgOutputStore::new(&db).with_shared_writes();
//! let answer = OutputStream::named("answer");
//!
//! assert_eq!(outputs.write_many(&answer, vec!["to ".into(), "be".into()]).await?, Some(0));
//! assert_eq!(outputs.write(&answer, Bytes::from_static(b"\0\xff")).await?, Some(2));
//! assert!(outputs.close(&answer).await?);
//! assert_eq!(outputs.write(&answer, "late".into()).await?, None);
//!
//! let all: Vec<_> = outputs.read(&answer, 0).map_ok(|chunk| chunk.data).try_collect().await?;
//! assert_eq!(all, ["to ".as_bytes(), b"be", b"\0\xff"]);
//! # Ok(()) }
//! ```

mod page;
mod store;
mod tail;
mod write;

pub use store::PgOutputStore;
pub use write::{output_hint, write_query};

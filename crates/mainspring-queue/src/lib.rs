//! The message queue on Postgres: batched fenced claims, delays, dead letters.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db) and the migrations. Where a message is says what state it is in: ready
//! or claimed in `messages`, not yet due in `deferred`, held back by its key or group in `held`, waiting for others to be done
//! in `blocked`, given up in `dead_letters`, done in `finished` or nowhere. A claim hands out a token
//! that every settlement carries; a holder whose liveness row runs out loses all it holds at once.
//!
//! ```
//! use std::time::Duration;
//! use mainspring_core::{ClaimRequest, NewMessage, QueueDriver, Settle, Settlement, WorkerId};
//! use mainspring_queue::PgQueue;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let queue = PgQueue::new(&db);
//! queue.push(vec![NewMessage::new("mail", "welcome", json!({"to": "ada"}))]).await?;
//!
//! let holder = WorkerId::generate();
//! let lease = Duration::from_secs(30);
//! let claimed = queue.claim(ClaimRequest::new("mail", holder, lease, 10)).await?;
//! for delivery in claimed.deliveries {
//!     // … do it, then
//!     queue.settle(vec![Settle::new(delivery.lease, Settlement::Done)]).await?;
//! }
//! assert_eq!(queue.stats("mail").await?.claimed, 0);
//! # Ok(()) }
//! ```
//!
//! Beside the queue itself: [`schedule`] pushes again and again, [`topic`] to whoever has subscribed, [`upkeep`] does what has
//! to be done by one process at a time, and [`stats`] says how full queues are and were.
//!
//! # From SQL
//!
//! Programs in other languages push with the function `{prefix}push`. It makes the same checks as the Rust door and refuses
//! with SQLSTATE 22023 and the field and the limit; the message is visible with the caller's commit.
//!
//! ```sql
//! BEGIN;
//! UPDATE orders SET paid = true WHERE id = 7;
//! SELECT ms_push('mail', 'receipt', '{"order": 7}');
//! SELECT ms_push('mail', 'reminder', '{"order": 7}', delay => '3 days', priority => -5, max_attempts => 10,
//!                headers => '{"trace": "t-1"}', subject => 'order-7');
//! COMMIT;
//! SELECT ms_push('mail', '', '{}');
//! -- ERROR:  message.type: must not be empty
//! ```
//!
//! Further arguments are `at`, `id`, `tenant`, `source`, `recipient`, `wake => true`, which tells waiting workers at the commit
//! instead of leaving it to their polling, and, for a queue that was created, `key`, `group_id`, `tier`, `unique_by`
//! (`unfinished`, `for`, `throttle`, `debounce`), `unique_for`, `depends_on`, such as `'[{"queue": "mail", "id": "msg_1"}]'`,
//! and `parent_failure` (`wait`, `run`, `fail`). The answer is the id of the message that stands for it:
//! another one's, when it is a duplicate.

mod admin;
mod claim;
mod copy;
mod floors;
mod looks;
mod messages;
mod meter;
mod push;
mod queues;
mod readable;
mod receipt;
mod row;
pub mod schedule;
mod settle;
mod shared_push;
mod spans;
pub mod stats;
mod store;
mod sweep;
pub mod topic;
mod touch;
pub mod upkeep;

pub use store::PgQueue;

// The statements of these tables, for the one transaction in which the crate `mainspring` commits: nobody's API.
#[doc(hidden)]
pub use meter::count_pushed;
#[doc(hidden)]
pub use push::push_queries;
#[doc(hidden)]
pub use receipt::{decode_receipts, receipt_query};
#[doc(hidden)]
pub use settle::{settle_queries, settled};
